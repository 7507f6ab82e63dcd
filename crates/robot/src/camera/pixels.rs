//! From what cameras send to RGB: YUYV, and JPEG as motion JPEG has it.
//!
//! Cameras that send motion JPEG often leave out the Huffman tables, since they are always the
//! same; decoders of JPEG want them, so they are put back. Damage is an error, never a half-drawn
//! frame.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::PixelFormat;

/// Decodes a frame of `width` × `height` into `rgb`, `[height, width, 3]`; `stride` is how many
/// bytes a row of YUYV takes.
///
/// # Errors
/// When the bytes are no such frame: in words.
pub(crate) fn decode(
    format: PixelFormat,
    bytes: &[u8],
    (width, height): (usize, usize),
    stride: usize,
    rgb: &mut [u8],
) -> Result<(), String> {
    if rgb.len() != width * height * 3 {
        return Err(format!("{} bytes of room for {width}x{height} RGB", rgb.len()));
    }
    match format {
        PixelFormat::Yuyv => yuyv(bytes, (width, height), stride, rgb),
        PixelFormat::Mjpeg => mjpeg(bytes, (width, height), rgb),
    }
}

/// YUYV 4:2:2 in video range, BT.601, which is what the USB video class says.
fn yuyv(
    bytes: &[u8],
    (width, height): (usize, usize),
    stride: usize,
    rgb: &mut [u8],
) -> Result<(), String> {
    if width % 2 != 0 || stride < width * 2 || bytes.len() < stride * (height - 1) + width * 2 {
        let n = bytes.len();
        return Err(format!("{n} bytes, {stride} a row, are no {width}x{height} in YUYV"));
    }
    for (row, out) in bytes.chunks(stride).zip(rgb.chunks_exact_mut(width * 3)) {
        for (pair, out) in row[..width * 2].chunks_exact(4).zip(out.chunks_exact_mut(6)) {
            let &[y0, u, y1, v] = pair else { continue };
            let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
            // In units of 1/65536: 255/219 for light, and BT.601's weights times 255/224.
            let (r, g, b) = (104_597 * v, -25_675 * u - 53_279 * v, 132_201 * u);
            for (y, out) in [y0, y1].into_iter().zip(out.chunks_exact_mut(3)) {
                let light = 76_309 * (i32::from(y) - 16) + (1 << 15);
                for (out, colour) in out.iter_mut().zip([r, g, b]) {
                    *out = ((light + colour) >> 16).clamp(0, 255) as u8;
                }
            }
        }
    }
    Ok(())
}

fn mjpeg(bytes: &[u8], (width, height): (usize, usize), rgb: &mut [u8]) -> Result<(), String> {
    let whole;
    let bytes = match scan_without_tables(bytes)? {
        Some(scan) => {
            whole = [&bytes[..scan], &huffman_segment(), &bytes[scan..]].concat();
            &whole
        }
        None => bytes,
    };
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(width)
        .set_max_height(height)
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| format!("damaged JPEG: {e}"))?;
    match decoder.dimensions() {
        Some(size) if size == (width, height) => {}
        other => return Err(format!("the JPEG has {other:?} pixels, not {width}x{height}")),
    }
    decoder.decode_into(rgb).map_err(|e| format!("damaged JPEG: {e}"))
}

/// Where the picture's data begins in a JPEG that brings no Huffman tables; `None` if it does.
fn scan_without_tables(bytes: &[u8]) -> Result<Option<usize>, String> {
    const TABLES: u8 = 0xc4;
    const SCAN: u8 = 0xda;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err("it does not begin as a JPEG does".into());
    }
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            TABLES => return Ok(None),
            SCAN => return Ok(Some(at)),
            // Fill bytes before a marker.
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2),
        }
    }
    Err("it ends before its picture begins".into())
}

/// The tables of the JPEG standard, annex K.3, as one segment.
fn huffman_segment() -> Vec<u8> {
    /// Symbols by length 1 to 16, for direct and alternating coefficients of light and colour.
    const DC_LIGHT: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    const DC_COLOUR: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
    const AC_LIGHT: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d];
    const AC_COLOUR: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];
    /// The first symbols of each; the rest follows in order of run and size.
    const AC_LIGHT_SYMBOLS: &[u8] = &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61,
        0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52,
        0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82,
    ];
    const AC_COLOUR_SYMBOLS: &[u8] = &[
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61,
        0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33,
        0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1,
    ];
    let direct: Vec<u8> = (0..12).collect();
    let mut body = Vec::new();
    for (id, lengths, symbols) in [
        (0x00, DC_LIGHT, direct.clone()),
        (0x10, AC_LIGHT, with_rest(AC_LIGHT_SYMBOLS)),
        (0x01, DC_COLOUR, direct),
        (0x11, AC_COLOUR, with_rest(AC_COLOUR_SYMBOLS)),
    ] {
        body.push(id);
        body.extend(lengths);
        body.extend(symbols);
    }
    let length = u16::try_from(body.len() + 2).expect("the tables are 418 bytes");
    [&[0xff, 0xc4], &length.to_be_bytes()[..], &body].concat()
}

/// The symbols `first`, then every other one of a run of 0 to 15 and a size of 1 to 10.
fn with_rest(first: &[u8]) -> Vec<u8> {
    let mut all = first.to_vec();
    let rest = (0..16).flat_map(|run: u8| (1..=10).map(move |size| run << 4 | size));
    all.extend(rest.filter(|symbol| !first.contains(symbol)));
    all
}
