//! `embody sim`: look at simulated tasks.

use std::path::Path;

use embody_core::{Error, IoContext, Policy, Result, VecEnv, write_atomic};
use embody_data::{Dataset, parse_episodes};
use embody_sim::{EnvOptions, Replayed, RgbImage, Term};
use serde_json::json;

use crate::App;
use crate::cli::SimCommand;
use crate::steps::{actor, rollouts, vary};
use crate::ui::print_data;
use crate::view;

/// Runs the verb.
///
/// # Errors
/// An unknown task or camera, absent robot models, a file that can't be written.
pub fn run(app: &App<'_>, command: &SimCommand) -> Result<()> {
    match command {
        SimCommand::List => {
            for id in embody_sim::tasks() {
                let task = embody_sim::show(id)?;
                if app.json {
                    print_data(&json!(task).to_string());
                } else {
                    print_data(&format!("{id:<20} {}", task.summary));
                }
            }
            Ok(())
        }
        SimCommand::Show { task } => show(app, task),
        SimCommand::Replay { dataset, episodes } => replay(app, dataset, episodes.as_deref()),
        SimCommand::View { task, policy, camera, width, height, seed, port, no_open } => {
            let (env, actor) = stage(app, task, policy.as_deref())?;
            if let Some(camera) = camera.as_deref().filter(|c| !env.camera_names().contains(c)) {
                let error = Error::new(format!("task `{task}` has no camera `{camera}`"));
                return Err(error.with_hint(format!("it has {}", env.camera_names().join(", "))));
            }
            let who = match policy.as_deref() {
                Some(name) => name.to_owned(),
                None => actor.spec().kind.clone(),
            };
            let (size, camera) = ((*height, *width), camera.clone());
            let stage = view::Stage { env, actor, who, size, seed: *seed, camera };
            view::run_sim(app, stage, *port, !no_open)
        }
        SimCommand::Render { task, out, policy, camera, width, height, seed } => {
            let size = (*height, *width);
            match out.extension().and_then(|e| e.to_str()) {
                Some("png") => {
                    let (mut env, _) = stage(app, task, Some("zero"))?;
                    env.reset(&[Some(*seed)])?;
                    let picture = env.render(0, &camera_of(&env, camera.as_deref()), size)?;
                    write_atomic(out, &png(&picture.data, picture.width, picture.height)?)?;
                }
                Some("mp4") => {
                    let (mut env, mut actor) = stage(app, task, policy.as_deref())?;
                    let camera = camera_of(&env, camera.as_deref());
                    let frames = episode(app, &mut env, &mut *actor, &camera, size, *seed)?;
                    let frames: Vec<&[u8]> = frames.iter().map(|f| f.data.as_slice()).collect();
                    write_atomic(out, &video(&frames, size, env.spec().control_hz)?)?;
                }
                _ => {
                    Err(Error::new(format!("{} is neither a picture nor a video", out.display()))
                        .with_hint("end the name in .png or .mp4"))?
                }
            }
            let bytes = std::fs::metadata(out).at("read", out)?.len();
            if app.json {
                print_data(&json!({ "file": out, "bytes": bytes }).to_string());
            } else {
                print_data(&format!("{} ({:.1} kB)", out.display(), bytes as f64 / 1e3));
            }
            Ok(())
        }
    }
}

/// Runs recorded episodes again and compares.
fn replay(app: &App<'_>, path: &Path, episodes: Option<&str>) -> Result<()> {
    let dataset = Dataset::open(path)?;
    let total = dataset.episodes().len();
    let episodes = match episodes {
        Some(list) => parse_episodes(list, total)?,
        None => (0..total).collect(),
    };
    let demonstrations = vary::demonstrations(&dataset, &episodes)?;
    let options = EnvOptions {
        num_envs: rollouts::slots(demonstrations.len()),
        threads: app.config.threads,
        camera_size: None,
        ..EnvOptions::new(&app.config.assets)
    };
    let mut env = embody_sim::make_sim(&demonstrations[0].simulation.task, options)?;
    let all = embody_sim::replay(&mut env, &demonstrations, app.task)?;
    if app.json {
        print_data(&json!(all).to_string());
    } else {
        all.iter().for_each(|replayed| print_data(&verdict(replayed)));
    }
    let same = |r: &&Replayed| r.exact && r.success.0.is_none_or(|s| s == r.success.1);
    let exact = all.iter().filter(same).count();
    if exact < all.len() {
        return Err(Error::new(format!(
            "{} of {} episodes come out differently",
            all.len() - exact,
            all.len()
        ))
        .with_hint("bits are the same only with the model and the engine of the recording"));
    }
    if !app.json {
        print_data(&format!("all {exact} episodes come out the same, bit for bit"));
    }
    Ok(())
}

