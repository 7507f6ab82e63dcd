//! Integration tests of the dataset engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod bad_input;
mod common;
mod crash;
mod curate;
mod doctor;
mod edit;
mod oracle;
mod real;
mod record;
mod roundtrip;
mod versions;
