//! What the training loop asks of an algorithm: go on a little, show the policy, save, restore.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use embody_core::{Result, Team};
use indexmap::IndexMap;

use super::envs::Envs;
use super::policy::ActorModel;
use crate::error::Error;

/// A learner in the middle of its run.
pub(crate) trait Agent {
    /// Acts for a while, learns from it, says how that went; returns the environment steps taken.
    fn advance(&mut self, envs: &mut Envs<'_>, team: &Team, scalars: &mut Scalars) -> Result<u64>;
    /// The policy as it is now.
    fn actor(&self, envs: &Envs<'_>) -> ActorModel;
    /// Number of trained parameters.
    fn parameters(&self) -> usize;
    /// Everything that it needs to go on exactly.
    fn save(&self) -> AgentState;
    /// Goes on from [`Agent::save`].
    fn restore(&mut self, state: AgentState) -> Result<(), Error>;
    /// Writes the memory of transitions, which is large; nothing where there is none.
    fn write_memory(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
    /// Reads what [`Agent::write_memory`] wrote.
    fn read_memory(&mut self, _from: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// A learner's state: small values as JSON (f64 by their bits), and vectors by name.
pub(crate) struct AgentState {
    pub small: serde_json::Value,
    pub vectors: Vec<(String, Vec<f32>)>,
}

impl AgentState {
    /// Writes vector `name` over `to`.
    pub fn put(&self, name: &str, to: &mut [f32]) -> Result<(), Error> {
        let found = self.vectors.iter().find(|(n, v)| n == name && v.len() == to.len());
        let (_, values) = found.ok_or_else(bad_state)?;
        to.copy_from_slice(values);
        Ok(())
    }
}

/// The checkpoint does not fit the settings that its hash promised.
pub(crate) fn bad_state() -> Error {
    Error::Invalid {
        what: "the checkpoint is not of a learner with these settings".into(),
        hint: "remove the run's folder to begin anew".into(),
    }
}

/// Named numbers, averaged over what was added since they were last taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scalars(IndexMap<String, (f64, f64)>);

/// [`Scalars`] in a checkpoint, between two lines of metrics: sums and counts by their bits.
pub(crate) type SavedScalars = Vec<(String, u64, u64)>;

impl Scalars {
    /// Adds one observation of `name`.
    pub fn add(&mut self, name: &str, value: f64) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), (0.0, 0.0));
        }
        let (sum, count) = &mut self.0[name];
        *sum += value;
        *count += 1.0;
    }

    /// The means, and an empty start.
    pub fn take(&mut self) -> Vec<(String, f64)> {
        std::mem::take(self).0.into_iter().map(|(name, (sum, n))| (name, sum / n)).collect()
    }

    pub fn save(&self) -> SavedScalars {
        let bits =
            |(name, (sum, n)): (&String, &(f64, f64))| (name.clone(), sum.to_bits(), n.to_bits());
        self.0.iter().map(bits).collect()
    }

    pub fn restore(saved: SavedScalars) -> Self {
        let value = |(name, sum, n)| (name, (f64::from_bits(sum), f64::from_bits(n)));
        Self(saved.into_iter().map(value).collect())
    }
}

/// A lock that outlives a panic elsewhere: the team passes panics on by itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
