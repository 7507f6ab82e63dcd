//! `embody assets`: models out of a wheel, and what is said of a wrong one.

use std::path::PathBuf;

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
    let absent = bench.err(&["--assets", &assets, "assets", "path", "go1"]);
    assert!(absent.contains("robot model go1 is not in "), "{absent}");
    assert!(absent.contains("run `embody assets get go1`"), "{absent}");
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

/// The wheel of Gymnasium's models as set-up fetched it, and what set-up made of it.
fn fetched() -> Option<(PathBuf, PathBuf)> {
    let set_up = crate::bench::workspace().join(".embody/assets/gymnasium");
    let cache = std::env::var_os("EMBODY_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/embody")));
    let Ok(stamp) = std::fs::read_to_string(set_up.join(".wheel.sha256")) else {
        println!("skipped: no models of Gymnasium, run `cargo xtask setup --robots`");
        return None;
    };
    let folder = cache?.join("wheels").join(stamp.trim());
    let Some(wheel) = std::fs::read_dir(&folder).ok().and_then(|mut all| all.next()) else {
        println!("skipped: no wheel in {}", folder.display());
        return None;
    };
    Some((wheel.unwrap().path(), set_up))
}

/// Unpacked by the program: the same files. One that is lost comes back, by `--force` at the latest.
#[test]
fn a_wheel_gives_what_set_up_gives() {
    let Some((wheel, set_up)) = fetched() else { return };
    let wheel = wheel.display().to_string();
    let bench = Bench::new();
    let assets = bench.path("robots").display().to_string();
    let get = ["--assets", &assets, "assets", "get", "gymnasium", "--wheel", &wheel];
    bench.ok(&get);
    std::fs::remove_file(bench.path("robots/gymnasium/half_cheetah.xml")).unwrap();
    bench.ok(&get);
    std::fs::remove_file(bench.path("robots/gymnasium/ant.xml")).unwrap();
    bench.ok(&[&get[..], &["--force"]].concat());
    let path = bench.ok(&["--assets", &assets, "assets", "path", "gymnasium"]);
    assert!(path.trim().ends_with("gymnasium"), "{path}");
    let list = bench.ok(&["--assets", &assets, "assets", "list"]);
    assert!(list.lines().any(|l| l.starts_with("gymnasium ") && l.contains(" present ")), "{list}");
    for entry in std::fs::read_dir(&set_up).unwrap() {
        let path = entry.unwrap().path();
        let ours = bench.path("robots/gymnasium").join(path.file_name().unwrap());
        assert_eq!(std::fs::read(&ours).unwrap(), std::fs::read(&path).unwrap(), "{ours:?}");
    }
}

/// A wheel in the cache that was cut is not taken; a whole one is, without a network.
#[test]
fn the_cache_is_checked() {
    let Some((wheel, _)) = fetched() else { return };
    let bench = Bench::new();
    let pinned = wheel.parent().unwrap().file_name().unwrap();
    let cached = bench.path("cache/wheels").join(pinned).join(wheel.file_name().unwrap());
    std::fs::create_dir_all(cached.parent().unwrap()).unwrap();
    let assets = bench.path("robots").display().to_string();
    let get = || {
        let mut command = bench.command(&["--assets", &assets, "assets", "get", "gymnasium"]);
        command.env("PIP_NO_INDEX", "1").output().unwrap()
    };
    std::fs::write(&cached, &std::fs::read(&wheel).unwrap()[..1000]).unwrap();
    let failed = get();
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && text.contains("could not fetch gymnasium=="), "{text}");
    assert!(!cached.exists() && !bench.path("robots/gymnasium").exists());
    std::fs::copy(&wheel, &cached).unwrap();
    let text = String::from_utf8_lossy(&get().stderr).into_owned();
    assert!(bench.path("robots/gymnasium/ant.xml").exists(), "{text}");
}
