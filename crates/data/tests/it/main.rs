//! Integration tests of the dataset engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod arrays;
mod bad_input;
mod codecs;
mod common;
mod crash;
mod curate;
mod doctor;
mod edit;
mod export;
mod foreign;
mod image;
mod loading;
mod log_episodes;
mod logs;
mod logs_oracle;
mod oracle;
mod real;
mod record;
mod roundtrip;
mod rrd;
mod session;
mod tables_real;
mod text;
mod versions;
