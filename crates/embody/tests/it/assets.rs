//! `embody assets`: models out of a wheel, and what is said of a wrong one.

use crate::bench::Bench;

#[test]
fn models_are_listed_and_found() {
    let bench = Bench::new();
    let assets = bench.path("robots").display().to_string();
    let list = bench.ok(&["--assets", &assets, "assets", "list"]);
    for name in ["so101", "aloha", "gymnasium", "go1", "g1"] {
        let line = list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(" absent "), "{line}");
    }
    assert_eq!(bench.ok(&["--assets", &assets, "assets", "path"]).trim(), assets);
    let path = bench.ok(&["--assets", &assets, "assets", "path", "go1"]);
    assert!(path.trim().ends_with("go1"), "{path}");
}

#[test]
fn mistakes_are_named() {
    let bench = Bench::new();
    let unknown = bench.err(&["assets", "get", "aloah"]);
    assert!(unknown.contains("no robot model is called `aloah`"), "{unknown}");
    assert!(unknown.contains("did you mean `aloha`?"), "{unknown}");
    let wheel = bench.write("wrong.whl", "no wheel").display().to_string();
    let assets = bench.path("robots").display().to_string();
    let wrong = bench.err(&["--assets", &assets, "assets", "get", "aloha", "--wheel", &wheel]);
    assert!(wrong.contains("wrong.whl has SHA-256 "), "{wrong}");
    assert!(wrong.contains("the wheel of gym-aloha==0.1.5 has 1794dd9a"), "{wrong}");
    assert!(!bench.path("robots/aloha").exists());
}

/// The wheel as set-up fetched it, unpacked by the program: the same files.
#[test]
fn a_wheel_gives_what_set_up_gives() {
    let set_up = crate::bench::workspace().join(".embody/assets/gymnasium");
    let cache = std::env::var_os("EMBODY_CACHE").map(std::path::PathBuf::from).or_else(|| {
        Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache/embody"))
    });
    let Ok(stamp) = std::fs::read_to_string(set_up.join(".wheel.sha256")) else {
        println!("skipped: no models of Gymnasium, run `cargo xtask setup --robots`");
        return;
    };
    let folder = cache.unwrap().join("wheels").join(stamp.trim());
    let Some(wheel) = std::fs::read_dir(&folder).ok().and_then(|mut all| all.next()) else {
        println!("skipped: no wheel in {}", folder.display());
        return;
    };
    let wheel = wheel.unwrap().path().display().to_string();
    let bench = Bench::new();
    let assets = bench.path("robots").display().to_string();
    bench.ok(&["--assets", &assets, "assets", "get", "gymnasium", "--wheel", &wheel]);
    let list = bench.ok(&["--assets", &assets, "assets", "list"]);
    assert!(list.lines().any(|l| l.starts_with("gymnasium ") && l.contains(" present ")), "{list}");
    for entry in std::fs::read_dir(&set_up).unwrap() {
        let path = entry.unwrap().path();
        let ours = bench.path("robots/gymnasium").join(path.file_name().unwrap());
        assert_eq!(std::fs::read(&ours).unwrap(), std::fs::read(&path).unwrap(), "{ours:?}");
    }
}
