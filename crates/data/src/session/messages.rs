//! The messages of a session: ROS 2's where there are such, JSON for the rest; and the mapping that
//! makes frames of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use embody_core::TurnRecord;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde_json::{Value, json};

use super::{PictureCoding, SessionCamera, SessionSpec};
use crate::log::{Channel, Definition, Encoding};
use crate::message::{CdrWriter, common};
use crate::picture::encode_png;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Positions, velocities, loads.
    Joints,
    /// Goals that were sent.
    Commands,
    /// Goals as they were asked for.
    Requests,
    /// The rest of a turn.
    Control,
    /// The instruction.
    Episode,
    /// A person's judgement.
    Outcome,
    /// Messages that did not reach the log.
    Dropped,
    /// Pictures.
    Camera(usize),
}

const FIXED: [Place; 7] = [
    Place::Joints,
    Place::Commands,
    Place::Requests,
    Place::Control,
    Place::Episode,
    Place::Outcome,
    Place::Dropped,
];

impl Place {
    /// Its channel.
    pub fn channel(self) -> usize {
        match self {
            Self::Camera(number) => FIXED.len() + number,
            fixed => fixed.order(),
        }
    }

    fn order(self) -> usize {
        FIXED.iter().position(|p| *p == self).unwrap_or(0)
    }

    fn topic(self, spec: &SessionSpec) -> String {
        match self {
            Self::Joints => "/joint_states".to_owned(),
            Self::Commands => "/joint_commands".to_owned(),
            Self::Requests => "/joint_requests".to_owned(),
            Self::Control => "/control".to_owned(),
            Self::Episode => "/episode".to_owned(),
            Self::Outcome => "/outcome".to_owned(),
            Self::Dropped => DROPPED.to_owned(),
            Self::Camera(number) => format!("/cameras/{}", spec.cameras[number].name),
        }
    }
}

/// The topic of [`Place::Dropped`].
pub(super) const DROPPED: &str = "/dropped";

/// The channels of a session, in the order of [`Place::channel`].
pub(super) fn channels(spec: &SessionSpec) -> Vec<Channel> {
    let places = FIXED.into_iter().chain((0..spec.cameras.len()).map(Place::Camera));
    let ros = |place: Place, type_name: &str| Channel {
        topic: place.topic(spec),
        type_name: type_name.to_owned(),
        encoding: Encoding::Cdr,
        definition: common(type_name, false).map(|s| Definition {
            encoding: "ros2msg".to_owned(),
            data: s.to_ros2msg().into_bytes(),
        }),
        metadata: BTreeMap::new(),
    };
    let json = |place: Place| Channel {
        topic: place.topic(spec),
        type_name: String::new(),
        encoding: Encoding::Json,
        definition: None,
        metadata: BTreeMap::new(),
    };
    places
        .map(|place| match place {
            Place::Joints | Place::Commands | Place::Requests => {
                ros(place, "sensor_msgs/msg/JointState")
            }
            Place::Camera(_) => ros(place, "sensor_msgs/msg/CompressedImage"),
            Place::Control | Place::Episode | Place::Outcome | Place::Dropped => json(place),
        })
        .collect()
}

