use super::*;
use crate::testing::Numbers;
use crate::{DType, FeatureSpec, Sampler};

fn portion<'a>(name: &str, source: &'a Numbers, weight: f64) -> Portion<'a> {
    Portion { name: name.to_owned(), source, weight }
}

#[test]
fn shares_hold_whatever_the_sizes_and_episode_weights_stay_inside() {
    let (small, mut large) = (Numbers::new(&[10]), Numbers::new(&[60, 130]));
    large.weights = vec![2.0, 1.0];
    let mixture = Mixture::new(
        vec![portion("small", &small, 3.0), portion("large", &large, 1.0)],
        MixtureStats::Joint,
        Embodiments::Same,
    )
    .unwrap();
    assert_eq!(mixture.len(), 200);
    let mut sampler = Sampler::new(&mixture, 0, 0).unwrap();
    let (mut counts, epochs) = ([0.0; 3], 50);
    for i in sampler.draw(0..200 * epochs) {
        counts[if i < 10 {
            0
        } else if i < 70 {
            1
        } else {
            2
        }] += 1.0 / epochs as f64;
    }
    // Three quarters of 200; then 120 : 130 of the rest.
    for (count, wanted) in counts.into_iter().zip([150.0, 24.0, 26.0]) {
        assert!((count - wanted).abs() < 0.25, "{count} {wanted}");
    }
}

#[test]
fn batches_keep_their_order_and_say_whence() {
    let (a, b) = (Numbers::new(&[3]), Numbers::new(&[2, 4]));
    let mixture = Mixture::new(
        vec![portion("a", &a, 1.0), portion("b", &b, 1.0)],
        MixtureStats::Joint,
        Embodiments::Same,
    )
    .unwrap();
    let mut batch = Batch::default();
    mixture.batch(&[5, 0, 8, 2], &mut batch).unwrap();
    assert_eq!(batch.arrays["x"].view().as_f32().unwrap(), [1000.0, 0.0, 1003.0, 2.0]);
    let whence: Vec<_> = batch.frames.iter().map(|f| (f.dataset, f.episode, f.frame)).collect();
    assert_eq!(whence, [(1, 1, 0), (0, 0, 0), (1, 1, 3), (0, 0, 2)]);
    assert!(mixture.batch(&[9], &mut batch).is_err());
}

#[test]
fn joint_statistics_are_those_of_the_draw() {
    let (a, mut b) = (Numbers::new(&[3]), Numbers::new(&[2]));
    let stats = &mut b.stats["x"];
    (stats.mean, stats.std, stats.max) = (vec![20.0], vec![4.0], vec![120.0]);
    let mixture = Mixture::new(
        vec![portion("a", &a, 3.0), portion("b", &b, 1.0)],
        MixtureStats::Joint,
        Embodiments::Same,
    )
    .unwrap();
    let stats = &mixture.stats()["x"];
    // 3/4 · 10 + 1/4 · 20; 3/4 · (4 + 6.25) + 1/4 · (16 + 56.25).
    assert_eq!((stats.mean[0], stats.max[0], stats.count), (12.5, 120.0, 5));
    assert!((stats.std[0].powi(2) - 25.75).abs() < 1e-9);
}

#[test]
fn with_statistics_per_dataset_each_is_normalised_by_its_own() {
    let (a, mut b) = (Numbers::new(&[30]), Numbers::new(&[30]));
    let stats = &mut b.stats["x"];
    (stats.mean, stats.std) = (vec![20.0], vec![4.0]);
    let mixture = Mixture::new(
        vec![portion("a", &a, 1.0), portion("b", &b, 1.0)],
        MixtureStats::PerDataset,
        Embodiments::Same,
    )
    .unwrap();
    let mut batch = Batch::default();
    mixture.batch(&[16, 30 + 26], &mut batch).unwrap();
    let (mean, std) = (mixture.stats()["x"].mean[0] as f32, mixture.stats()["x"].std[0] as f32);
    let normal: Vec<f32> =
        batch.arrays["x"].view().as_f32().unwrap().iter().map(|x| (x - mean) / std).collect();
    assert_eq!(normal, [(16.0 - 10.0) / 2.0, (26.0 - 20.0) / 4.0]);
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    let a = Numbers::new(&[3]);
    let said = |change: &dyn Fn(&mut Numbers)| {
        let mut b = Numbers::new(&[2]);
        change(&mut b);
        let portions = vec![portion("first", &a, 1.0), portion("second", &b, 1.0)];
        Mixture::new(portions, MixtureStats::Joint, Embodiments::Same)
            .err()
            .expect("refused")
            .to_string()
    };
    let wide = |b: &mut Numbers| b.features["x"] = FeatureSpec::new(DType::Float32, &[2], &[]);
    assert_eq!(said(&wide), "second: feature `x`: shape [2] against [1] in first");
    let named =
        |b: &mut Numbers| b.features["x"] = FeatureSpec::new(DType::Float32, &[1], &["grip"]);
    assert_eq!(said(&named), "second: feature `x`: dimension 0 is `grip` against `joint` in first");
    let gone = |b: &mut Numbers| b.features.clear();
    assert!(said(&gone).contains("there is no feature `x`"));
    let more = |b: &mut Numbers| {
        b.features.insert("y".into(), FeatureSpec::new(DType::Float32, &[1], &[]));
    };
    assert!(said(&more).contains("feature `y` is not in first"));
    assert!(said(&|b: &mut Numbers| b.fps = 20.0).contains("20 frames per second"));
    assert!(said(&|b: &mut Numbers| b.lengths.clear()).contains("no frame"));
    let zero =
        Mixture::new(vec![portion("first", &a, 0.0)], MixtureStats::Joint, Embodiments::Same);
    assert!(zero.err().expect("refused").to_string().contains("weight 0"));
}

