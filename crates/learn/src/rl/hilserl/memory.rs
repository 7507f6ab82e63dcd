//! The learner's experience: what the actors did, and demonstrations with every intervention beside it.
//!
//! An intervened transition goes to both buffers, the demonstrations' first: a kill in between
//! leaves it to be sent again, which the buffer that has it already takes no notice of. A batch is
//! half from either side (or as the settings say). Feature maps of the frozen encoder are made once
//! per picture, when it arrives.

use std::path::Path;
use std::sync::Arc;

use embody_core::{Intake, Moment, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::actor::Scaling;
use super::batch::FromMemory;
use super::buffer::{Buffer, ExperienceSpec, MapSpec, Place};
use super::config::HilSerlConfig;
use super::encoder::ImageEncoder;
use crate::error::Error;
use crate::noise::stream;

/// The actor under whose name demonstrations are kept.
pub(crate) const DEMONSTRATOR: u64 = 0;
const ONLINE_DIR: &str = "online";
const DEMO_DIR: &str = "demos";

/// A transition drawn for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub demo: bool,
    pub place: Place,
    /// Which map of the observation's pictures, and of the next one's.
    pub variants: (usize, usize),
}

/// Both buffers, and the encoder that makes their maps.
pub struct Memory {
    pub(crate) online: Buffer,
    pub(crate) demos: Buffer,
    encoder: Option<Arc<dyn ImageEncoder>>,
    variants: usize,
    shift: usize,
    demo_share: f64,
    seed: u64,
}

impl Memory {
    /// Opens the experience in `dir`, or makes it. With cameras an encoder is needed.
    ///
    /// # Errors
    /// When the folder holds experience of another kind, is damaged, or an encoder is missing.
    pub fn open(
        dir: &Path,
        spec: &ExperienceSpec,
        encoder: Option<Arc<dyn ImageEncoder>>,
        cfg: &HilSerlConfig,
        seed: u64,
    ) -> Result<Self> {
        let mut online = Buffer::open(&dir.join(ONLINE_DIR), spec, cfg.online_capacity)?;
        let mut demos = Buffer::open(&dir.join(DEMO_DIR), spec, cfg.demo_capacity)?;
        let encoder = if spec.cameras.is_empty() { None } else { encoder };
        match &encoder {
            Some(encoder) => {
                for (key, height, width) in &spec.cameras {
                    let expected = encoder.input();
                    if (*height, *width) != expected {
                        return Err(Error::FeatureShape {
                            key: key.clone(),
                            found: format!("{height} × {width} pixels"),
                            expected: format!("{} × {}", expected.0, expected.1),
                        }
                        .into());
                    }
                }
                let maps = MapSpec {
                    made_by: format!(
                        "{} variants {} shift {} seed {seed}",
                        encoder.id(),
                        cfg.variants,
                        cfg.shift
                    ),
                    len: encoder.map().iter().product(),
                    variants: cfg.variants,
                };
                online.keep_maps(maps.clone())?;
                demos.keep_maps(maps)?;
            }
            None if !spec.cameras.is_empty() => {
                return Err(Error::Invalid {
                    what: format!("{} cameras, and no encoder for them", spec.cameras.len()),
                    hint: "give an encoder, or leave the cameras out".into(),
                }
                .into());
            }
            None => {}
        }
        let (variants, shift) = (cfg.variants, cfg.shift);
        let mut memory =
            Self { online, demos, encoder, variants, shift, demo_share: cfg.demo_share, seed };
        memory.look()?;
        Ok(memory)
    }

    /// Height, width and channels of a camera's feature map, for each camera.
    pub(crate) fn maps(&self) -> Vec<[usize; 3]> {
        let map = self.encoder.as_ref().map(|e| e.map());
        map.into_iter().flat_map(|m| vec![m; self.online.layout.cameras()]).collect()
    }

    /// Adds moments of a demonstration: their numbers go on from [`Memory::demonstrated`].
    ///
    /// # Errors
    /// When they don't fit or can't be written.
    pub fn demonstrate(&mut self, moment: &Moment) -> Result<bool> {
        let new = self.demos.push(DEMONSTRATOR, moment)?;
        self.look()?;
        Ok(new)
    }

    /// The last number of the demonstrations; 0 where there are none.
    pub fn demonstrated(&self) -> u64 {
        self.demos.last(DEMONSTRATOR)
    }

    /// Transitions that the actors made and that can be drawn.
    pub fn online_transitions(&self) -> usize {
        self.online.ready()
    }

    /// Transitions of demonstrations and interventions that can be drawn.
    pub fn demo_transitions(&self) -> usize {
        self.demos.ready()
    }

