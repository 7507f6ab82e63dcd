//! tmp
#![allow(clippy::print_stdout)]
use embody_core::VecEnv;
fn main() -> embody_core::Result<()> {
    let a = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    let cam = std::env::args().nth(1).unwrap_or("front".into());
    let o = embody_sim::EnvOptions { threads: 1, num_envs: 4, cameras: Some(vec![cam]), ..embody_sim::EnvOptions::new(a) };
    let mut env = embody_sim::make_sim("so101-pick-lift", o)?;
    let t = std::time::Instant::now();
    for i in 0..500 { env.reset(&[Some(i); 4])?; }
    println!("{:.0} frames/s", 2000.0 / t.elapsed().as_secs_f64());
    Ok(())
}
