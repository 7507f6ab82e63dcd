//! One room per noun of the command line.

pub mod config;
pub mod curate;
pub mod data;
pub mod policy;
pub mod recipe;
pub mod reference;
pub mod run;
pub mod sim;
