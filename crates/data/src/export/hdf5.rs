//! robomimic's layout: `data/demo_N/{actions,rewards,dones,obs/…}`, opened by h5py.
//!
//! Pictures are stored frame by frame and compressed with gzip. An episode's instruction goes into
//! `ep_meta` (as RoboCasa has it), splits into `mask/train` and `mask/valid`, the frame rate into
//! `env_args`. The pictures of one camera of one episode are in memory at a time, raw.

use std::path::Path;

use embody_core::{DType, FeatureSpec, Result, Task};
use hdf5_pure::{
    AttrValue, Datatype, EnumTypeBuilder, File, FileAccessProperties, FileCreateProperties,
    SyncPolicy, make_f32_type, make_f64_type, make_i8_type, make_i16_type, make_i32_type,
    make_i64_type, make_u8_type, make_u16_type, make_u32_type, make_u64_type,
};
use serde_json::json;

use super::rows::{Rows, aside, bytes_of, put, refuse, short_name};
use crate::error::DataError;

/// Staged bytes after which they are written out.
const COMMIT_BYTES: usize = 64 << 20;

pub(super) fn write(rows: &Rows<'_>, target: &Path, task: Task<'_>) -> Result<()> {
    let temporary = aside(target)?;
    let fail = |e: hdf5_pure::Error| failed(target, e);
    let access = FileAccessProperties::new().with_sync_policy(SyncPolicy::OnClose);
    let file = File::create_with_options(temporary.path(), FileCreateProperties::new(), access)
        .map_err(fail)?;
    header(rows, &file).map_err(fail)?;
    let mut staged = 0;
    for (number, &episode) in rows.episodes.iter().enumerate() {
        staged += write_episode(rows, &file, number, episode, target)?;
        if staged > COMMIT_BYTES {
            file.commit().map_err(fail)?;
            staged = 0;
        }
        task.advance("export", number as u64 + 1, "")?;
    }
    file.close().map_err(fail)?;
    put(temporary, target)
}

fn failed(target: &Path, error: hdf5_pure::Error) -> embody_core::Error {
    let why = error.to_string();
    let full = why.contains("No space left");
    DataError::WriteTable { path: target.to_owned(), why, full }.into()
}

/// Attributes of the whole and the masks.
fn header(rows: &Rows<'_>, file: &File) -> std::result::Result<(), hdf5_pure::Error> {
    let info = rows.dataset.info();
    let name = rows.dataset.tasks().first().map_or("", String::as_str);
    let mut kwargs = json!({"control_freq": info.fps});
    if let Some(robot) = &info.robot_type {
        kwargs["robots"] = json!([robot]);
    }
    let env = json!({"env_name": name, "type": 2, "env_kwargs": kwargs}).to_string();
    file.root().create_group_with("data", |data| {
        data.set_attr("total", AttrValue::I64(rows.frames() as i64));
        data.set_attr("env_args", AttrValue::String(env));
    })?;
    let mut masks: Vec<(&str, Vec<String>)> = Vec::new();
    for (split, _) in &info.splits {
        let name = if split == "train" { "train" } else { "valid" };
        let Some(range) = info.split(split) else { continue };
        let inside = rows.episodes.iter().enumerate().filter(|(_, e)| range.contains(*e));
        let demos: Vec<String> = inside.map(|(number, _)| format!("demo_{number}")).collect();
        match masks.iter_mut().find(|m| m.0 == name) {
            Some(mask) => mask.1.extend(demos),
            None => masks.push((name, demos)),
        }
    }
    masks.retain(|(_, demos)| !demos.is_empty());
    if !masks.is_empty() {
        let group = file.root().create_group("mask")?;
        for (name, demos) in masks {
            let names: Vec<&str> = demos.iter().map(String::as_str).collect();
            let mut problem = None;
            group.create_dataset(name, |d| problem = d.with_ascii_strings(&names).err())?;
            if let Some(problem) = problem {
                return Err(problem.into());
            }
        }
    }
    file.commit()
}

