use super::*;
use crate::testing::Numbers;

fn counts(source: &Numbers, seed: u64, window: usize, epochs: usize) -> Vec<usize> {
    let mut sampler = Sampler::new(source, seed, window).unwrap();
    let mut counts = vec![0; source.len()];
    let each = window.max(1);
    for start in (0..source.len() * epochs).step_by(each) {
        sampler.draw(start..start + each).into_iter().for_each(|i| counts[i] += 1);
    }
    counts
}

#[test]
fn every_frame_comes_once_per_epoch_wherever_one_starts() {
    let source = Numbers::new(&[10]);
    let mut all = Sampler::new(&source, 5, 0).unwrap();
    let order: Vec<usize> = (0..5).flat_map(|b| all.draw(b * 4..(b + 1) * 4)).collect();
    for epoch in order.chunks_exact(10) {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    }
    assert_ne!(order[..10], order[10..]);
    assert_eq!(Sampler::new(&source, 5, 0).unwrap().draw(12..16), order[12..16]);
}

#[test]
fn weights_hold_to_within_a_frame_in_every_epoch_and_in_the_mean() {
    let mut source = Numbers::new(&[40, 7, 53, 100]);
    source.weights = vec![1.0, 3.0, 0.0, 0.37];
    let total: f64 = 40.0 + 21.0 + 37.0;
    let wanted = [40.0, 21.0, 0.0, 37.0].map(|w| 200.0 * w / total);
    let mut sum = [0.0; 4];
    let epochs = 400;
    let mut sampler = Sampler::new(&source, 3, 0).unwrap();
    for epoch in 0..epochs {
        let mut counts = [0.0; 4];
        for i in sampler.draw(epoch * 200..(epoch + 1) * 200) {
            let episode = [0..40, 40..47, 47..100, 100..200].iter().position(|e| e.contains(&i));
            counts[episode.unwrap()] += 1.0;
        }
        for ((count, wanted), sum) in counts.iter().zip(wanted).zip(&mut sum) {
            assert!((count - wanted).abs() <= 1.0, "{count} of {wanted} in epoch {epoch}");
            *sum += count;
        }
    }
    for (sum, wanted) in sum.iter().zip(wanted) {
        assert!((sum / f64::from(epochs as u32) - wanted).abs() < 0.1, "{sum} {wanted}");
    }
    // Frames of one episode come equally often in the mean, the rarest too.
    let counts = counts(&source, 3, 0, epochs);
    let rare = &counts[100..200];
    let mean = rare.iter().sum::<usize>() as f64 / 100.0;
    let spread = rare.iter().map(|&c| (c as f64 - mean).abs()).fold(0.0, f64::max);
    // Binomial with 400 draws at 0.755: 5 standard deviations are 43.
    assert!(spread < 43.0, "{spread} about {mean}");
}

#[test]
fn a_window_keeps_runs_together_and_every_frame_in_its_epoch() {
    let mut source = Numbers::new(&[64, 64]);
    source.run = Some(8);
    assert_eq!(counts(&source, 1, 32, 3), vec![3; 128]);
    let mut sampler = Sampler::new(&source, 1, 32).unwrap();
    let window = sampler.draw(32..64);
    let mut runs: Vec<usize> = window.iter().map(|i| i / 8).collect();
    assert!(runs.windows(2).any(|w| w[0] != w[1]), "a window is shuffled frame by frame");
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), 4, "32 frames come out of four runs of 8");
    let mut again = Sampler::new(&source, 1, 32).unwrap();
    assert_eq!(again.draw(32..64), window);
}

#[test]
fn what_cannot_be_drawn_from_is_refused() {
    let said = |source: &Numbers| Sampler::new(source, 0, 0).unwrap_err().to_string();
    assert!(said(&Numbers::new(&[])).contains("no frame"));
    let mut source = Numbers::new(&[3, 4]);
    source.weights = vec![0.0, 0.0];
    assert!(said(&source).contains("weight 0"));
    source.weights = vec![1.0, f64::NAN];
    assert!(said(&source).starts_with("frames 3 to 7"));
}

#[test]
fn a_spread_follows_the_weights() {
    let mut source = Numbers::new(&[10, 10]);
    assert_eq!(Sampler::spread(&source, 4).unwrap(), [0, 5, 10, 15]);
    source.weights = vec![3.0, 1.0];
    let found = Sampler::spread(&source, 8).unwrap();
    assert_eq!(found.iter().filter(|&&i| i < 10).count(), 6);
}
