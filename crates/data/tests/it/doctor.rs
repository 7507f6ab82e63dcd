//! Every damage seen in the field, done to the real recording: `doctor` names it, `repair` mends it.

use std::fs;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array as _, ArrayRef, BooleanArray, Float32Array, RecordBatch, UInt32Array};
use embody_data::{
    Dataset, DecodeCheck, Finding, ImportOptions, Severity, Trim, ValidateOptions, VideoSettings,
    encode_mp4, import, repair, trim, validate,
};
use serde_json::Value;

use crate::common::{copy_tree, shared_data, with_task};
use crate::roundtrip::{rewrite_batch, rewrite_column, rewrite_f64};

const CAMERA: &str = "observation.images.cam_high";
const DATA: &str = "data/chunk-000/file-000.parquet";
const EPISODES: &str = "meta/episodes/chunk-000/file-000.parquet";
const VIDEO: &str = "videos/observation.images.cam_high/chunk-000/file-000.mp4";
/// Frames of each of the three episodes.
const LENGTH: usize = 24;

fn findings(root: &Path, decode: DecodeCheck) -> Vec<Finding> {
    let options = ValidateOptions { decode, ..Default::default() };
    with_task(|t| validate(root, &options, t).unwrap()).findings
}

/// The beginnings of three episodes of the recording, in the v3.0 layout.
fn base(home: &Path) -> Option<PathBuf> {
    let source = shared_data("unitree-g1-bottle")?;
    let (whole, base) = (home.join("whole"), home.join("base"));
    let options = ImportOptions { episodes: Some(vec![0, 1, 2]), ..Default::default() };
    with_task(|t| import(&source, &whole, options, t).unwrap());
    let cuts: Vec<Trim> = (0..3).map(|episode| Trim { episode, keep: 100..100 + LENGTH }).collect();
    with_task(|t| trim(&whole, &base, &cuts, true, t).unwrap());
    Some(base)
}

/// One damage: what it does, which code names it, what a repair saves (episodes, frames).
struct Case {
    name: &'static str,
    code: &'static str,
    damage: fn(&Path),
    saved: Option<(usize, usize)>,
    /// Whether validation of the repaired dataset still has the code.
    stays: bool,
}

const fn case(name: &'static str, code: &'static str, damage: fn(&Path)) -> Case {
    Case { name, code, damage, saved: Some((3, 3 * LENGTH)), stays: false }
}

const fn saves(case: Case, episodes: usize, frames: usize) -> Case {
    Case { saved: Some((episodes, frames)), ..case }
}

