#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|v| v.parse().unwrap()).collect();
    let (s, q, g) = (a[0], a[1], a[2]);
    let frames: Vec<Vec<u8>> = (0..256usize).map(|t| {
        let mut f = vec![0u8; s * s * 3];
        for y in 0..s { for x in 0..s {
            let i = (y * s + x) * 3;
            let cx = (t as f32 * 0.05).sin() * s as f32 * 0.3 + s as f32 * 0.5;
            let d = ((x as f32 - cx).powi(2) + (y as f32 - s as f32 * 0.5).powi(2)).sqrt();
            let v = if d < s as f32 * 0.1 { [220, 60, 40] } else { [(x * 255 / s) as u8, (y * 200 / s) as u8, 90 + ((x / 8 + y / 8) % 2) as u8 * 60] };
            f[i..i + 3].copy_from_slice(&v);
        }}
        f }).collect();
    let t = std::time::Instant::now();
    let mp4 = embody_data::encode_mp4(&frames, s, s, 30.0, embody_data::VideoSettings { gop: g as u32, quantiser: q as u8, speed: 10 }).unwrap();
    let dt = t.elapsed().as_secs_f64();
    println!("{s}: {:.0} frames/s, {} bytes/frame", 256.0 / dt, mp4.len() / 256);
    std::fs::write("/tmp/w/bench.mp4", mp4).unwrap();
}
