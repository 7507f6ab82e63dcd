//! Frozen image encoders: pixels in, a feature map out, nothing learned.
//!
//! Since nothing in it is learned, a picture's map is computed once, when the picture arrives, and no
//! update runs the encoder. [`ResNetEncoder`] is the backbone of the ACT family, with the weights of a
//! trained policy or random ones, cut off after any of its four layers.

use embody_core::Result;

mod resnet;

pub use resnet::ResNetEncoder;

/// A frozen encoder.
pub trait ImageEncoder: Send + Sync {
    /// What it is: equal exactly where equal pixels give equal maps.
    fn id(&self) -> String;
    /// Height and width of the pictures it takes.
    fn input(&self) -> (usize, usize);
    /// Height, width and channels of the maps it gives.
    fn map(&self) -> [usize; 3];
    /// Maps `[pictures, height, width, channels]` of RGB pictures `[pictures, height, width, 3]`. What
    /// becomes of a picture does not depend on those beside it.
    ///
    /// # Errors
    /// When the number of pixels is no multiple of a picture's.
    fn encode(&self, pixels: &[u8]) -> Result<Vec<f32>>;
}