const CASES: &[Case] = &[
    case("footer cut off", "table-no-footer", |root| {
        let path = root.join(DATA);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..footer_at(&bytes)]).unwrap();
    }),
    saves(
        case("table cut in its last episode", "table-no-footer", |root| {
            let path = root.join(DATA);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..footer_at(&bytes) * 8 / 10]).unwrap();
        }),
        2,
        2 * LENGTH,
    ),
    saves(
        case("video cut, index before the pictures", "video-truncated", |root| {
            let path = root.join(VIDEO);
            let bytes = index_first(&fs::read(&path).unwrap());
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        2,
        // Half of the bytes: the first episode and a part of the second.
        0,
    ),
    Case {
        saved: None,
        ..case("video cut, index at the end", "video-truncated", |root| {
            let path = root.join(VIDEO);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() * 6 / 10]).unwrap();
        })
    },
    saves(
        case("a row is missing", "index-not-continuous", |root| {
            rewrite_batch(&root.join(DATA), |batch| take(batch, |row| row != LENGTH + 9));
        }),
        3,
        // Frames 10 to 23 of the second episode are the longest run.
        2 * LENGTH + 14,
    ),
    case("wrong total_frames", "total-frames", |root| {
        edit(root, |v| v["total_frames"] = 99.into())
    }),
    case("wrong total_episodes", "total-episodes", |root| {
        edit(root, |v| v["total_episodes"] = 4.into());
    }),
    case("wrong length", "episode-rows", |root| {
        rewrite_i64(&root.join(EPISODES), "length", |v| v[1] += 2);
    }),
    case("clock that runs fast", "timestamp-drift", |root| {
        rewrite_f32(&root.join(DATA), "timestamp", |v| v.iter_mut().for_each(|t| *t *= 1.02));
    }),
    case("timestamps off by one frame", "timestamp-off-by-one", |root| {
        rewrite_f32(&root.join(DATA), "timestamp", |v| v.iter_mut().for_each(|t| *t += 1.0 / 30.0));
    }),
    case("video off by one frame", "video-off-by-one", |root| {
        for side in ["from_timestamp", "to_timestamp"] {
            let column = format!("videos/{CAMERA}/{side}");
            rewrite_f64(&root.join(EPISODES), &column, |v| v[1] += 1.0 / 30.0);
        }
    }),
    case("wrong statistics", "stats-mismatch", |root| {
        edit_json(&root.join("meta/stats.json"), |v| v["action"]["mean"][3] = 7.5.into());
    }),
    case("no stats.json", "stats-missing", |root| {
        fs::remove_file(root.join("meta/stats.json")).unwrap();
    }),
    case("v3.0 files called v2.1", "version-layout", |root| {
        edit(root, |v| v["codebase_version"] = "v2.1".into());
    }),
    case("template of v2 in v3.0", "version-layout", |root| {
        edit(root, |v| {
            v["data_path"] =
                "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet".into();
        });
    }),
    case("version v3.7", "unknown-version", |root| {
        edit(root, |v| v["codebase_version"] = "v3.7".into());
    }),
    Case {
        stays: true,
        ..case("a camera black for an episode", "video-black", |root| {
            pictures(
                root,
                |e, _, rgb| {
                    if e == 1 {
                        rgb.fill(0)
                    }
                },
                usize::MAX,
            );
        })
    },
    Case {
        stays: true,
        ..case("a camera that hangs", "video-frozen", |root| {
            let mut kept: Vec<u8> = Vec::new();
            pictures(
                root,
                move |e, t, rgb| {
                    if e == 2 && t == 0 {
                        kept = rgb.clone();
                    } else if e == 2 {
                        rgb.clone_from(&kept);
                    }
                },
                usize::MAX,
            );
        })
    },
    saves(
        case("a video with too few frames", "video-short", |root| {
            pictures(root, |_, _, _| {}, 3 * LENGTH - 6);
        }),
        3,
        3 * LENGTH - 6,
    ),
    case("`video/` against `videos/`", "video-folder", |root| {
        fs::rename(root.join("videos"), root.join("video")).unwrap();
    }),
    case("av1 labelled h264", "video-codec-label", |root| {
        edit(root, |v| v["features"][CAMERA]["info"]["video.codec"] = "h264".into());
    }),
    case("mp4v labelled h264", "video-codec-label", |root| {
        edit(root, |v| v["features"][CAMERA]["info"]["video.codec"] = "h264".into());
        let path = root.join(VIDEO);
        let mut bytes = fs::read(&path).unwrap();
        let at = find(&bytes, b"stsd") + 16;
        assert_eq!(&bytes[at..at + 4], b"av01");
        bytes[at..at + 4].copy_from_slice(b"mp4v");
        fs::write(&path, bytes).unwrap();
    }),
    case("no column index", "column-missing", |root| without_column(root, "index")),
    case("no column task_index", "column-missing", |root| without_column(root, "task_index")),
    case("no column episode_index", "column-missing", |root| without_column(root, "episode_index")),
    case("a declared column that is not there", "column-missing", |root| {
        edit(root, |v| {
            v["features"]["ghost"] =
                serde_json::json!({"dtype": "float32", "shape": [2], "names": null});
        });
    }),
    case("a column that is not declared", "column-undeclared", |root| {
        rewrite_batch(&root.join(DATA), |batch| {
            let extra: ArrayRef = std::sync::Arc::new(BooleanArray::from_iter(
                (0..batch.num_rows()).map(|i| Some(i % 3 == 0)),
            ));
            with_column(batch, "extra", extra)
        });
    }),
    case("episode rows reversed", "episode-order", |root| {
        rewrite_batch(&root.join(EPISODES), reversed);
    }),
    case("data rows reversed", "frame-index", |root| rewrite_batch(&root.join(DATA), reversed)),
    Case {
        stays: true,
        ..case("a dimension that never moves", "constant-dimension", |root| {
            rewrite_column(&root.join(DATA), "action", |v| {
                v.iter_mut().skip(4).step_by(26).for_each(|x| *x = 0.25);
            });
        })
    },
    saves(
        case("an action that is no number", "non-finite-value", |root| {
            rewrite_column(&root.join(DATA), "action", |v| v[26 * 5] = f32::NAN);
        }),
        2,
        2 * LENGTH,
    ),
    Case {
        saved: None,
        ..case("the video is gone", "videos-fewer", |root| {
            fs::remove_file(root.join(VIDEO)).unwrap();
        })
    },
    Case {
        saved: None,
        ..case("the episode table has no footer", "table-no-footer", |root| {
            let path = root.join(EPISODES);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        })
    },
];

