//! Experience on its way from those that act to the one that learns, and weights on their way back.
//!
//! An actor's life is a chain of moments, numbered from 1 up without gaps. A moment carries one
//! observation, so that nothing is sent or stored twice: the observation before a step is that of
//! the moment before. Taking in the same moment again changes nothing, which is what lets either
//! side be killed and go on. A process that acts over a network begins a new life whenever it
//! starts; what an earlier one left unsent is sent under the earlier one's name.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;

/// What an actor saw, and how it came there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moment {
    /// Number in the actor's life, from 1 up without gaps.
    pub seq: u64,
    /// The step that led here; `None` where an episode begins.
    pub step: Option<StepTaken>,
    /// What is known of the robot and its surroundings, `[state_dim]`, raw.
    pub state: Vec<f32>,
    /// Pictures, RGB `[height, width, 3]`, camera by camera in the order that was agreed on.
    pub pictures: Vec<Vec<u8>>,
}

/// One control step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepTaken {
    /// The action that was executed, `[action_dim]` in the task's units: after any intervention and
    /// any limit.
    pub action: Vec<f32>,
    /// The task's reward.
    pub reward: f32,
    /// What the gripper's command cost beside it; 0 or below.
    pub penalty: f32,
    /// Whether the task's rule ended the episode.
    pub terminated: bool,
    /// Whether time or a person ended it: what would have followed still has a value.
    pub truncated: bool,
    /// Whether a person, or one who stands in for them, chose the action.
    pub intervened: bool,
    /// Version of the weights that the policy acted with; 0 for none.
    pub weights: u64,
}

/// Where an actor's moments go: memory, or the way to the learner's machine.
pub trait TransitionSink: Send {
    /// Takes the moment whose number follows the last one's. When this returns, it is safe from the
    /// end of this process.
    ///
    /// # Errors
    /// When it can't be kept.
    fn push(&mut self, moment: &Moment) -> Result<()>;
    /// The last number that was pushed in this life; 0 for none.
    fn last(&self) -> u64;
}

/// Where an actor finds the learner's weights.
pub trait WeightSource: Send {
    /// The newest weights, a safetensors file, if they are newer than version `than`. Never waits.
    ///
    /// # Errors
    /// When what arrived is damaged, or the learner refuses this actor for good.
    fn newer(&mut self, than: u64) -> Result<Option<(u64, Arc<Vec<u8>>)>>;
    /// Waits, `patience` at most, while the learner asks actors to wait for its updates; returns
    /// whether the next step may be taken.
    fn may_act(&mut self, _patience: Duration) -> bool {
        true
    }
}

/// Where a learner takes moments in.
pub trait Intake: Send {
    /// Takes in a moment of `actor`: `true` if it is new, `false` if it was known.
    ///
    /// # Errors
    /// When it does not fit what was agreed on, leaves out numbers, or can't be written.
    fn accept(&mut self, actor: u64, moment: &Moment) -> Result<bool>;
    /// The last number taken in of `actor`; 0 for none.
    fn last(&self, actor: u64) -> u64;
    /// Makes everything taken in so far safe from a loss of power.
    ///
    /// # Errors
    /// When it can't be written.
    fn sync(&mut self) -> Result<()>;
}
