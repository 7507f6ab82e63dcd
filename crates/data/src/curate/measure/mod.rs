//! The measures, one room each: pure functions from signals to numbers, no files.

pub(super) mod drift;
pub(super) mod gripper;
pub(super) mod idle;
pub(super) mod lag;
pub(super) mod motion;
pub(super) mod picture;
pub(super) mod repeat;
pub(super) mod similar;