#[test]
fn every_damage_is_named_and_mended() {
    let home = tempfile::tempdir().unwrap();
    let Some(base) = base(home.path()) else { return };
    let sound = findings(&base, DecodeCheck::All);
    let serious: Vec<_> = sound.iter().filter(|f| f.severity > Severity::Note).collect();
    assert!(serious.is_empty(), "the base: {serious:#?}");
    let original = Dataset::open(&base).unwrap();
    let mut wrong = Vec::new();
    for case in CASES {
        let check = std::panic::AssertUnwindSafe(|| check(case, &base, &sound, &original));
        wrong.extend(std::panic::catch_unwind(check).is_err().then_some(case.name));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    println!("{} damages", CASES.len());
}

fn check(case: &Case, base: &Path, sound: &[Finding], original: &Dataset) {
    let folder = tempfile::tempdir().unwrap();
    let (root, target) = (folder.path().join("set"), folder.path().join("mended"));
    copy_tree(base, &root);
    (case.damage)(&root);
    let name = case.name;
    let found = findings(&root, DecodeCheck::Sampled);
    let named = found.iter().find(|f| f.code == case.code);
    let named = named.unwrap_or_else(|| panic!("{name}: no {}: {found:#?}", case.code));
    assert!(!sound.contains(named), "{name}: the base has it as well: {named}");
    assert!(found.iter().all(|f| f.hint.is_some()), "{name}: no hint: {found:#?}");
    println!("{name}: {named}");
    let before = embody_core::hash_tree(&root, &|_| false).unwrap();
    let dry = with_task(|t| repair(&root, &target, true, t));
    let done = with_task(|t| repair(&root, &target, false, t));
    assert_eq!(embody_core::hash_tree(&root, &|_| false).unwrap(), before, "{name}");
    let Some((episodes, frames)) = case.saved else {
        let error = done.unwrap_err();
        println!("  can't be saved: {error}");
        assert!(error.hint().is_some() && dry.is_err(), "{name}: {error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
        return;
    };
    let (dry, done) = (dry.unwrap(), done.unwrap());
    for line in &done.done {
        println!("  mended: {line}");
    }
    for line in &done.lost {
        println!("  lost: {line}");
    }
    assert!((dry.path.is_none(), &dry.done, &dry.lost) == (true, &done.done, &done.lost));
    assert_eq!(done.episodes, episodes, "{name}: {done:#?}");
    assert!(done.frames == frames || frames == 0, "{name}: {} frames", done.frames);
    assert!(case.stays || !done.done.is_empty() || !done.lost.is_empty(), "{name}");
    let after = findings(&target, DecodeCheck::All);
    let errors: Vec<_> = after.iter().filter(|f| f.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    assert_eq!(
        after.iter().any(|f| f.code == case.code && !sound.contains(f)),
        case.stays,
        "{name}: {after:#?}"
    );
    if episodes == 3 && frames == 3 * LENGTH && !case.stays && name != "mp4v labelled h264" {
        same_content(original, &Dataset::open(&target).unwrap(), name);
    }
}

/// Nothing was invented: every value and picture is that of the undamaged dataset.
fn same_content(a: &Dataset, b: &Dataset, name: &str) {
    for e in 0..3 {
        let (x, y) = (a.episode_table(e).unwrap(), b.episode_table(e).unwrap());
        for (key, array) in &x {
            assert_eq!(y[key], *array, "{name}: episode {e}, {key}");
        }
        let mp4 = |d: &Dataset| d.episode_video_mp4(e, CAMERA).unwrap();
        assert!(mp4(a) == mp4(b), "{name}: episode {e}");
        assert_eq!(a.episodes()[e].tasks, b.episodes()[e].tasks);
    }
}

#[test]
fn the_undamaged_recording_has_no_damage() {
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let found = findings(&source, DecodeCheck::Sampled);
    for finding in &found {
        println!("{finding}");
    }
    assert!(found.iter().all(|f| f.severity == Severity::Note), "{found:#?}");
}

#[test]
fn fewer_videos_than_episodes_are_found_in_v2() {
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let home = tempfile::tempdir().unwrap();
    let (root, target) = (home.path().join("set"), home.path().join("mended"));
    copy_tree(&source, &root);
    for gone in [7, 11] {
        let file = format!("videos/chunk-000/{CAMERA}/episode_{gone:06}.mp4");
        fs::remove_file(root.join(file)).unwrap();
    }
    let found = findings(&root, DecodeCheck::None);
    let fewer = found.iter().find(|f| f.code == "videos-fewer").unwrap();
    assert!(fewer.message.contains("video for 10 of 12 episodes"), "{fewer}");
    let missing: Vec<_> =
        found.iter().filter(|f| f.code == "video-missing").map(|f| f.episode).collect();
    assert_eq!(missing, [Some(7), Some(11)]);
    let report = with_task(|t| repair(&root, &target, false, t).unwrap());
    assert_eq!(report.episodes, 10);
    let lost: Vec<_> = report.lost.iter().map(|f| (f.code.as_str(), f.episode)).collect();
    assert_eq!(lost, [("video-missing", Some(7)), ("video-missing", Some(11))]);
    assert!(report.left.iter().all(|f| f.severity == Severity::Note), "{:#?}", report.left);
}

fn edit(root: &Path, change: impl FnOnce(&mut Value)) {
    edit_json(&root.join("meta/info.json"), change);
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn rewrite_i64(path: &Path, name: &str, change: impl FnOnce(&mut Vec<i64>)) {
    rewrite_batch(path, |batch| {
        let column = batch.column_by_name(name).unwrap();
        let mut values = column.as_primitive::<arrow_array::types::Int64Type>().values().to_vec();
        change(&mut values);
        crate::roundtrip::replace(
            batch,
            name,
            std::sync::Arc::new(arrow_array::Int64Array::from(values)),
        )
    });
}

fn rewrite_f32(path: &Path, name: &str, change: impl FnOnce(&mut Vec<f32>)) {
    rewrite_batch(path, |batch| {
        let column = batch.column_by_name(name).unwrap();
        let mut values = column.as_primitive::<Float32Type>().values().to_vec();
        change(&mut values);
        crate::roundtrip::replace(batch, name, std::sync::Arc::new(Float32Array::from(values)))
    });
}

fn take(batch: &RecordBatch, keep: impl Fn(usize) -> bool) -> RecordBatch {
    let rows = (0..batch.num_rows()).filter(|&r| keep(r)).map(|r| r as u32);
    arrow_select::take::take_record_batch(batch, &UInt32Array::from_iter_values(rows)).unwrap()
}

fn reversed(batch: &RecordBatch) -> RecordBatch {
    let rows = UInt32Array::from_iter_values((0..batch.num_rows() as u32).rev());
    arrow_select::take::take_record_batch(batch, &rows).unwrap()
}

fn without_column(root: &Path, name: &str) {
    rewrite_batch(&root.join(DATA), |batch| {
        let keep: Vec<usize> =
            (0..batch.num_columns()).filter(|&i| batch.schema().field(i).name() != name).collect();
        batch.project(&keep).unwrap()
    });
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let kind = column.data_type().clone();
    fields.push(std::sync::Arc::new(arrow_schema::Field::new(name, kind, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    RecordBatch::try_new(std::sync::Arc::new(arrow_schema::Schema::new(fields)), columns).unwrap()
}

/// Where the footer of a Parquet file begins.
fn footer_at(bytes: &[u8]) -> usize {
    let end = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap());
    end - length as usize
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).rposition(|w| w == what).unwrap()
}

/// The same MP4 file with its index before the pictures.
fn index_first(bytes: &[u8]) -> Vec<u8> {
    let moov = find(bytes, b"moov") - 4;
    let mdat = find_first(bytes, b"mdat") - 4;
    let mut index = bytes[moov..].to_vec();
    let at = find(&index, b"stco") + 8;
    let count = u32::from_be_bytes(index[at..at + 4].try_into().unwrap()) as usize;
    let shift = index.len() as u32;
    for i in 0..count {
        let place = at + 4 + i * 4;
        let offset = u32::from_be_bytes(index[place..place + 4].try_into().unwrap());
        index[place..place + 4].copy_from_slice(&(offset + shift).to_be_bytes());
    }
    [&bytes[..mdat], &index, &bytes[mdat..moov]].concat()
}

fn find_first(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

/// Encodes the video of all episodes again with changed pictures, and only so many of them.
fn pictures(root: &Path, mut change: impl FnMut(usize, usize, &mut Vec<u8>), count: usize) {
    let mut all = Vec::new();
    {
        let dataset = Dataset::open(root).unwrap();
        for e in 0..3 {
            let frames: Vec<usize> = (0..LENGTH).collect();
            for (t, mut rgb) in
                dataset.decode_frames(e, CAMERA, &frames).unwrap().into_iter().enumerate()
            {
                change(e, t, &mut rgb);
                all.push(rgb);
            }
        }
    }
    all.truncate(count);
    let mp4 = encode_mp4(&all, 640, 480, 30.0, VideoSettings::default()).unwrap();
    fs::write(root.join(VIDEO), mp4).unwrap();
}
