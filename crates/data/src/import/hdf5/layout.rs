//! The two ways in which HDF5 files hold demonstrations, and what their names become.
//!
//! robomimic (also LIBERO, RoboCasa): a file of many episodes `data/demo_N/{actions,obs/…}` with
//! attributes about the environment. ALOHA: a file per episode, `/action` and `/observations/…`.

use embody_core::EpisodeOutcome;
use hdf5_pure::{AttrValue, File, Group};
use serde_json::Value;

use crate::format::RESERVED;
use crate::import::arrays::Becomes;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Robomimic,
    Aloha,
}

impl Layout {
    /// The layout of an open file, or what it holds instead.
    pub fn of(file: &File) -> Result<Self, String> {
        let root = file.root();
        let mut groups = root.groups().map_err(|e| e.to_string())?;
        let mut tables = root.datasets().map_err(|e| e.to_string())?;
        if groups.iter().any(|g| g == "data") {
            return Ok(Self::Robomimic);
        }
        if tables.iter().any(|t| t == "action") {
            return Ok(Self::Aloha);
        }
        groups.append(&mut tables);
        groups.truncate(12);
        Err(format!(
            "neither robomimic's layout (data/demo_N) nor ALOHA's (action, observations): it holds {}",
            if groups.is_empty() { "nothing".to_owned() } else { groups.join(", ") }
        ))
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Robomimic => "HDF5 (robomimic)",
            Self::Aloha => "HDF5 (ALOHA)",
        }
    }

    /// The dataset whose rows are the frames.
    pub fn clock(self) -> &'static str {
        match self {
            Self::Robomimic => "actions",
            Self::Aloha => "action",
        }
    }

    /// What the dataset `name` of an episode becomes.
    pub fn becomes(self, name: &str, picture: bool) -> Becomes {
        let camera = |name: &str| {
            let name = name.strip_suffix("_image").unwrap_or(name);
            format!("observation.images.{}", name.replace('/', "."))
        };
        let key = match self {
            Self::Robomimic => match name {
                "actions" => "action".to_owned(),
                "language_instruction" => return Becomes::Task,
                "rewards" => "next.reward".to_owned(),
                "dones" => "next.done".to_owned(),
                _ if name.starts_with("next_obs/") => {
                    return Becomes::Nothing("it is `obs` of the next frame");
                }
                _ => match name.strip_prefix("obs/") {
                    Some(obs) if picture => camera(obs),
                    Some(obs) => format!("observation.{}", obs.replace('/', ".")),
                    None => name.replace('/', "."),
                },
            },
            Self::Aloha => match name {
                "observations/qpos" => "observation.state".to_owned(),
                "observations/qvel" => "observation.velocity".to_owned(),
                "observations/effort" => "observation.effort".to_owned(),
                "compress_len" => return Becomes::Nothing("it tells how JPEGs are padded"),
                "language_raw" => return Becomes::Nothing("it is the instruction"),
                _ => match name.strip_prefix("observations/") {
                    Some(obs) if picture => camera(obs.strip_prefix("images/").unwrap_or(obs)),
                    Some(obs) => format!("observation.{}", obs.replace('/', ".")),
                    None => name.replace('/', "."),
                },
            },
        };
        Becomes::Feature(if RESERVED.contains(&key.as_str()) { format!("hdf5.{key}") } else { key })
    }
}

/// What a file says about all of its episodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct About {
    pub fps: Option<f64>,
    pub robot: Option<String>,
    pub task: Option<String>,
}

impl About {
    /// From the attributes of an open file.
    pub fn of(layout: Layout, file: &File) -> Self {
        match layout {
            Layout::Robomimic => {
                file.group("data").map(|g| Self::robomimic(&g)).unwrap_or_default()
            }
            Layout::Aloha => Self::aloha(file),
        }
    }

    /// `env_args` (robomimic) and `problem_info` (LIBERO) are JSON.
    fn robomimic(data: &Group) -> Self {
        let env = json(data, "env_args");
        let problem = json(data, "problem_info");
        let kwargs = env.get("env_kwargs").cloned().unwrap_or_default();
        let robot = match kwargs.get("robots") {
            Some(Value::Array(many)) => many.first().and_then(Value::as_str),
            other => other.and_then(Value::as_str),
        };
        let language = match problem.get("language_instruction") {
            Some(Value::Array(words)) => words.first().and_then(Value::as_str),
            other => other.and_then(Value::as_str),
        };
        let name = env.get("env_name").and_then(Value::as_str);
        Self {
            fps: kwargs.get("control_freq").and_then(Value::as_f64).filter(|f| *f > 0.0),
            robot: robot.map(str::to_owned),
            task: language.or(name).map(|t| t.trim().trim_matches('"').to_owned()),
        }
    }

    fn aloha(file: &File) -> Self {
        let attrs = file.root().attrs().unwrap_or_default();
        let said = ["language_instruction", "instruction", "task"]
            .iter()
            .find_map(|name| attrs.get(*name).and_then(AttrValue::as_str).map(str::to_owned));
        let raw = || {
            let texts = file.dataset("language_raw").ok()?.read_string_rows(0, 1).ok()?;
            texts.into_iter().next()
        };
        Self { task: said.or_else(raw), ..Self::default() }
    }
}

/// What the attributes of a robomimic episode say: the instruction, which RoboCasa writes in
/// `ep_meta`, and `success` and `seed`, which the export of this program adds.
pub(super) fn about_episode(episode: &Group) -> (Option<String>, EpisodeOutcome) {
    let task = json(episode, "ep_meta").get("lang").and_then(Value::as_str).map(str::to_owned);
    let attrs = episode.attrs().unwrap_or_default();
    let number = |name: &str| attrs.get(name).and_then(AttrValue::as_i64);
    let outcome = EpisodeOutcome {
        success: number("success").map(|n| n != 0),
        seed: attrs.get("seed").and_then(AttrValue::as_u64),
        ..EpisodeOutcome::default()
    };
    (task, outcome)
}

/// An attribute that holds JSON; null where there is none.
fn json(group: &Group, name: &str) -> Value {
    let attrs = group.attrs().unwrap_or_default();
    let text = attrs.get(name).and_then(AttrValue::as_str);
    text.and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default()
}
