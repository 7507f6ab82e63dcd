//! One room per noun of the command line.

pub mod assets;
pub mod bench;
pub mod config;
pub mod curate;
pub mod data;
pub mod edits;
pub mod eval;
pub mod policy;
pub mod recipe;
pub mod reference;
pub mod robot;
pub mod run;
pub mod sim;
pub mod stores;
