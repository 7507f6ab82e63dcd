//! Pictures in messages, as RGB: raw images, JPEG and PNG, and AV1 video.
//!
//! Sizes in a message are checked against its bytes before anything is unpacked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::rosmsg::short;
use super::tree::Value;
use super::{Decoder, Plan};
use crate::picture as stills;
use crate::video::StreamDecoder;

/// A frame: RGB `[height, width, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

/// Turns messages of a camera's channel into pictures.
pub(crate) struct Camera {
    plan: Plan,
    form: Form,
}

enum Form {
    /// Fields: height, width, encoding, step, is_bigendian, data.
    Raw,
    /// Fields: format, data.
    Compressed,
    /// Fields: format, data; every packet must be seen in order.
    Video(Option<Box<StreamDecoder>>),
}

impl Camera {
    /// Whether messages of this type are pictures.
    pub fn shows(type_name: &str) -> bool {
        form(type_name).is_some()
    }

    /// Whether every message of this type has to be decoded to have a later one.
    pub fn needs_all(&self) -> bool {
        matches!(self.form, Form::Video(_))
    }

    /// For messages of `type_name`, decoded by `decoder`.
    pub fn new(type_name: &str, decoder: &Decoder) -> Result<Self, String> {
        let form = form(type_name).ok_or_else(|| {
            format!(
                "messages of type {type_name} are no pictures; pictures are sensor_msgs Image and \
                 CompressedImage, foxglove RawImage, CompressedImage and CompressedVideo"
            )
        })?;
        let fields: &[&str] = match form {
            Form::Raw => &["height", "width", "encoding", "step", "data"],
            Form::Compressed | Form::Video(_) => &["format", "data"],
        };
        Ok(Self { plan: decoder.plan(fields)?, form })
    }

    /// The picture in a message. `None` where a video starts between key frames, or where `wanted`
    /// is false (video is then decoded only).
    pub fn picture(&mut self, message: &[u8], wanted: bool) -> Result<Option<Picture>, String> {
        let values = self.plan.extract(message)?;
        match (&mut self.form, values) {
            (Form::Raw, [height, width, encoding, step, data]) => {
                let data = bytes(data)?;
                raw(size(height)?, size(width)?, text(encoding)?, size(step)?, &data).map(Some)
            }
            (Form::Compressed, [_, data]) => still(&bytes(data)?).map(Some),
            (Form::Video(decoder), [format, data]) => {
                let (format, data) = (text(format)?, bytes(data)?);
                if !format.eq_ignore_ascii_case("av1") {
                    return Err(format!(
                        "video of format {format:?}; only av1 is decoded here: convert it with ffmpeg"
                    ));
                }
                let decoder = match decoder {
                    Some(decoder) => decoder,
                    None => decoder.insert(Box::new(StreamDecoder::new()?)),
                };
                Ok(decoder.packet(data.into_owned(), wanted)?.map(|(width, height, rgb)| Picture {
                    width,
                    height,
                    rgb,
                }))
            }
            _ => Err("the message is no picture".to_owned()),
        }
    }
}

fn form(type_name: &str) -> Option<Form> {
    Some(match short(type_name).as_str() {
        "sensor_msgs/Image" | "foxglove.RawImage" | "foxglove_msgs/RawImage" => Form::Raw,
        "sensor_msgs/CompressedImage"
        | "foxglove.CompressedImage"
        | "foxglove_msgs/CompressedImage" => Form::Compressed,
        "foxglove.CompressedVideo" | "foxglove_msgs/CompressedVideo" => Form::Video(None),
        _ => return None,
    })
}

fn size(value: &Value) -> Result<usize, String> {
    match value {
        Value::Ints(v) if v.len() == 1 => usize::try_from(v[0]).map_err(|e| e.to_string()),
        _ => Err("a size is no number".to_owned()),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    if let Value::Text(text) = value { Ok(text) } else { Err("a format is no text".to_owned()) }
}

/// Bytes as they are, or from base64 as JSON holds them.
fn bytes(value: &Value) -> Result<std::borrow::Cow<'_, [u8]>, String> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.into()),
        Value::Text(text) => {
            let bytes = STANDARD.decode(text).map_err(|e| format!("the picture's base64: {e}"))?;
            Ok(bytes.into())
        }
        _ => Err("the picture's data are no bytes".to_owned()),
    }
}

fn raw(
    height: usize,
    width: usize,
    encoding: &str,
    step: usize,
    data: &[u8],
) -> Result<Picture, String> {
    let (channels, order): (usize, [usize; 3]) = match encoding {
        "rgb8" | "8UC3" => (3, [0, 1, 2]),
        "bgr8" => (3, [2, 1, 0]),
        "rgba8" => (4, [0, 1, 2]),
        "bgra8" => (4, [2, 1, 0]),
        "mono8" | "8UC1" => (1, [0, 0, 0]),
        other => {
            return Err(format!(
                "pictures of encoding {other:?}; rgb8, bgr8, rgba8, bgra8 and mono8 can be read"
            ));
        }
    };
    let row = width * channels;
    let step = if step == 0 { row } else { step };
    let last =
        height.checked_sub(1).and_then(|h| h.checked_mul(step)).and_then(|n| n.checked_add(row));
    if step < row || last.is_none_or(|n| n > data.len()) || width == 0 {
        return Err(format!(
            "a picture of {width}x{height} {encoding} with rows of {step} bytes does not fit in {} \
             bytes",
            data.len()
        ));
    }
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in data.chunks(step).take(height) {
        for pixel in row[..width * channels].chunks_exact(channels) {
            rgb.extend(order.map(|c| pixel[c]));
        }
    }
    Ok(Picture { width, height, rgb })
}

/// A JPEG or PNG, told apart by its first bytes: the `format` field is often wrong.
fn still(data: &[u8]) -> Result<Picture, String> {
    if data.starts_with(b"\x89PNG") {
        stills::size_of(data)?;
        png_image(data)
    } else if data.starts_with(&[0xff, 0xd8]) {
        let (height, width) = stills::size_of(data)?;
        Ok(Picture { width, height, rgb: stills::decode(data, height, width)? })
    } else {
        let head = &data[..data.len().min(4)];
        Err(format!("a compressed picture that is neither JPEG nor PNG (it begins {head:02x?})"))
    }
}

fn png_image(data: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(data));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let fail = |e: png::DecodingError| format!("damaged PNG: {e}");
    let mut reader = decoder.read_info().map_err(fail)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let size = reader.output_buffer_size().ok_or("a PNG too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(fail)?;
    let (channels, order): (usize, [usize; 3]) = match frame.color_type {
        png::ColorType::Grayscale => (1, [0, 0, 0]),
        png::ColorType::GrayscaleAlpha => (2, [0, 0, 0]),
        png::ColorType::Rgb => (3, [0, 1, 2]),
        png::ColorType::Rgba => (4, [0, 1, 2]),
        png::ColorType::Indexed => return Err("a PNG with a palette that was not applied".into()),
    };
    let pixels = &pixels[..frame.buffer_size()];
    let rgb = pixels.chunks_exact(channels).flat_map(|p| order.map(|c| p[c])).collect();
    Ok(Picture { width, height, rgb })
}
