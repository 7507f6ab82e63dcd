//! Updates of the learner per second on made-up experience: on states, and on cached feature maps.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use embody_core::{Intake, Moment, Result, StepTaken, Team};

use super::actor::Scaling;
use super::buffer::ExperienceSpec;
use super::config::HilSerlConfig;
use super::encoder::ImageEncoder;
use super::learner::{Learner, Sizes};
use super::memory::Memory;
use crate::noise::{normals, stream};
use crate::rl::agent::Scalars;

/// What is measured.
#[derive(Clone)]
pub struct HilSerlBench {
    /// Length of the state.
    pub state_dim: usize,
    /// Length of the action.
    pub action_dim: usize,
    /// Cameras.
    pub cameras: usize,
    /// Moments in either buffer.
    pub moments: u64,
    /// Threads; 0 for one per core.
    pub threads: usize,
    /// Stretches that are measured, and how long each is.
    pub samples: usize,
    /// Length of a stretch.
    pub time: Duration,
}

/// Updates of the critics per second, the actor's among them as the settings say: one rate per
/// stretch. Experience is made up in the empty folder `dir`; `encoder` makes its maps beforehand.
///
/// # Errors
/// Settings out of range, or I/O.
pub fn hilserl_updates_per_second(
    cfg: &HilSerlConfig,
    bench: &HilSerlBench,
    encoder: Option<Arc<dyn ImageEncoder>>,
    dir: &Path,
) -> Result<Vec<f64>> {
    cfg.validate()?;
    let (height, width) = encoder.as_ref().map_or((0, 0), |e| e.input());
    let spec = ExperienceSpec {
        state_dim: bench.state_dim,
        action_dim: bench.action_dim,
        cameras: (0..bench.cameras).map(|i| (format!("camera{i}"), height, width)).collect(),
    };
    let mut memory = Memory::open(dir, &spec, encoder, cfg, 0)?;
    for seq in 1..=bench.moments {
        let mut rng = stream(0, "bench/moments", seq);
        let mut draw = |n: usize| {
            let mut values = vec![0.0; n];
            normals(&mut rng, &mut values);
            values
        };
        let pixels = draw(height * width * 3);
        let picture: Vec<u8> = pixels.iter().map(|v| (128.0 + 40.0 * v) as u8).collect();
        let step = StepTaken {
            action: draw(bench.action_dim).iter().map(|v: &f32| v.clamp(-1.0, 1.0)).collect(),
            reward: draw(1)[0],
            ..StepTaken::default()
        };
        let moment = Moment {
            seq,
            step: (seq % 100 != 1).then_some(step),
            state: draw(bench.state_dim),
            pictures: vec![picture; bench.cameras],
        };
        memory.accept(1, &moment)?;
        memory.demonstrate(&moment)?;
    }
    let sizes = Sizes {
        state_dim: bench.state_dim,
        maps: memory.maps(),
        low: vec![-1.0; bench.action_dim],
        high: vec![1.0; bench.action_dim],
    };
    let scaling = Scaling::new(cfg, &sizes, memory.demo_range());
    let mut learner = Learner::new(cfg, &sizes, scaling.clone(), 0);
    let team = Team::new(bench.threads);
    let mut scalars = Scalars::default();
    let mut round = |learner: &mut Learner| {
        let rows = |update: u64| {
            let mut rng = stream(0, "bench/batch", update);
            memory.rows(memory.draw(&mut rng, cfg.batch_size), &scaling)
        };
        learner.round(&team, rows, &mut scalars)
    };
    round(&mut learner)?;
    let mut rates = Vec::new();
    for _ in 0..bench.samples {
        let (start, before) = (Instant::now(), learner.updates);
        while start.elapsed() < bench.time {
            round(&mut learner)?;
        }
        rates.push((learner.updates - before) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(rates)
}
