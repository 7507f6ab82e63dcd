//! Integration tests of the robot crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod allocations;
mod lerobot;