    /// Lowest and highest value of each dimension of the demonstrations' states.
    pub(crate) fn demo_range(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let dim = self.demos.layout.state_dim;
        let mut range = (vec![f32::INFINITY; dim], vec![f32::NEG_INFINITY; dim]);
        let places = self.demos.places();
        for record in places.clone() {
            for (j, v) in self.demos.state(record).iter().enumerate() {
                range.0[j] = range.0[j].min(*v);
                range.1[j] = range.1[j].max(*v);
            }
        }
        (places.count() > 0).then_some(range)
    }

    /// Runs the encoder over pictures that came since.
    fn look(&mut self) -> Result<()> {
        let Some(encoder) = &self.encoder else { return Ok(()) };
        let (height, width) = encoder.input();
        for (demo, buffer) in [(false, &mut self.online), (true, &mut self.demos)] {
            while let Some(record) = buffer.unmapped() {
                let moment = buffer.moment(record)?;
                let mut pixels = Vec::new();
                for variant in 0..self.variants {
                    let label = if demo { "hilserl/shift/demos" } else { "hilserl/shift/online" };
                    let mut rng =
                        stream(self.seed, label, record * self.variants as u64 + variant as u64);
                    for picture in &moment.pictures {
                        let most = if variant == 0 { 0 } else { self.shift as i64 };
                        let by = [(); 2].map(|()| rng.random_range(-most..=most));
                        shifted(picture, (height, width), by, &mut pixels);
                    }
                }
                let maps = encoder.encode(&pixels)?;
                if maps.iter().any(|v| !v.is_finite()) {
                    let what = "the encoder's features are not finite".to_owned();
                    let hint = "the encoder's weights are damaged; load them again".into();
                    return Err(Error::Invalid { what, hint }.into());
                }
                buffer.add_maps(&maps)?;
            }
        }
        Ok(())
    }

    /// Draws a batch: how many rows come from the demonstrations is fixed, which ones is chance.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng, rows: usize) -> Vec<Drawn> {
        let of_demos = match (self.online.ready(), self.demos.ready()) {
            (_, 0) => 0,
            (0, _) => rows,
            _ => (rows as f64 * self.demo_share).round() as usize,
        };
        let one = |i: usize| {
            let demo = i < of_demos;
            let place = if demo { self.demos.draw(rng) } else { self.online.draw(rng) };
            let variants = (rng.random_range(0..self.variants), rng.random_range(0..self.variants));
            Drawn { demo, place, variants }
        };
        (0..rows).map(one).collect()
    }

    /// The rows of an update's batch.
    pub(crate) fn rows<'a>(&'a self, drawn: Vec<Drawn>, scaling: &'a Scaling) -> FromMemory<'a> {
        FromMemory {
            online: &self.online,
            demos: &self.demos,
            map_lens: self.maps().iter().map(|m| m.iter().product()).collect(),
            drawn,
            scaling,
        }
    }

    /// Forgets what the capacities leave no room for.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.online.settle()?;
        self.demos.settle()
    }
}

impl Intake for Memory {
    fn accept(&mut self, actor: u64, moment: &Moment) -> Result<bool> {
        if actor == DEMONSTRATOR {
            let what = "an actor calls itself 0, which demonstrations do".to_owned();
            return Err(Error::Invalid { what, hint: "give it another number".into() }.into());
        }
        let last = self.online.last(actor);
        if moment.seq <= last {
            return Ok(false);
        }
        if moment.seq != last + 1 {
            return Err(Error::Invalid {
                what: format!(
                    "actor {actor} sent moment {} after {last}: some are missing",
                    moment.seq
                ),
                hint: "send what follows the number that the learner names".into(),
            }
            .into());
        }
        if moment.step.as_ref().is_some_and(|s| s.intervened) {
            if self.demos.last(actor) < last
                && let Some(before) = self.online.last_place(actor)
            {
                let start = Moment { step: None, ..self.online.moment(before)? };
                self.demos.push(actor, &start)?;
            }
            self.demos.push(actor, moment)?;
        }
        let new = self.online.push(actor, moment)?;
        self.look()?;
        Ok(new)
    }

    fn last(&self, actor: u64) -> u64 {
        self.online.last(actor)
    }

    fn sync(&mut self) -> Result<()> {
        self.demos.sync()?;
        self.online.sync()
    }
}

/// Appends a picture moved by `by` pixels down and right, its edge repeated.
pub(crate) fn shifted(
    picture: &[u8],
    (height, width): (usize, usize),
    by: [i64; 2],
    out: &mut Vec<u8>,
) {
    let source = |at: usize, by: i64, n: usize| (at as i64 - by).clamp(0, n as i64 - 1) as usize;
    for y in 0..height {
        let row = source(y, by[0], height) * width;
        for x in 0..width {
            let at = (row + source(x, by[1], width)) * 3;
            out.extend_from_slice(&picture[at..at + 3]);
        }
    }
}