/// Stages an episode; gives its bytes.
fn write_episode(
    rows: &Rows<'_>,
    file: &File,
    number: usize,
    episode: usize,
    target: &Path,
) -> Result<usize> {
    let fail = |e: hdf5_pure::Error| failed(target, e);
    let about = &rows.dataset.episodes()[episode];
    let length = about.length as u64;
    let tasks = rows.tasks(episode)?;
    let one = tasks.windows(2).all(|w| w[0] == w[1]);
    let path = format!("data/demo_{number}");
    let group = file.root().create_group_with(&path, |demo| {
        demo.set_attr("num_samples", AttrValue::I64(length as i64));
        if let Some(text) = tasks.first().filter(|_| one) {
            let meta = json!({"lang": text}).to_string();
            demo.set_attr("ep_meta", AttrValue::String(meta));
        }
        if let Some(success) = about.outcome.success {
            demo.set_attr("success", AttrValue::I64(i64::from(success)));
        }
        if let Some(seed) = about.outcome.seed {
            demo.set_attr("seed", AttrValue::U64(seed));
        }
    });
    let group = group.map_err(fail)?;
    group.create_group("obs").map_err(fail)?;
    let mut written = 0;
    let table = rows.table(episode)?;
    for (key, spec) in rows.numeric() {
        let Some(data) = table.get(key) else { continue };
        let bytes = bytes_of(spec.dtype, data);
        written += bytes.len();
        let mut shape = vec![length];
        if spec.shape != [1] {
            shape.extend(spec.shape.iter().map(|&n| n as u64));
        }
        let (datatype, count) = (datatype(spec)?, shape.iter().product());
        let created = group.create_dataset(&name_of(key, false), |d| {
            d.with_raw_data(datatype, bytes, count).with_shape(&shape);
        });
        created.map_err(fail)?;
    }
    for key in rows.texts() {
        text(&group, &name_of(key, false), &rows.dataset.episode_text(episode, key)?)
            .map_err(fail)?;
    }
    if !one {
        text(&group, "language_instruction", &tasks).map_err(fail)?;
    }
    for (key, [height, width]) in rows.cameras() {
        let rgb = rows.pictures(episode, key, 0..about.length)?;
        written += rgb.len();
        let frame = [height as u64, width as u64, 3];
        let shape = [length, frame[0], frame[1], frame[2]];
        let created = group.create_dataset(&name_of(key, true), |d| {
            d.with_u8_data(&rgb)
                .with_shape(&shape)
                .with_chunks(&[1, frame[0], frame[1], frame[2]])
                .with_deflate(4);
        });
        created.map_err(fail)?;
    }
    Ok(written)
}

fn text<T: AsRef<str>>(
    group: &hdf5_pure::Group,
    name: &str,
    texts: &[T],
) -> std::result::Result<(), hdf5_pure::Error> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    group.create_dataset(name, |d| {
        d.with_vlen_strings(&texts).with_shape(&[texts.len() as u64]);
    })?;
    Ok(())
}

/// robomimic's name of a feature.
fn name_of(key: &str, picture: bool) -> String {
    match key {
        "action" => "actions".to_owned(),
        "next.reward" => "rewards".to_owned(),
        "next.done" => "dones".to_owned(),
        _ if picture => format!("obs/{}_image", short_name(key)),
        _ if key.starts_with("observation.") => format!("obs/{}", short_name(key)),
        _ => key.to_owned(),
    }
}

fn datatype(spec: &FeatureSpec) -> Result<Datatype> {
    Ok(match spec.dtype {
        DType::Float16 | DType::Float32 => make_f32_type(),
        DType::Float64 => make_f64_type(),
        DType::Int8 => make_i8_type(),
        DType::Int16 => make_i16_type(),
        DType::Int32 => make_i32_type(),
        DType::Int64 => make_i64_type(),
        DType::Uint8 => make_u8_type(),
        DType::Uint16 => make_u16_type(),
        DType::Uint32 => make_u32_type(),
        DType::Uint64 => make_u64_type(),
        // What h5py reads as bool.
        DType::Bool => EnumTypeBuilder::with_base(make_i8_type())
            .value("FALSE", 0)
            .value("TRUE", 1)
            .build()
            .map_err(|e| {
                embody_core::Error::new(format!("could not describe truth values: {e}"))
            })?,
        DType::String | DType::Language | DType::Image | DType::Video => {
            return Err(refuse("", "it is no array of numbers"));
        }
    })
}
