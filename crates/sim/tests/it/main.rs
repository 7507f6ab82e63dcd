//! Integration tests of embody_sim.
#![allow(clippy::unwrap_used)]
