//! The sample of BridgeData V2 in RLDS: 25 trajectories of 10 steps, four cameras, language.

use embody_core::ArrayData;
use embody_data::{
    Dataset, DecodeCheck, ImportOptions, Severity, ValidateOptions, VideoSettings, import, validate,
};
use serde_json::Value;

use crate::arrays::{pythons, run};
use crate::common::{difference, shared_data, with_task};

fn floats(data: &ArrayData) -> String {
    let ArrayData::F32(values) = data else { panic!("{data:?}") };
    values.iter().flat_map(|v| v.to_le_bytes()).map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_bridge_sample_imports_with_its_counts_and_values() {
    let Some(source) = shared_data("bridge-rlds") else { return };
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    let error = with_task(|t| import(&source, &root, ImportOptions::default(), t).unwrap_err());
    assert!(error.to_string().contains("does not say its frame rate"), "{error}");
    assert!(error.hint().unwrap().contains("--fps"));
    let video = VideoSettings { quantiser: 1, ..VideoSettings::default() };
    let options = ImportOptions { fps: Some(5.0), video, ..Default::default() };
    let report = with_task(|t| import(&source, &root, options, t).unwrap());
    assert_eq!((report.episodes, report.frames), (25, 250));
    assert_eq!(report.source_format, "RLDS bridge_dataset 1.0.0");
    // The sample declares a second split and does not hold it.
    assert!(report.notes.iter().any(|n| n.code == "shards-missing" && n.message.contains("val")));
    let dataset = Dataset::open(&root).unwrap();
    let cameras: Vec<&str> = dataset.info().video_keys().collect();
    assert_eq!(cameras.len(), 4);
    assert_eq!(dataset.info().features["action"].shape, [7]);
    assert_eq!(dataset.info().features["language_embedding"].shape, [512]);
    assert!(dataset.tasks().iter().any(|t| t.len() > 8), "{:?}", dataset.tasks());
    let found = with_task(|t| {
        let options = ValidateOptions { decode: DecodeCheck::All, ..Default::default() };
        validate(&root, &options, t).unwrap()
    });
    assert_eq!(found.count(Severity::Error), 0, "{:#?}", found.findings);
    for python in pythons().into_iter().take(1) {
        let listed = run(&python, "read_rlds.py", &[&source.join("1.0.0"), home.path()]);
        let listed: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.len(), 25);
        for (e, theirs) in listed.iter().enumerate() {
            let table = dataset.episode_table(e).unwrap();
            for (ours, name) in [
                ("action", "steps/action"),
                ("observation.state", "steps/observation/state"),
                ("language_embedding", "steps/language_embedding"),
                ("next.reward", "steps/reward"),
                ("discount", "steps/discount"),
            ] {
                assert_eq!(
                    floats(&table[ours].data),
                    theirs[name]["floats"],
                    "episode {e}, {ours}"
                );
            }
            let ArrayData::I64(tasks) = &table["task_index"].data else { panic!() };
            let tasks: Vec<_> =
                tasks.iter().map(|&t| dataset.tasks()[t as usize].clone()).collect();
            let words = &theirs["steps/language_instruction"]["bytes"];
            assert_eq!(serde_json::json!(tasks), *words, "episode {e}");
            let path = dataset.episode_text(e, "episode_metadata.file_path").unwrap();
            assert_eq!(path[9], theirs["episode_metadata/file_path"]["bytes"][0]);
            for key in &cameras {
                let name = key.rsplit('.').next().unwrap();
                let rgb = std::fs::read(home.path().join(format!("{e}-{name}.rgb"))).unwrap();
                let frames: Vec<usize> = (0..10).collect();
                let ours = dataset.decode_frames(e, key, &frames).unwrap().concat();
                let off = difference(&ours, &rgb);
                assert!(off < 4.0, "episode {e}, {key}: pictures differ by {off} levels");
            }
        }
    }
}
