//! A source for tests: frame `i` of episode `e` holds the number `1000 e + i`.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    Array, ArrayData, Batch, BatchSource, DType, Error, FeatureSpec, FeatureStats, Features,
    FrameRef, Result, StatsMap,
};

pub struct Numbers {
    pub lengths: Vec<usize>,
    pub weights: Vec<f64>,
    pub run: Option<usize>,
    pub features: Features,
    pub stats: StatsMap,
    pub fps: f64,
    /// Reading this frame fails.
    pub broken: Option<FrameRef>,
    /// Reading this frame panics.
    pub panics: Option<FrameRef>,
    pub reads: AtomicUsize,
}

impl Numbers {
    pub fn new(lengths: &[usize]) -> Self {
        let stats = FeatureStats {
            mean: vec![10.0],
            std: vec![2.0],
            min: vec![0.0],
            max: vec![99.0],
            count: lengths.iter().sum::<usize>() as u64,
            ..Default::default()
        };
        Self {
            lengths: lengths.to_vec(),
            weights: vec![1.0; lengths.len()],
            run: None,
            features: Features::from([(
                "x".to_owned(),
                FeatureSpec::new(DType::Float32, &[1], &["joint"]),
            )]),
            stats: StatsMap::from([("x".to_owned(), stats)]),
            fps: 10.0,
            broken: None,
            panics: None,
            reads: AtomicUsize::new(0),
        }
    }

    fn episodes(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let range = |&length: &usize| {
            start += length;
            start - length..start
        };
        self.lengths.iter().map(range).collect()
    }
}

impl BatchSource for Numbers {
    fn features(&self) -> &Features {
        &self.features
    }

    fn stats(&self) -> &StatsMap {
        &self.stats
    }

    fn len(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn fps(&self) -> f64 {
        self.fps
    }

    fn weights(&self) -> Vec<(Range<usize>, f64)> {
        self.episodes().into_iter().zip(self.weights.iter().copied()).collect()
    }

    fn runs(&self) -> Result<Option<Vec<Range<usize>>>> {
        let Some(run) = self.run else { return Ok(None) };
        let cut = |e: Range<usize>| {
            let end = e.end;
            e.step_by(run).map(move |start| start..(start + run).min(end))
        };
        Ok(Some(self.episodes().into_iter().flat_map(cut).collect()))
    }

    fn batch(&self, indices: &[usize], out: &mut Batch) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let episodes = self.episodes();
        out.frames = indices
            .iter()
            .map(|&i| {
                let episode = episodes.iter().position(|e| e.contains(&i)).expect("inside");
                FrameRef { dataset: 0, episode, frame: i - episodes[episode].start }
            })
            .collect();
        for frame in &out.frames {
            if self.broken == Some(*frame) {
                let place = format!("episode {}, frame {}", frame.episode, frame.frame);
                return Err(Error::new(format!("{place}: damaged")));
            }
            assert_ne!(self.panics, Some(*frame), "told to panic");
        }
        let dims = self.features.get("x").map_or(1, FeatureSpec::numel);
        let value = |f: &FrameRef| vec![(1000 * f.episode + f.frame) as f32; dims];
        let values = out.frames.iter().flat_map(value).collect();
        let array = Array { shape: vec![indices.len(), dims], data: ArrayData::F32(values) };
        out.arrays.insert("x".to_owned(), array);
        Ok(())
    }
}
