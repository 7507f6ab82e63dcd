//! Pixels against other programs' numbers, and cameras that play.

use super::*;

/// 16x16, written by Pillow 11 (libjpeg-turbo) and stripped of its Huffman tables, as cameras send
/// them; the pixels are what Pillow decodes the whole file to.
const MOTION_JPEG: &[u8] = include_bytes!("../../tests/data/motion.jpg");
const PIXELS: &[u8] = include_bytes!("../../tests/data/motion.rgb");

#[test]
fn motion_jpeg_without_tables_is_decoded() {
    let mut rgb = vec![0; 16 * 16 * 3];
    decode(PixelFormat::Mjpeg, MOTION_JPEG, (16, 16), 0, &mut rgb).unwrap();
    // Decoders differ in how they round and smooth halved colours.
    let worst = rgb.iter().zip(PIXELS).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst < Some(4), "{worst:?}");
}

#[test]
fn a_damaged_or_foreign_frame_is_an_error() {
    let mut rgb = vec![0; 16 * 16 * 3];
    for cut in [0, 1, 3, 40, 200, MOTION_JPEG.len() - 30] {
        let broken = decode(PixelFormat::Mjpeg, &MOTION_JPEG[..cut], (16, 16), 0, &mut rgb);
        assert!(broken.is_err(), "cut at {cut}");
    }
    let other = decode(PixelFormat::Mjpeg, MOTION_JPEG, (16, 8), 0, &mut rgb[..16 * 8 * 3]);
    assert!(other.is_err());
    assert!(decode(PixelFormat::Yuyv, &[0; 511], (16, 16), 32, &mut rgb).is_err());
}

/// The colour bars of ITU-R BT.601 in video range.
#[test]
fn yuyv_gives_the_colours_of_the_standard() {
    for (yuv, colour) in [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([81, 90, 240], [254, 0, 0]),
        ([145, 54, 34], [0, 255, 1]),
        ([41, 240, 110], [0, 0, 255]),
    ] {
        let [y, u, v] = yuv;
        // Two rows of two pixels, with filling behind each row.
        let row = [y, u, y, v, 9, 9];
        let bytes = [row, row].concat();
        let mut rgb = [7; 12];
        decode(PixelFormat::Yuyv, &bytes, (2, 2), 6, &mut rgb).unwrap();
        for pixel in rgb.chunks_exact(3) {
            let near = pixel.iter().zip(colour).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1);
            assert!(near, "{yuv:?} is {pixel:?}, not {colour:?}");
        }
    }
}

fn spec(fps: f64) -> CameraSpec {
    CameraSpec { name: "front".into(), height: 2, width: 2, fps }
}

#[test]
fn frames_of_a_source_are_played_in_order_and_end() {
    let mut n = 0;
    let source = move |pixels: &mut [u8]| {
        n += 1;
        pixels.fill(n);
        Ok((n <= 3).then(|| Duration::from_millis(u64::from(n) * 40)))
    };
    let mut camera = PlayedCamera::new(spec(25.0), Box::new(source), false).unwrap();
    let mut pixels = [0; 12];
    for n in 1..=3 {
        let stamp = camera.next_frame(&mut pixels).unwrap();
        assert_eq!((pixels[11], stamp.device), (n, Some(Duration::from_millis(u64::from(n) * 40))));
    }
    let end = camera.next_frame(&mut pixels).unwrap_err().to_string();
    assert_eq!(end, "camera front: it has no more frames");
    assert!(camera.next_frame(&mut [0; 11]).is_err(), "no room");
}

#[test]
fn a_paced_source_keeps_a_cameras_rate() {
    let source = |_: &mut [u8]| Ok(Some(Duration::ZERO));
    let mut camera = PlayedCamera::new(spec(200.0), Box::new(source), true).unwrap();
    let begun = Instant::now();
    for _ in 0..21 {
        camera.next_frame(&mut [0; 12]).unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(100), "20 periods of 5 ms");
    let source = |_: &mut [u8]| Ok(Some(Duration::ZERO));
    assert!(PlayedCamera::new(spec(0.0), Box::new(source), true).is_err());
}
