//! Vector observations of a batch: one contiguous `[num_envs, dims]` buffer per term, and the last
//! rows of ended episodes beside it where environments reset in the same step.

use embody_core::{ArrayView, Autoreset, DataView};

use super::slot::Slot;
use super::snapshot::{Reader, Writer};
use crate::SimError;
use crate::tasks::{ObservationTerm, Observe};

enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// The buffer of a term.
pub(super) struct VectorBuffer {
    pub key: String,
    shape: [usize; 2],
    observe: Observe,
    now: Values,
    last: Option<Values>,
}

impl VectorBuffer {
    pub fn new(term: ObservationTerm, num_envs: usize, autoreset: Autoreset) -> Self {
        let dims = term.spec.numel();
        let empty = || match term.observe {
            Observe::F32(_) => Values::F32(vec![0.0; num_envs * dims]),
            Observe::F64(_) => Values::F64(vec![0.0; num_envs * dims]),
        };
        let last = (autoreset == Autoreset::SameStep).then(empty);
        let (key, shape, now) = (term.key.to_owned(), [num_envs, dims], empty());
        Self { key, shape, now, last, observe: term.observe }
    }

    /// Takes the observation of the environments that are `wanted`.
    pub fn observe(&mut self, slots: &[Slot], wanted: impl Fn(&Slot) -> bool) {
        fill(&self.observe, &mut self.now, self.shape[1], slots, wanted);
    }

    /// The same, aside; where physics diverged, the last good observation.
    pub fn keep_final(&mut self, slots: &[Slot], wanted: impl Fn(&Slot) -> bool) {
        let dims = self.shape[1];
        let Some(last) = &mut self.last else { return };
        fill(&self.observe, last, dims, slots, &wanted);
        for (env, _) in slots.iter().enumerate().filter(|(_, s)| s.diverged && wanted(s)) {
            let row = env * dims..(env + 1) * dims;
            match (&self.now, &mut *last) {
                (Values::F32(now), Values::F32(last)) => {
                    last[row.clone()].copy_from_slice(&now[row])
                }
                (Values::F64(now), Values::F64(last)) => {
                    last[row.clone()].copy_from_slice(&now[row])
                }
                _ => unreachable!("both are made for the same term"),
            }
        }
    }

    pub fn save(&self, out: &mut Writer) {
        match &self.now {
            Values::F32(values) => out.floats(values),
            Values::F64(values) => out.doubles(values),
        }
    }

    pub fn load(&mut self, from: &mut Reader<'_>) -> Result<(), SimError> {
        match &mut self.now {
            Values::F32(values) => from.floats(values),
            Values::F64(values) => from.doubles(values),
        }
    }

    pub fn view(&self) -> ArrayView<'_> {
        view(&self.now, &self.shape)
    }

    pub fn final_view(&self) -> Option<ArrayView<'_>> {
        self.last.as_ref().map(|last| view(last, &self.shape))
    }
}

fn fill(
    observe: &Observe,
    values: &mut Values,
    dims: usize,
    slots: &[Slot],
    wanted: impl Fn(&Slot) -> bool,
) {
    let wanted = |slot: &&Slot| wanted(slot) && !slot.diverged;
    match (observe, values) {
        (Observe::F32(f), Values::F32(values)) => {
            let rows = slots.iter().zip(values.chunks_exact_mut(dims));
            rows.filter(|(s, _)| wanted(s)).for_each(|(slot, out)| f(&slot.moment(), out));
        }
        (Observe::F64(f), Values::F64(values)) => {
            let rows = slots.iter().zip(values.chunks_exact_mut(dims));
            rows.filter(|(s, _)| wanted(s)).for_each(|(slot, out)| f(&slot.moment(), out));
        }
        _ => unreachable!("a buffer is made for its term"),
    }
}

fn view<'a>(values: &'a Values, shape: &'a [usize; 2]) -> ArrayView<'a> {
    let data = match values {
        Values::F32(values) => DataView::F32(values),
        Values::F64(values) => DataView::F64(values),
    };
    ArrayView { shape, data }
}
