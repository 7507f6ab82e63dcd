//! Targets outside the data crate: the viewer's requests, policies' folders and what is asked of
//! them, servo buses and what belongs to them.

use std::path::Path;
use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use embody_data::fuzz::Target;

#[path = "../../crates/embody/src/view/access.rs"]
#[allow(dead_code)]
mod access;
#[cfg(feature = "learn")]
mod policy;
#[path = "../../crates/embody/src/view/range.rs"]
mod range;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target { name: "http", run: http, max_len: 2_048 },
    #[cfg(feature = "learn")]
    Target { name: "policy", run: policy::run, max_len: 65_536 },
    #[cfg(feature = "learn")]
    Target { name: "serve", run: policy::serve_stream, max_len: 16_384 },
];

/// The targets of the robot crate.
pub fn of_robots() -> &'static [Target] {
    static ALL: OnceLock<Vec<Target>> = OnceLock::new();
    let same =
        |t: &embody_robot::fuzz::Target| Target { name: t.name, run: t.run, max_len: t.max_len };
    ALL.get_or_init(|| embody_robot::fuzz::TARGETS.iter().map(same).collect())
}

/// A request's target, its headers a line each, and the ranges that they ask for.
fn http(bytes: &[u8], _: &Path) {
    let Ok(access) = access::Access::new(8000) else { return };
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let Ok(uri) = lines.next().unwrap_or("").parse::<Uri>() else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(16) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), value.trim().parse::<HeaderValue>())
        {
            headers.append(name, value);
        }
    }
    let verdict = access.judge(&uri, &headers);
    assert_ne!(verdict, access::Verdict::Known, "nobody can know a token just made");
    for value in headers.values().filter_map(|v| v.to_str().ok()) {
        for length in [0, 1, 1000, usize::MAX] {
            if let range::Asked::Part(from, to) = range::byte_range(value, length) {
                assert!(from < to && to <= length, "{value}: {from}..{to} of {length}");
            }
        }
    }
}

/// Seeds of these targets.
pub fn write_seeds(name: &str, out: &Path, scratch: &Path) -> usize {
    #[cfg(feature = "learn")]
    if name == "policy" {
        return policy::write_seeds(out, scratch);
    }
    #[cfg(feature = "learn")]
    if name == "serve" {
        return policy::write_streams(out);
    }
    let robots = embody_robot::fuzz::seeds(name);
    if !robots.is_empty() {
        std::fs::create_dir_all(out).expect("the folder can be written");
        for (i, seed) in robots.iter().enumerate() {
            let path = out.join(format!("seed-{i:03}"));
            std::fs::write(path, seed).expect("the folder can be written");
        }
        return robots.len();
    }
    let seeds: &[&str] = match name {
        "http" => &[
            "/?token=0123\nhost: 127.0.0.1:8000\ncookie: other=1; embody_view-8000=0123\n",
            "/api/episodes/0/video/cam\nhost: localhost:8000\nrange: bytes=0-9\nrange: bytes=-10\n",
        ],
        _ => &[],
    };
    std::fs::create_dir_all(out).expect("the folder can be written");
    for (i, seed) in seeds.iter().enumerate() {
        std::fs::write(out.join(format!("seed-{i:03}")), seed).expect("the folder can be written");
    }
    seeds.len()
}
