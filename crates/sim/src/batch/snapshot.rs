//! The state of a batch as bytes, from which another one goes on to the bit.
//!
//! An environment is put back by beginning its episode again, which draws looks and whatever else
//! follows from the seed, and then setting MuJoCo's integration state and what the task remembers.
//! Vector observations are kept as they were: some show quantities of the physics step before.
//! All numbers are words of 64 bits, little endian.

use embody_core::{Result, VecEnv as _};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::slot::{Outcome, Slot};
use super::{EpisodeStart, SimEnv, engine};
use crate::SimError;

const FORMAT: &str = "embody simulation state 1";
/// `mjSTATE_INTEGRATION`: all that physics goes on from.
const STATE: u32 = mujoco_rs::prelude::MjtState::mjSTATE_INTEGRATION as u32;

/// Takes words.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.word(u64::from(flag));
    }

    fn option(&mut self, word: Option<u64>) {
        self.flag(word.is_some());
        word.into_iter().for_each(|word| self.word(word));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn doubles(&mut self, values: &[f64]) {
        self.word(values.len() as u64);
        values.iter().for_each(|x| self.word(x.to_bits()));
    }

    pub fn floats(&mut self, values: &[f32]) {
        self.word(values.len() as u64);
        values.iter().for_each(|x| self.word(u64::from(x.to_bits())));
    }
}

/// Gives them back, or says that there are too few or others.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn word(&mut self) -> Result<u64, SimError> {
        let (word, rest) = self.0.split_first_chunk().ok_or_else(|| bad("it ends too early"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*word))
    }

    fn flag(&mut self) -> Result<bool, SimError> {
        Ok(self.word()? != 0)
    }

    fn option(&mut self) -> Result<Option<u64>, SimError> {
        if self.flag()? { self.word().map(Some) } else { Ok(None) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], SimError> {
        let length = usize::try_from(self.word()?).unwrap_or(usize::MAX);
        let bytes = self.0.get(..length).ok_or_else(|| bad("it ends too early"))?;
        self.0 = &self.0[length..];
        Ok(bytes)
    }

    fn same_length(&mut self, expected: usize) -> Result<(), SimError> {
        let length = self.word()?;
        if length == expected as u64 { Ok(()) } else { Err(bad("it is of another model")) }
    }

    pub fn doubles(&mut self, to: &mut [f64]) -> Result<(), SimError> {
        self.same_length(to.len())?;
        for x in to {
            *x = f64::from_bits(self.word()?);
        }
        Ok(())
    }

    pub fn floats(&mut self, to: &mut [f32]) -> Result<(), SimError> {
        self.same_length(to.len())?;
        for x in to {
            *x = f32::from_bits(self.word()? as u32);
        }
        Ok(())
    }
}

fn bad(why: &'static str) -> SimError {
    SimError::Snapshot { why: why.to_owned() }
}

impl SimEnv {
    fn head(&self) -> String {
        let (spec, model) = (self.spec(), self.loaded.task.model_hash());
        format!("{FORMAT}; {} {}; {model}; {}", spec.id, spec.version, engine())
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(self.head().as_bytes());
        out.word(self.slots.len() as u64);
        for slot in &self.slots {
            save_slot(slot, &mut out);
        }
        self.vectors.iter().for_each(|buffer| buffer.save(&mut out));
        out.0
    }

    pub(super) fn load(&mut self, bytes: &[u8]) -> Result<(), SimError> {
        if self.options.trace {
            return Err(bad("the hash of a trajectory can't be gone on with: `trace` is on"));
        }
        let mut from = Reader(bytes);
        let head = String::from_utf8_lossy(from.bytes()?).into_owned();
        if head != self.head() {
            let why = format!("it is of \"{head}\", and this is \"{}\"", self.head());
            return Err(SimError::Snapshot { why });
        }
        if from.word()? != self.slots.len() as u64 {
            return Err(bad("it has another number of environments"));
        }
        for env in 0..self.slots.len() {
            self.load_slot(env, &mut from)?;
        }
        for buffer in &mut self.vectors {
            buffer.load(&mut from)?;
        }
        if !from.0.is_empty() {
            return Err(bad("something follows its end"));
        }
        self.report();
        self.draw(super::Pictures::Current, |_| true);
        self.slots.iter_mut().for_each(|slot| slot.changed = false);
        Ok(())
    }

