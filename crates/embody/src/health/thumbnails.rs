//! Small pictures of episodes, as PNG.

use embody_core::{Error, Result};
use embody_data::Dataset;
use embody_platform::report::Image;

/// Widest thumbnail, pixels.
const WIDTH: usize = 240;

/// A picture from the middle of an episode; `None` where its video can't be decoded.
///
/// # Errors
/// When PNG can't be encoded.
pub fn thumbnail(
    dataset: &Dataset,
    episode: usize,
    key: &str,
    frame: usize,
) -> Result<Option<Image>> {
    let Ok(pictures) = dataset.decode_frames(episode, key, &[frame]) else { return Ok(None) };
    let shape = dataset.info().features.get(key).map(|f| f.shape.clone()).unwrap_or_default();
    let (&[height, width, 3], Some(rgb)) = (&shape[..], pictures.first()) else { return Ok(None) };
    let step = width.div_ceil(WIDTH).max(1);
    let (small_w, small_h) = (width / step, height / step);
    let mut out = Vec::with_capacity(small_w * small_h * 3);
    for y in 0..small_h {
        for x in 0..small_w {
            for channel in 0..3 {
                let cell = (0..step * step).map(|i| {
                    let (dx, dy) = (i % step, i / step);
                    usize::from(rgb[((y * step + dy) * width + x * step + dx) * 3 + channel])
                });
                out.push((cell.sum::<usize>() / (step * step)) as u8);
            }
        }
    }
    let png = crate::commands::sim::png(&out, small_w, small_h)
        .map_err(|e: Error| e.context(format!("thumbnail of episode {episode}")))?;
    Ok(Some(Image { label: format!("episode {episode}"), png: png.into(), note: String::new() }))
}
