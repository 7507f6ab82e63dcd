//! Still pictures as recordings hold them: JPEG, PNG and JPEG XL, to RGB of 8 bits and back to PNG.
//!
//! The kind is told by the first bytes, never by a name. The size is read from the header before
//! anything is allocated, and a picture that ends early is an error: decoders that fill the rest
//! with grey would lose data in silence.

use std::io::Cursor;

use jxl_oxide::{AllocTracker, JxlImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Pixels a side beyond which a header is not believed; AV1 takes no more either.
const MAX_SIDE: usize = 16_384;
/// Pixels beyond which one is not believed.
const MAX_PIXELS: usize = 1 << 27;
/// Memory that JPEG XL may take for its sections before a size is known, and beside the pixels.
const JXL_MEMORY: usize = 64 << 20;

/// How a picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jpeg,
    Png,
    JpegXl,
}

fn kind(bytes: &[u8]) -> Result<Kind, String> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Ok(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Ok(Kind::Png),
        [0xff, 0x0a, ..] | [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..] => Ok(Kind::JpegXl),
        [] => Err("the picture is empty".to_owned()),
        _ => Err("the picture is neither JPEG, PNG nor JPEG XL".to_owned()),
    }
}

impl Kind {
    /// Pixels that a byte can hold at the most: JPEG spends at least a bit on each of its blocks of 64
    /// (and we allow it half of that), deflate packs at most 1032 bytes into one, of a bit per pixel.
    /// JPEG XL can hold a plane of one colour in nothing.
    fn pixels_per_byte(self) -> usize {
        match self {
            Self::Jpeg => 1024,
            Self::Png => 8 * 1032,
            Self::JpegXl => MAX_PIXELS,
        }
    }
}

/// Height and width of an encoded picture, from its header; one that the bytes can't hold is
/// refused.
pub(crate) fn size_of(bytes: &[u8]) -> Result<(usize, usize), String> {
    let kind = kind(bytes)?;
    let (height, width) = match kind {
        Kind::Jpeg => {
            let (width, height) = jpeg(bytes)?.dimensions().unwrap_or((0, 0));
            (height, width)
        }
        Kind::Png => {
            let reader = png_reader(bytes)?;
            (reader.info().height as usize, reader.info().width as usize)
        }
        Kind::JpegXl => {
            let image = jxl(bytes, 0)?;
            (image.height() as usize, image.width() as usize)
        }
    };
    if height == 0 || width == 0 || height > MAX_SIDE || width > MAX_SIDE {
        return Err(format!("the picture is said to have {width}x{height} pixels"));
    }
    let most = bytes.len().saturating_mul(kind.pixels_per_byte()).min(MAX_PIXELS);
    if height * width > most {
        let len = bytes.len();
        return Err(format!("the picture is said to have {width}x{height} pixels in {len} bytes"));
    }
    Ok((height, width))
}

/// Decodes a picture to RGB `[height, width, 3]`, 0-255; grey ones are spread over the channels.
pub(crate) fn decode(bytes: &[u8], height: usize, width: usize) -> Result<Vec<u8>, String> {
    let size = size_of(bytes)?;
    if size != (height, width) {
        return Err(format!("the picture has {}x{} pixels, not {width}x{height}", size.1, size.0));
    }
    let rgb = match kind(bytes)? {
        Kind::Jpeg => jpeg(bytes)?.decode().map_err(|e| format!("damaged JPEG: {e}"))?,
        Kind::Png => decode_png(bytes)?,
        Kind::JpegXl => decode_jxl(bytes, height * width)?,
    };
    if rgb.len() != height * width * 3 {
        return Err(format!("the picture decodes to {} bytes, not RGB", rgb.len()));
    }
    Ok(rgb)
}

fn jpeg(bytes: &[u8]) -> Result<JpegDecoder<ZCursor<&[u8]>>, String> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| format!("damaged JPEG: {e}"))?;
    Ok(decoder)
}

fn png_reader(bytes: &[u8]) -> Result<png::Reader<Cursor<&[u8]>>, String> {
    let limits = png::Limits { bytes: MAX_SIDE * MAX_SIDE };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.read_info().map_err(|e| format!("damaged PNG: {e}"))
}

fn decode_png(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = png_reader(bytes)?;
    let (color, depth) = reader.output_color_type();
    if depth != png::BitDepth::Eight {
        return Err(format!("the PNG has {depth:?} bits a channel; pictures are kept in 8"));
    }
    let size = reader.output_buffer_size().ok_or("the PNG is too large")?;
    let mut data = vec![0; size];
    reader.next_frame(&mut data).map_err(|e| format!("damaged PNG: {e}"))?;
    Ok(match color {
        png::ColorType::Rgb => data,
        png::ColorType::Grayscale => data.iter().flat_map(|&v| [v, v, v]).collect(),
        png::ColorType::Rgba if data.chunks_exact(4).all(|p| p[3] == 255) => {
            data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect()
        }
        other => return Err(format!("the PNG has colours of type {other:?}; RGB or grey is kept")),
    })
}

/// Reads a picture of so many pixels, 0 where that is not known yet. Memory is bounded by both: the
/// table of sections claims sizes of its own, and they are reserved before their bytes come.
fn jxl(bytes: &[u8], pixels: usize) -> Result<JxlImage, String> {
    // Planes of 32 bits: three channels, twice while they are filtered, and what lies beside.
    let limit = JXL_MEMORY + 2 * bytes.len() + pixels.saturating_mul(32);
    JxlImage::builder()
        .alloc_tracker(AllocTracker::with_limit(limit.min(1 << 30)))
        .pool(jxl_oxide::JxlThreadPool::none())
        .read(Cursor::new(bytes))
        .map_err(|e| format!("damaged JPEG XL: {e}"))
}

fn decode_jxl(bytes: &[u8], pixels: usize) -> Result<Vec<u8>, String> {
    let image = jxl(bytes, pixels)?;
    let render = image.render_frame(0).map_err(|e| format!("damaged JPEG XL: {e}"))?;
    let mut stream = render.stream_no_alpha();
    let (pixels, channels) =
        (stream.width() as usize * stream.height() as usize, stream.channels() as usize);
    let mut data = vec![0u8; pixels * channels];
    let written = stream.write_to_buffer(&mut data);
    match channels {
        3 if written == data.len() => Ok(data),
        1 if written == data.len() => Ok(data.iter().flat_map(|&v| [v, v, v]).collect()),
        _ => Err(format!("the JPEG XL has {channels} channels; RGB or grey is kept")),
    }
}

/// Encodes RGB `[height, width, 3]` as PNG.
pub(crate) fn encode_png(rgb: &[u8], height: usize, width: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(rgb.len() / 2);
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(rgb).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(out)
}

#[cfg(test)]
mod tests;