    fn load_slot(&mut self, env: usize, from: &mut Reader<'_>) -> Result<(), SimError> {
        let (task, scene) = (&*self.loaded.task, &*self.scene);
        let slot = &mut self.slots[env];
        let (seed, automatic) = (from.word()?, from.word()?);
        match from.option()? {
            Some(origin) => {
                slot.memory.difficulty = from.option()?.map(|d| d as usize);
                slot.reset(task, scene, self.options.randomize_look, origin);
            }
            None => {
                let start = load_start(slot, from)?;
                slot.begin(task, &start, scene, task.drawn())
                    .map_err(|e| SimError::Snapshot { why: e.to_string() })?;
            }
        }
        (slot.seed, slot.automatic) = (seed, automatic);
        let mut state = slot.data.state(STATE);
        from.doubles(&mut state)?;
        slot.data.set_state(&state, STATE).map_err(|_| bad("it is of another model"))?;
        let memory = &mut slot.memory;
        memory.steps = usize::try_from(from.word()?).unwrap_or(usize::MAX);
        memory.difficulty = from.option()?.map(|d| d as usize);
        from.doubles(&mut memory.target)?;
        from.floats(&mut memory.action)?;
        from.floats(&mut memory.previous)?;
        from.doubles(&mut memory.values)?;
        let rng: [u8; 32] = from.bytes()?.try_into().map_err(|_| bad("its generator is cut"))?;
        memory.rng = ChaCha8Rng::from_seed(rng);
        let (low, high) = (from.word()?, from.word()?);
        memory.rng.set_word_pos(u128::from(low) | u128::from(high) << 64);
        // One more than the difficulty, for 0 says that there is none.
        memory.difficulty = usize::try_from(from.word()?).unwrap_or(0).checked_sub(1);
        task.restored(&mut slot.data, memory)?;
        slot.held = from.word()? as u32;
        slot.diverged = from.flag()?;
        slot.divergences = from.word()?;
        slot.outcome = Outcome {
            reward: f64::from_bits(from.word()?),
            terminated: from.flag()?,
            truncated: from.flag()?,
            success: from.flag()?,
        };
        from.doubles(&mut slot.rewards)
    }
}

fn save_slot(slot: &Slot, out: &mut Writer) {
    out.word(slot.seed);
    out.word(slot.automatic);
    out.option(slot.origin.map(|(seed, _)| seed));
    match slot.origin {
        Some((_, difficulty)) => out.option(difficulty.map(|d| d as u64)),
        None => {
            for values in [&slot.start.qpos, &slot.start.qvel, &slot.start.ctrl] {
                out.doubles(values);
            }
            let appearance = serde_json::to_vec(&slot.start.appearance).unwrap_or_default();
            out.bytes(&appearance);
        }
    }
    out.doubles(&slot.data.state(STATE));
    let memory = &slot.memory;
    out.word(memory.steps as u64);
    out.option(memory.difficulty.map(|d| d as u64));
    out.doubles(&memory.target);
    out.floats(&memory.action);
    out.floats(&memory.previous);
    out.doubles(&memory.values);
    out.bytes(&memory.rng.get_seed());
    let position = memory.rng.get_word_pos();
    out.word(position as u64);
    out.word((position >> 64) as u64);
    out.word(memory.difficulty.map_or(0, |difficulty| difficulty as u64 + 1));
    out.word(u64::from(slot.held));
    out.flag(slot.diverged);
    out.word(slot.divergences);
    let Outcome { reward, terminated, truncated, success } = slot.outcome;
    out.word(reward.to_bits());
    [terminated, truncated, success].into_iter().for_each(|flag| out.flag(flag));
    out.doubles(&slot.rewards);
}

fn load_start(slot: &Slot, from: &mut Reader<'_>) -> Result<EpisodeStart, SimError> {
    let zeros = |n: usize| vec![0.0; n];
    let data = &slot.data;
    let mut start = EpisodeStart {
        qpos: zeros(data.qpos().len()),
        qvel: zeros(data.qvel().len()),
        ctrl: zeros(data.ctrl().len()),
        appearance: None,
    };
    for values in [&mut start.qpos, &mut start.qvel, &mut start.ctrl] {
        from.doubles(values)?;
    }
    start.appearance = serde_json::from_slice(from.bytes()?)
        .map_err(|e| SimError::Snapshot { why: format!("its appearance: {e}") })?;
    Ok(start)
}
