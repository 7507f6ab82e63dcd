//! Lets this crate's tests and examples find MuJoCo's library where `cargo xtask setup` put it.

fn main() {
    const VARIABLE: &str = "MUJOCO_DYNAMIC_LINK_DIR";
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let unix = std::env::var_os("CARGO_CFG_UNIX").is_some();
    if let (true, Ok(dir)) = (unix, std::env::var(VARIABLE)) {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{dir}");
    }
}
