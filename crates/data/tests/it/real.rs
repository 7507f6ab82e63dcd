//! The real Unitree G1 recording (LeRobot v2.1, 12 episodes, 640x480 AV1).

use embody_core::{Batch, BatchSource};
use embody_data::{
    Dataset, DecodeCheck, FrameSource, ImportOptions, ProcessOptions, Severity, SourceOptions,
    ValidateOptions, import, process, validate,
};

use crate::common::{difference, shared_data, with_task};

const CAMERA: &str = "observation.images.cam_high";

#[test]
fn the_g1_recording_imports_validates_decodes_and_processes() {
    let Some(source) = shared_data("unitree-g1-bottle") else { return };
    let home = tempfile::tempdir().unwrap();
    let (v3, processed) = (home.path().join("v3"), home.path().join("processed"));
    let report = with_task(|t| import(&source, &v3, ImportOptions::default(), t).unwrap());
    assert_eq!((report.episodes, report.frames), (12, 4489));
    let options = ValidateOptions { decode: DecodeCheck::Sampled, ..Default::default() };
    for root in [&source, &v3] {
        let found = with_task(|t| validate(root, &options, t).unwrap());
        assert_eq!(found.count(Severity::Error), 0, "{:#?}", found.findings);
        assert_eq!((found.checked.episodes, found.checked.frames), (12, 4489));
    }
    let (before, after) = (Dataset::open_any(&source).unwrap(), Dataset::open(&v3).unwrap());
    assert!(Dataset::open(&source).unwrap_err().hint().unwrap().contains("embody data import"));
    for e in [0, 11] {
        let (a, b) = (before.episode_table(e).unwrap(), after.episode_table(e).unwrap());
        assert_eq!(a, b, "episode {e}");
        let last = after.episodes()[e].length - 1;
        let frames = [0, last, last / 2];
        let (a, b) = (
            before.decode_frames(e, CAMERA, &frames).unwrap(),
            after.decode_frames(e, CAMERA, &frames).unwrap(),
        );
        assert_eq!(a, b, "packets are copied, pictures are the same");
        assert!(difference(&a[0], &a[1]) > 0.1);
    }
    let mp4 = after.episode_video_mp4(3, CAMERA).unwrap();
    assert_eq!(&mp4[4..8], b"ftyp");
    let options = ProcessOptions { held_out: 0.2, seed: 7, ..Default::default() };
    let report = with_task(|t| process(&v3, &processed, &options, t).unwrap());
    assert_eq!(report.kept.len() + report.dropped.len(), 12);
    let done = Dataset::open(&processed).unwrap();
    assert_eq!(done.lineage().unwrap().unwrap().parent, Some(after.version().unwrap()));
    let (train, held) = (done.split(Some("train")).unwrap(), done.split(Some("held_out")).unwrap());
    assert_eq!((train.start, train.end, held.end), (0, held.start, report.kept.len()));
    let options = SourceOptions {
        split: Some("held_out".into()),
        inputs: vec![CAMERA.into(), "action".into()],
        image_size: Some((96, 128)),
        ..Default::default()
    };
    let frames = with_task(|t| FrameSource::open(&processed, &options, t).unwrap());
    let mut batch = Batch::default();
    frames.batch(&[0, frames.len() - 1], &mut batch).unwrap();
    assert_eq!(batch.arrays[CAMERA].shape, [2, 96, 128, 3]);
    assert_eq!(frames.stats()["action"].mean.len(), 26);
}
