//! A mapping proposed from what a log holds: joints and poses become the state, commands the
//! action, pictures the cameras. Meant to be read and edited, so it is written with comments.

use std::fmt::Write as _;

use crate::inspect::{ChannelReport, Inspection};
use crate::message::{Camera, short};

/// A part of a proposed feature.
struct Part<'a> {
    channel: &'a ChannelReport,
    fields: Vec<(&'static str, &'static str)>,
    names: Option<Vec<String>>,
    extra: &'static str,
}

/// The text of a mapping for the logs that were inspected.
pub(crate) fn propose(inspection: &Inspection) -> String {
    let channels: Vec<&ChannelReport> =
        inspection.channels.iter().filter(|c| c.messages > 0).collect();
    let cameras: Vec<&&ChannelReport> =
        channels.iter().filter(|c| Camera::shows(&c.type_name) && c.problem.is_none()).collect();
    let parts: Vec<Part<'_>> = channels.iter().filter_map(|c| part(c)).collect();
    let (actions, states): (Vec<Part<'_>>, Vec<Part<'_>>) =
        parts.into_iter().partition(|p| is_command(&p.channel.topic));
    let slowest = cameras
        .iter()
        .map(|c| c.rate_hz)
        .chain(states.iter().map(|p| p.channel.rate_hz))
        .filter(|r| *r > 0.0)
        .fold(f64::INFINITY, f64::min);
    let fps = if slowest.is_finite() { slowest.round().clamp(1.0, 60.0) } else { 10.0 };
    let mut text = String::from(
        "# Proposed by `embody data inspect`; edit it, then: embody data import LOG TARGET --map FILE\n",
    );
    let _ = writeln!(text, "fps = {fps}\n# robot = \"name\"\ntask = \"describe the task\"");
    text.push_str("clock = \"log\"  # or \"publish\", \"header\"\n\n");
    text.push_str("[episodes]\nby = \"file\"  # or \"gap\" with gap_secs, \"topic\" with topic, field, begin\n");
    feature(&mut text, "observation.state", "linear", &states);
    feature(&mut text, "action", "latest", &actions);
    let mut names: Vec<String> = Vec::new();
    for camera in cameras {
        let mut name = camera_name(&camera.topic);
        while names.contains(&name) {
            name.push_str("_again");
        }
        names.push(name.clone());
        let _ = write!(
            text,
            "\n[cameras.{}]\ntopic = {}\nmethod = \"nearest\"\nmax_age_secs = 0.5\n",
            quoted(&format!("observation.images.{name}")),
            quoted(&camera.topic)
        );
    }
    text
}

fn feature(text: &mut String, key: &str, method: &str, parts: &[Part<'_>]) {
    if parts.is_empty() {
        return;
    }
    let _ = write!(text, "\n[features.{}]\nmethod = {}\n", quoted(key), quoted(method));
    if method != "latest" {
        text.push_str("max_age_secs = 1.0\n");
    }
    text.push_str("from = [\n");
    for part in parts {
        for (field, extra) in &part.fields {
            let topic = &part.channel.topic;
            let _ = write!(text, "  {{ topic = {}, field = {}", quoted(topic), quoted(field));
            if let Some(names) = &part.names {
                let names: Vec<String> = names.iter().map(|n| quoted(n)).collect();
                let _ = write!(text, ", names = [{}]", names.join(", "));
            }
            let _ = writeln!(text, "{extra}{} }},", part.extra);
        }
    }
    text.push_str("]\n");
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Fields worth having of the common types.
fn part(channel: &ChannelReport) -> Option<Part<'_>> {
    const SLERP: &str = ", method = \"slerp\"";
    let mut names = None;
    let mut extra = "";
    let fields: Vec<(&str, &str)> = match short(&channel.type_name).as_str() {
        "sensor_msgs/JointState" => {
            names = channel.joint_names.clone();
            vec![("position", "")]
        }
        "nav_msgs/Odometry" => vec![
            ("pose.pose.position", ""),
            ("pose.pose.orientation", SLERP),
            ("twist.twist.linear", ""),
            ("twist.twist.angular", ""),
        ],
        "geometry_msgs/PoseStamped" => {
            vec![("pose.position", ""), ("pose.orientation", SLERP)]
        }
        "geometry_msgs/TransformStamped" => {
            vec![("transform.translation", ""), ("transform.rotation", SLERP)]
        }
        "geometry_msgs/Pose" => vec![("position", ""), ("orientation", SLERP)],
        "geometry_msgs/Twist" => vec![("linear", ""), ("angular", "")],
        "geometry_msgs/TwistStamped" => vec![("twist.linear", ""), ("twist.angular", "")],
        "geometry_msgs/WrenchStamped" => vec![("wrench.force", ""), ("wrench.torque", "")],
        "geometry_msgs/PointStamped" => vec![("point", "")],
        "geometry_msgs/Point" | "geometry_msgs/Vector3" => vec![("x", ""), ("y", ""), ("z", "")],
        "sensor_msgs/Imu" => {
            vec![("orientation", SLERP), ("angular_velocity", ""), ("linear_acceleration", "")]
        }
        "sensor_msgs/LaserScan" => {
            extra = ", method = \"nearest\", non_finite = 0.0";
            vec![("ranges", "")]
        }
        "sensor_msgs/Range" => vec![("range", "")],
        "sensor_msgs/Joy" => vec![("axes", "")],
        "std_msgs/Float32"
        | "std_msgs/Float64"
        | "std_msgs/Float32MultiArray"
        | "std_msgs/Float64MultiArray" => vec![("data", "")],
        "vehicle_attitude" => vec![("q", SLERP)],
        "vehicle_local_position" => {
            vec![("x", ""), ("y", ""), ("z", ""), ("vx", ""), ("vy", ""), ("vz", "")]
        }
        "actuator_outputs" => vec![("output", "")],
        _ => return None,
    };
    channel.problem.is_none().then_some(Part { channel, fields, names, extra })
}

/// Whether a topic's name says that it carries commands.
fn is_command(topic: &str) -> bool {
    let topic = topic.to_ascii_lowercase();
    ["cmd", "command", "action", "goal", "target", "setpoint", "leader", "actuator_outputs", "joy"]
        .iter()
        .any(|word| topic.contains(word))
}

/// `/camera/front/image_raw/compressed` is called `camera_front`.
fn camera_name(topic: &str) -> String {
    let noise =
        ["image", "image_raw", "image_color", "image_rect", "compressed", "color", "rgb", "video"];
    let parts: Vec<&str> =
        topic.split('/').filter(|p| !p.is_empty() && !noise.contains(p)).collect();
    let name = if parts.is_empty() { "camera".to_owned() } else { parts.join("_") };
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
