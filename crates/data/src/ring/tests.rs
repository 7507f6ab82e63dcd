use std::io::{Read, Seek, SeekFrom};

use embody_core::FrameRef;

use super::*;

fn batch(add: u8) -> Batch {
    let frame = |i| FrameRef { dataset: 1, episode: 7 + i, frame: 40 + usize::from(add) };
    let mut batch = Batch { frames: (0..3).map(frame).collect(), ..Batch::default() };
    let mut put = |key: &str, shape: &[usize], data| {
        batch.arrays.insert(key.to_owned(), Array { shape: shape.to_vec(), data });
    };
    put("image", &[3, 1, 2, 3], ArrayData::U8((0..18).map(|i| i + add).collect()));
    put("action", &[3, 2, 1], ArrayData::F32((0..6).map(|i| i as f32 + f32::from(add)).collect()));
    put("action_is_pad", &[3, 2], ArrayData::Bool(vec![false, true, add == 0, false, true, true]));
    batch
}

fn read(ring: &BatchRing, slot: usize, name: &str, bytes: usize) -> Vec<u8> {
    let layout = ring.layout();
    let offset = layout.arrays.iter().find(|a| a.name == name).map_or(0, |a| a.offset);
    let mut file = File::open(&layout.file).unwrap();
    file.seek(SeekFrom::Start((slot * layout.slot_bytes + offset) as u64)).unwrap();
    let mut out = vec![0; bytes];
    file.read_exact(&mut out).unwrap();
    out
}

#[test]
fn another_opening_of_the_file_sees_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = BatchRing::create(&batch(0), 2, folder.path()).unwrap();
    for (sequence, slot) in [(1, 0), (2, 1), (3, 0)] {
        let add = sequence as u8;
        assert_eq!(ring.write(sequence, &batch(add)).unwrap(), slot);
        assert_eq!(read(&ring, slot, "", 8), sequence.to_le_bytes());
        assert_eq!(read(&ring, slot, "image", 18), (0..18).map(|i| i + add).collect::<Vec<u8>>());
        let action = read(&ring, slot, "action", 24);
        assert_eq!(action[20..], (5.0 + f32::from(add)).to_le_bytes());
        assert_eq!(read(&ring, slot, "action_is_pad", 6), [0, 1, 0, 0, 1, 1]);
        assert_eq!(read(&ring, slot, "episode_index", 24)[16..], 9i64.to_le_bytes());
        assert_eq!(read(&ring, slot, "frame_index", 8), (40 + i64::from(add)).to_le_bytes());
        assert_eq!(read(&ring, slot, "dataset_index", 8), 1i64.to_le_bytes());
    }
    assert!(ring.layout().arrays.iter().all(|a| a.offset % ALIGN == 0));
    #[cfg(target_os = "linux")]
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has a name");
}

#[test]
fn only_this_user_opens_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let ring = BatchRing::create(&batch(0), 1, folder.path()).unwrap();
    let mode = std::fs::metadata(&ring.layout().file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn other_shapes_and_impossible_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = BatchRing::create(&batch(0), 2, folder.path()).unwrap();
    let mut other = batch(0);
    other.arrays["action"] = Array { shape: vec![3, 1, 1], data: ArrayData::F32(vec![0.0; 3]) };
    let error = ring.write(1, &other).unwrap_err();
    assert!(error.to_string().starts_with("action is float32 [3, 1, 1]"), "{error}");
    assert!(BatchRing::create(&batch(0), 0, folder.path()).is_err());
    assert!(BatchRing::create(&batch(0), 1 << 40, folder.path()).is_err());
}
