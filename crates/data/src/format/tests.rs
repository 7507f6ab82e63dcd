use super::fill;

#[test]
fn templates_are_filled() {
    let (chunk, file) = (2usize, 13usize);
    let key = "observation.images.top";
    let path = fill(
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        &[("chunk_index", &chunk), ("file_index", &file), ("video_key", &key)],
    );
    assert_eq!(path.as_deref(), Ok("videos/observation.images.top/chunk-002/file-013.mp4"));
    assert!(fill("a/{what}", &[]).is_err());
    assert!(fill("a/{open", &[]).is_err());
    assert!(fill("../../{x}", &[("x", &chunk)]).is_err());
    assert!(fill("/etc/{x}", &[("x", &chunk)]).is_err());
}

#[test]
fn whole_numbers_stay_integers() {
    let info = super::Info::new(30.0, None, &embody_core::Features::new());
    let text = serde_json::to_string(&info).expect("json");
    assert!(text.contains("\"fps\":30,"), "{text}");
}
