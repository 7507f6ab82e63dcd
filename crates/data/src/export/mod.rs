//! Export: a dataset in forms that other programs open.

mod mcap;

pub use mcap::{ExportReport, export_mcap};