/// A message of JSON.
pub(super) fn note(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// What a turn says beside its joints.
pub(super) fn turn_note(turn: &TurnRecord<'_>) -> Vec<u8> {
    note(&json!({
        "turn": turn.number,
        "late_us": turn.late.as_secs_f64() * 1e6,
        "source": turn.source,
        "intervention": turn.intervention,
        "clips": turn.clips,
        "phase": turn.phase,
        "bus_errors": turn.bus_errors,
    }))
}

/// Numbers of a list, or none where the machine does not tell them.
fn told(values: &[f32]) -> Vec<f64> {
    match values.iter().any(|v| v.is_nan()) {
        true => Vec::new(),
        false => values.iter().map(|&v| f64::from(v)).collect(),
    }
}

/// A turn's reading as `sensor_msgs/JointState`.
pub(super) fn joints(names: &[String], stamp: i64, turn: &TurnRecord<'_>) -> Vec<u8> {
    CdrWriter::new()
        .time(stamp)
        .text("")
        .texts(names)
        .doubles(&told(turn.positions))
        .doubles(&told(turn.velocities))
        .doubles(&told(turn.loads))
        .finish()
}

/// Goals as `sensor_msgs/JointState`.
pub(super) fn joints_of(names: &[String], stamp: i64, goals: &[f32]) -> Vec<u8> {
    let head = CdrWriter::new().time(stamp).text("").texts(names);
    head.doubles(&told(goals)).doubles(&[]).doubles(&[]).finish()
}

/// A picture as `sensor_msgs/CompressedImage`.
pub(super) fn picture(
    camera: &SessionCamera,
    coding: PictureCoding,
    stamp: i64,
    rgb: &[u8],
) -> Result<Vec<u8>, String> {
    let (height, width) = (camera.height, camera.width);
    if rgb.len() != height * width * 3 {
        let (name, len) = (&camera.name, rgb.len());
        return Err(format!("camera {name:?} gave {len} bytes, not {width}x{height} RGB"));
    }
    let (format, data) = match coding {
        PictureCoding::Jpeg(quality) => ("jpeg", encode_jpeg(rgb, (height, width), quality)?),
        PictureCoding::Png => ("png", encode_png(rgb, height, width)?),
    };
    Ok(CdrWriter::new().time(stamp).text("").text(format).bytes(&data).finish())
}

/// Encodes RGB `[height, width, 3]` as JPEG with full colour.
pub(super) fn encode_jpeg(
    rgb: &[u8],
    (height, width): (usize, usize),
    quality: u8,
) -> Result<Vec<u8>, String> {
    let side = |n: usize| u16::try_from(n).map_err(|_| format!("{n} pixels are too many for JPEG"));
    let mut out = Vec::with_capacity(rgb.len() / 4);
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    let encoded = encoder.encode(rgb, side(width)?, side(height)?, ColorType::Rgb);
    encoded.map_err(|e| e.to_string())?;
    Ok(out)
}

/// The mapping that makes a dataset of the session.
pub(super) fn mapping(spec: &SessionSpec) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let names: Vec<String> = spec.joints.iter().map(|n| quoted(n)).collect();
    let names = names.join(", ");
    // Three turns, or three pictures: what is older was dropped on the way.
    let age = |hz: f64| (3e3 / hz).ceil() / 1e3;
    let turns = age(spec.control_hz);
    let mut text = format!(
        "fps = {:?}\nrobot = {}\n# When it was measured: the device's clock where it has one.\n\
         clock = \"publish\"\n\n[task_from]\ntopic = \"/episode\"\nfield = \"task\"\n\n\
         [outcome_from]\ntopic = \"/outcome\"\nfield = \"success\"\n",
        spec.fps,
        quoted(&spec.robot_type)
    );
    for (key, topic, method) in
        [("observation.state", "/joint_states", "linear"), ("action", "/joint_commands", "latest")]
    {
        let _ = write!(
            text,
            "\n[features.\"{key}\"]\nmethod = \"{method}\"\nmax_age_secs = {turns:?}\nfrom = [{{ \
             topic = \"{topic}\", field = \"position\", names = [{names}] }}]\n"
        );
    }
    let _ = write!(
        text,
        "\n[features.intervention]\ndtype = \"bool\"\nmax_age_secs = {turns:?}\nfrom = [{{ topic = \
         \"/control\", field = \"intervention\" }}]\n"
    );
    for camera in &spec.cameras {
        let _ = write!(
            text,
            "\n[cameras.\"observation.images.{0}\"]\ntopic = \"/cameras/{0}\"\nmethod = \
             \"nearest\"\nmax_age_secs = {1:?}\n",
            camera.name,
            age(camera.fps)
        );
    }
    text
}