/// What came of an episode, in a line.
fn verdict(replayed: &Replayed) -> String {
    let motion = match (replayed.exact, &replayed.first_difference) {
        (true, _) => "the same to the bit".to_owned(),
        (false, Some((frame, key))) => format!(
            "differs from frame {frame} on ({key}, by up to {:.3e})",
            replayed.largest_difference
        ),
        (false, None) => "differs where nothing was recorded".to_owned(),
    };
    let word = |success: bool| if success { "success" } else { "failure" };
    let success = match replayed.success {
        (Some(then), now) if then != now => format!("{} was {}", word(now), word(then)),
        (_, now) => word(now).to_owned(),
    };
    let changed = match replayed.changed.is_empty() {
        true => String::new(),
        false => format!("; {}", replayed.changed.join(", ")),
    };
    let (episode, frames) = (replayed.episode, replayed.frames);
    format!("episode {episode}: {frames} frames, {motion}, {success}{changed}")
}

/// An RGB picture as a PNG file.
///
/// # Errors
/// When the sizes don't fit.
pub fn png(rgb: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let failed = |e: png::EncodingError| Error::new(format!("could not encode PNG: {e}"));
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(rgb).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Frames as an MP4 file for people: long groups of pictures, as for archives.
///
/// # Errors
/// When encoding fails.
pub fn video(frames: &[&[u8]], (height, width): (usize, usize), fps: f64) -> Result<Vec<u8>> {
    let settings = embody_data::VideoSettings { gop: 30, ..Default::default() };
    embody_data::encode_mp4(frames, width, height, fps, settings)
}

fn stage(
    app: &App<'_>,
    task: &str,
    who: Option<&str>,
) -> Result<(embody_sim::SimEnv, Box<dyn Policy>)> {
    let config = &app.config;
    actor::stage(&config.assets, config.threads, config.backend, task, who)
}

fn camera_of(env: &embody_sim::SimEnv, wanted: Option<&str>) -> String {
    let first = || env.camera_names().first().copied().unwrap_or_default();
    wanted.unwrap_or_else(first).to_owned()
}

fn episode(
    app: &App<'_>,
    env: &mut embody_sim::SimEnv,
    actor: &mut dyn Policy,
    camera: &str,
    size: (usize, usize),
    seed: u64,
) -> Result<Vec<RgbImage>> {
    env.reset(&[Some(seed)])?;
    actor.reset(0);
    let mut action = vec![0.0; env.spec().action.numel()];
    let mut frames = vec![env.render(0, camera, size)?];
    let total = env.spec().max_episode_steps as u64;
    app.task.begin("render", Some(total), "frames");
    while !env.terminated()[0] && !env.truncated()[0] {
        actor.act(&env.observations(), &[true], &mut action)?;
        env.step(&action, &[true])?;
        frames.push(env.render(0, camera, size)?);
        app.task.advance("render", frames.len() as u64, "")?;
    }
    app.task.end("render");
    Ok(frames)
}

fn show(app: &App<'_>, task: &str) -> Result<()> {
    let task = embody_sim::show(task)?;
    if app.json {
        print_data(&json!(task).to_string());
        return Ok(());
    }
    print_data(&format!("{} (version {}): {}", task.id, task.version, task.summary));
    print_data(&format!("instruction    {}", task.instruction));
    print_data(&format!(
        "control        {} Hz, {} physics steps each, at most {} steps",
        task.control_hz, task.substeps, task.max_episode_steps
    ));
    print_data(&format!(
        "success        {}",
        task.success.unwrap_or("not defined: judged by the return")
    ));
    print_data(&format!("termination    {}", task.termination));
    print_data("\naction");
    for dim in &task.action {
        print_data(&format!("  {:<30} {} to {} {}", dim.name, dim.low, dim.high, dim.unit));
    }
    let terms: [(&str, &[Term]); 4] = [
        ("observations", &task.observations),
        ("cameras", &task.cameras),
        ("rewards", &task.rewards),
        ("randomisation", &task.randomization),
    ];
    for (title, terms) in terms {
        print_data(&format!("\n{title}"));
        for term in terms {
            print_data(&format!("  {:<30} {}", term.name, term.meaning));
        }
    }
    Ok(())
}
