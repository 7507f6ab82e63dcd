//! Pictures as Pillow decodes them, where `EMBODY_ARRAYS_PYTHON` names a Python that has it.

use std::path::Path;
use std::process::Command;

use super::*;

/// Largest and mean difference allowed to Pillow: PNG and lossless JPEG XL are exact; JPEG leaves
/// the inverse transform, chroma interpolation and colour conversion to rounding.
const JPEG: (u8, f64) = (4, 0.5);
const LOSSY_JXL: (u8, f64) = (3, 0.6);

#[test]
fn pictures_decode_as_pillow_does() {
    let Some(pythons) = std::env::var_os("EMBODY_ARRAYS_PYTHON") else {
        println!("skipped: EMBODY_ARRAYS_PYTHON is not set");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/write_pictures.py");
    let python = std::env::split_paths(&pythons).next().unwrap();
    let done = Command::new(python).arg(script).arg(home.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut seen = 0;
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".rgb") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let theirs = std::fs::read(path.with_extension("rgb")).unwrap();
        let side = |at: usize| u32::from_le_bytes(theirs[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(size_of(&bytes).unwrap(), (side(0), side(4)), "{name}");
        let ours = decode(&bytes, side(0), side(4)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let off: Vec<u8> = ours.iter().zip(&theirs[8..]).map(|(a, b)| a.abs_diff(*b)).collect();
        let worst = off.iter().copied().max().unwrap();
        let mean = off.iter().map(|&d| f64::from(d)).sum::<f64>() / off.len() as f64;
        println!("{name}: worst {worst}, mean {mean:.3}");
        let allowed = match name.as_str() {
            "lossy.jxl" => LOSSY_JXL,
            jpeg if jpeg.ends_with(".jpg") => JPEG,
            _ => (0, 0.0),
        };
        assert!(worst <= allowed.0 && mean <= allowed.1, "{name}: worst {worst}, mean {mean}");
        // A padded picture is the same picture; a cut one is an error, never grey.
        let padded = [&bytes[..], &[0; 300]].concat();
        assert_eq!(decode(&padded, side(0), side(4)).unwrap(), ours, "{name}");
        assert!(decode(&bytes[..bytes.len() * 2 / 3], side(0), side(4)).is_err(), "{name}");
        assert!(decode(&bytes, side(0) + 1, side(4)).is_err(), "{name}");
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} pictures were written");
}

#[test]
fn a_png_comes_back() {
    let rgb: Vec<u8> = (0..20 * 17 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let png = encode_png(&rgb, 20, 17).unwrap();
    assert_eq!(decode(&png, 20, 17).unwrap(), rgb);
}

#[test]
fn changed_pictures_never_panic() {
    let rgb: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 13 % 256) as u8).collect();
    let png = encode_png(&rgb, 32, 32).unwrap();
    for at in 0..png.len() {
        let mut changed = png.clone();
        changed[at] ^= 1 << (at % 8);
        decode(&changed, 32, 32).ok();
    }
}
