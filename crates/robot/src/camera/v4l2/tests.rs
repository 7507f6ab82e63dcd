//! Which mode is taken; there is no camera here, so the stream itself is not run.

use super::*;

fn mode(format: PixelFormat, width: u32, height: u32, interval: (u32, u32)) -> Mode {
    Mode { format, code: format.code(), width, height, interval }
}

fn want(width: u32, height: u32, fps: f64, format: Option<PixelFormat>) -> V4l2Config {
    V4l2Config { name: "wrist".into(), path: "/dev/video0".into(), width, height, fps, format }
}

/// As a common USB camera offers: uncompressed only at low rates.
fn offered() -> Vec<Mode> {
    vec![
        mode(PixelFormat::Mjpeg, 640, 480, (1, 30)),
        mode(PixelFormat::Mjpeg, 1280, 720, (1, 30)),
        mode(PixelFormat::Mjpeg, 1280, 720, (1001, 60_000)),
        mode(PixelFormat::Yuyv, 640, 480, (1, 30)),
        mode(PixelFormat::Yuyv, 1280, 720, (1, 10)),
    ]
}

#[test]
fn the_size_is_exact_and_uncompressed_pixels_come_first() {
    let modes = offered();
    assert_eq!(choose(&modes, &want(640, 480, 30.0, None)).unwrap(), modes[3]);
    assert_eq!(choose(&modes, &want(1280, 720, 30.0, None)).unwrap(), modes[1]);
    assert_eq!(choose(&modes, &want(1280, 720, 60.0, None)).unwrap(), modes[2], "59.94 is 60");
    let jpeg = Some(PixelFormat::Mjpeg);
    assert_eq!(choose(&modes, &want(640, 480, 30.0, jpeg)).unwrap(), modes[0]);
    let refused = choose(&modes, &want(800, 600, 30.0, None)).unwrap_err().to_string();
    assert!(refused.contains("can't give 800x600 at 30 frames per second"), "{refused}");
    assert!(refused.contains("1280x720 at 10.000 (Yuyv)"), "{refused}");
}

#[test]
fn ranges_are_taken_apart_into_usual_modes() {
    assert_eq!(sizes(1, [640, 480, 0, 0, 0, 0]), [(640, 480)]);
    let from_range = sizes(3, [320, 1280, 16, 240, 720, 8]);
    assert_eq!(from_range, [(320, 240), (640, 360), (640, 480), (800, 600), (1280, 720)]);
    assert_eq!(intervals(1, [1, 30, 0, 0, 0, 0]), [(1, 30)]);
    assert_eq!(intervals(2, [1, 60, 1, 20, 0, 0]), [(1, 24), (1, 25), (1, 30), (1, 60)]);
}

#[test]
fn a_camera_that_is_not_there_is_told() {
    let mut config = want(640, 480, 30.0, None);
    config.path = "/dev/no-such-camera".into();
    let missing = V4l2Camera::open(config).err().unwrap();
    assert!(matches!(missing, RobotError::Open { .. }), "{missing}");
    let mut config = want(640, 480, 30.0, None);
    config.path = "/dev/null".into();
    let no_camera = V4l2Camera::open(config).err().unwrap();
    assert!(matches!(no_camera, RobotError::Device { action: "ask", .. }), "{no_camera}");
}
