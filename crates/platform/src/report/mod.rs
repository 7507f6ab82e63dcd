//! The report: one HTML page that tells in a minute what a run did and how well it came out.
//!
//! A [`Report`] is plain data; [`render`] is a pure function of it, so the same report is the same
//! page, byte for byte. The page is self-contained: style, script, charts (inline SVG of our own),
//! images and videos (base64) are all inside, and its content security policy forbids every request
//! and every script but its own. Everything foreign passes through `html::esc`. It follows the
//! reader's light or dark scheme, reads on a phone, prints, and works without its script: that one
//! only adds the read-out under the pointer, the copy buttons and pausing videos out of sight.

mod blocks;
mod bytes;
mod chart;
mod html;
mod model;
mod page;
#[cfg(test)]
mod tests;

use std::path::Path;

use embody_core::Result;

pub use bytes::Bytes;
pub use model::*;

/// The whole page.
pub fn render(report: &Report) -> String {
    page::render(report)
}

/// Renders and writes the page to `path`; a reader sees the old page or the new, never a mixture.
///
/// # Errors
/// When the file can't be written; names it.
pub fn write(report: &Report, path: &Path) -> Result<()> {
    embody_core::write_atomic(path, render(report).as_bytes())
}
