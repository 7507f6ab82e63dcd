//! Charts as inline SVG. A plot stretches with the page while its type keeps its size: places are
//! per cent, curves live in a nested drawing of 1000 × 1000 units that is stretched with strokes of
//! constant width. Colours come from the style sheet, so that one drawing serves light and dark.

mod bars;
mod plot;
mod ticks;

pub(super) use bars::{bars, intervals};
pub(super) use plot::{lines, small_multiples};