/// A source whose vector `x` has the dimensions `names`, `means` and a deviation of 1, all of them the
/// number of the frame.
fn robot(names: &[&str], means: &[f64]) -> Numbers {
    let mut robot = Numbers::new(&[4]);
    robot.features["x"] = FeatureSpec::new(DType::Float32, &[names.len()], names);
    let all = |value: f64| vec![value; names.len()];
    let stats = &mut robot.stats["x"];
    (stats.mean, stats.std) = (means.to_vec(), all(1.0));
    (stats.min, stats.max) = (all(0.0), all(3.0));
    robot
}

#[test]
fn robots_that_differ_are_padded_by_the_names_of_their_dimensions() {
    let (arm, hand) =
        (robot(&["lift", "grip"], &[1.0, 2.0]), robot(&["grip", "thumb"], &[4.0, 5.0]));
    let portions = || vec![portion("arm", &arm, 1.0), portion("hand", &hand, 3.0)];
    let mixture = Mixture::new(portions(), MixtureStats::Joint, Embodiments::Padded).unwrap();
    assert_eq!(mixture.features()["x"].dim_names(), ["lift", "grip", "thumb"]);
    // Of each dimension by those that have it: one, a quarter and three, the other.
    assert_eq!(mixture.stats()["x"].mean, [1.0, 3.5, 5.0]);
    let robots = mixture.embodiments();
    assert_eq!(
        (robots[0].places["x"].as_slice(), robots[1].places["x"].as_slice()),
        (&[0, 1][..], &[1, 2][..])
    );
    assert_eq!(
        (&robots[0].stats["x"].mean, &robots[1].stats["x"].mean),
        (&vec![1.0, 3.5], &vec![3.5, 5.0])
    );

    let mut batch = Batch::default();
    mixture.batch(&[5, 2, 7], &mut batch).unwrap();
    let values = |batch: &Batch| batch.arrays["x"].view().as_f32().unwrap().to_vec();
    assert_eq!(batch.arrays["x"].shape, [3, 3]);
    assert_eq!(values(&batch), [0.0, 1.0, 1.0, 2.0, 2.0, 0.0, 0.0, 3.0, 3.0]);
    let mut own = Batch::default();
    batch.unpadded(&[0, 2], &robots[1], &mut own);
    assert_eq!((values(&own), &own.arrays["x"].shape), (vec![1.0, 1.0, 3.0, 3.0], &vec![2, 2]));
    assert_eq!(own.frames.iter().map(|f| f.frame).collect::<Vec<_>>(), [1, 3]);

    let own = Mixture::new(portions(), MixtureStats::PerDataset, Embodiments::Padded).unwrap();
    assert_eq!(own.embodiments()[1].stats["x"].mean, [4.0, 5.0]);
}

#[test]
fn padding_keeps_windows_apart_and_refuses_what_has_no_place() {
    let batch =
        Array { shape: vec![1, 2, 2], data: crate::ArrayData::F32(vec![1.0, 2.0, 3.0, 4.0]) };
    let wide = embodiment::padded(&batch, 3, &[2, 0]);
    assert_eq!(wide.shape, [1, 2, 3]);
    assert_eq!(wide.view().as_f32().unwrap(), [2.0, 0.0, 1.0, 4.0, 0.0, 3.0]);

    let a = robot(&["lift"], &[1.0]);
    let said = |b: &Numbers, name: &str| {
        let portions = vec![portion("first", &a, 1.0), portion(name, b, 1.0)];
        let padded = Mixture::new(portions, MixtureStats::Joint, Embodiments::Padded);
        padded.err().expect("refused").to_string()
    };
    let twice = robot(&["grip", "grip"], &[1.0, 1.0]);
    assert_eq!(said(&twice, "second"), "second: two dimensions of `x` are called `grip`");
    let mut double = robot(&["lift"], &[1.0]);
    double.features["x"].dtype = DType::Float64;
    assert!(said(&double, "second").contains("feature `x` is Float64 [1], Float32 [1] in another"));
    assert!(said(&a, "first").contains("stands twice"));
}
