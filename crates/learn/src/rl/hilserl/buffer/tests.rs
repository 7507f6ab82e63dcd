//! What is written is read again, whatever is cut off; transitions never run over an episode's end.

use std::collections::BTreeMap;

use embody_core::StepTaken;
use rand::SeedableRng;

use super::*;

fn spec() -> ExperienceSpec {
    ExperienceSpec { state_dim: 2, action_dim: 1, cameras: vec![("wrist".into(), 2, 3)] }
}

fn moment(seq: u64, begins: bool) -> Moment {
    let x = seq as f32;
    let step = StepTaken {
        action: vec![-x],
        reward: 10.0 * x,
        penalty: -0.02,
        intervened: seq.is_multiple_of(2),
        weights: seq,
        ..StepTaken::default()
    };
    Moment {
        seq,
        step: (!begins).then_some(step),
        state: vec![x, 0.5],
        pictures: vec![vec![seq as u8; 18]],
    }
}

/// Every transition: where from, where to, by the first number of the states.
fn transitions(buffer: &Buffer) -> Vec<(f32, f32)> {
    let pair = |p: &Place| (buffer.state(p.from)[0], buffer.state(p.to)[0]);
    buffer.ready.iter().map(pair).collect()
}

#[test]
fn a_transition_stays_inside_its_actors_episode() {
    let home = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(home.path(), &spec(), 100).unwrap();
    // Two actors side by side; episodes begin at 1 and 4; actor 8 leaves out a number.
    for (actor, seq) in [(7, 1), (8, 1), (7, 2), (8, 2), (7, 3), (8, 4), (7, 4), (7, 5), (8, 5)] {
        let begins = seq == 1 || (actor == 7 && seq == 4);
        let mut m = moment(seq, begins);
        m.state[0] += if actor == 8 { 100.0 } else { 0.0 };
        assert!(buffer.push(actor, &m).unwrap());
        assert!(!buffer.push(actor, &m).unwrap(), "known already");
    }
    let wanted = vec![(1.0, 2.0), (101.0, 102.0), (2.0, 3.0), (4.0, 5.0), (104.0, 105.0)];
    assert_eq!(transitions(&buffer), wanted);
    let again = Buffer::open(home.path(), &spec(), 100).unwrap();
    assert_eq!((transitions(&again), again.last(7), again.last(8)), (wanted, 5, 5));
    assert_eq!(again.moment(2).unwrap(), moment(2, false));
    let other = ExperienceSpec { state_dim: 3, ..spec() };
    assert!(Buffer::open(home.path(), &other, 100).is_err());
}

#[test]
fn a_file_cut_anywhere_costs_the_last_moment_at_most() {
    let home = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(home.path(), &spec(), 100).unwrap();
    (1..=4).for_each(|seq| assert!(buffer.push(1, &moment(seq, seq == 1)).unwrap()));
    let path = buffer.segment_path(0);
    let whole = fs::read(&path).unwrap();
    let len = buffer.layout.len;
    assert_eq!(whole.len(), 4 * len);
    for cut in 3 * len..4 * len {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut cut_off = Buffer::open(home.path(), &spec(), 100).unwrap();
        assert_eq!((cut_off.total(), cut_off.last(1)), (3, 3), "cut at {cut}");
        assert_eq!(cut_off.cut, u64::from(cut > 3 * len));
        // It goes on as if nothing had been.
        assert!(cut_off.push(1, &moment(4, false)).unwrap());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // A byte of the last record's picture turned by a loss of power.
    let mut turned = whole.clone();
    turned[4 * len - 6] ^= 1;
    fs::write(&path, &turned).unwrap();
    assert_eq!(Buffer::open(home.path(), &spec(), 100).unwrap().total(), 3);
}

#[test]
fn what_a_capacity_leaves_no_room_for_goes_by_segments() {
    let home = tempfile::tempdir().unwrap();
    let (mut buffer, mut live) = (Buffer::open(home.path(), &spec(), 40).unwrap(), BTreeMap::new());
    buffer.per_segment = 16;
    let text = fs::read_to_string(home.path().join(SPEC_FILE)).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["records_per_segment"] = 16.into();
    fs::write(home.path().join(SPEC_FILE), file.to_string()).unwrap();
    for seq in 1..=200u64 {
        buffer.push(1, &moment(seq, seq % 20 == 1)).unwrap();
        live.insert(seq, ());
        if seq % 50 == 0 {
            buffer.settle().unwrap();
            let files = buffer.numbers().unwrap();
            assert!(files.len() <= 4, "{files:?}");
        }
        assert!(buffer.ready() <= 40);
    }
    let kept = transitions(&buffer);
    assert_eq!(kept.last(), Some(&(199.0, 200.0)));
    let again = Buffer::open(home.path(), &spec(), 40).unwrap();
    assert_eq!((transitions(&again), again.total(), again.last(1)), (kept, 200, 200));
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    assert!((0..500).all(|_| again.draw(&mut rng).to >= 160));
}

#[test]
fn feature_maps_are_kept_and_cut_with_their_records() {
    let home = tempfile::tempdir().unwrap();
    let maps = MapSpec { made_by: "test".into(), len: 3, variants: 2 };
    let mut buffer = Buffer::open(home.path(), &spec(), 100).unwrap();
    buffer.keep_maps(maps.clone()).unwrap();
    for seq in 1..=5u64 {
        buffer.push(1, &moment(seq, seq == 1)).unwrap();
        let base = seq as f32;
        let all: Vec<f32> = (0..6).map(|i| base + 10.0 * i as f32).collect();
        assert_eq!(buffer.unmapped(), Some(seq - 1));
        buffer.add_maps(&all).unwrap();
    }
    let read = |b: &Buffer, record, variant| {
        let (mut bytes, mut out) = (Vec::new(), vec![0.0; 3]);
        b.map(record, variant, 0, &mut bytes, &mut out).unwrap();
        out
    };
    assert_eq!(read(&buffer, 2, 0), [3.0, 13.0, 23.0]);
    assert_eq!(read(&buffer, 2, 1), [33.0, 43.0, 53.0]);
    buffer.cut_to(3).unwrap();
    assert_eq!((buffer.total(), buffer.unmapped()), (3, None));
    buffer.push(1, &moment(4, false)).unwrap();
    assert_eq!(buffer.unmapped(), Some(3), "the old map is not taken for the new record's");
    buffer.add_maps(&[1.0; 6]).unwrap();
    // A map that a loss of power left half written is made again.
    let dir = buffer.maps.as_ref().unwrap().1.clone();
    let path = dir.join("000000.halves");
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[len - 8] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut again = Buffer::open(home.path(), &spec(), 100).unwrap();
    again.keep_maps(maps).unwrap();
    assert_eq!((again.unmapped(), read(&again, 2, 1)), (Some(3), vec![33.0, 43.0, 53.0]));
}

#[test]
fn a_moment_of_other_sizes_or_without_numbers_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(home.path(), &spec(), 100).unwrap();
    let mut refuse = |change: &dyn Fn(&mut Moment), wanted: &str| {
        let mut m = moment(1, false);
        change(&mut m);
        let said = buffer.push(1, &m).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    };
    refuse(&|m| m.state.push(0.0), "state of moment 1");
    refuse(&|m| m.pictures[0].pop().map_or((), drop), "picture of moment 1");
    refuse(&|m| m.pictures.clear(), "pictures of moment 1");
    refuse(&|m| m.step.as_mut().unwrap().action.clear(), "action of moment 1");
    refuse(&|m| m.state[1] = f32::NAN, "holds the number NaN");
}
