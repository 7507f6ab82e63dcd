//! Videos of simulated episodes, made by doing them again.
//!
//! The recorded actions are replayed from the recorded seed with a larger picture. That the episode
//! ends as it was recorded is checked, so each video is also evidence that the result reproduces.

use std::path::Path;

use embody_core::{DataView, Error, Result, VecEnv};
use embody_data::Dataset;
use embody_platform::report::{Bytes, Tone, Video};
use embody_sim::EnvOptions;

use crate::commands::sim::{png, video};
use crate::steps::rollouts::ACTION;

/// The camera made for people, where a task has it.
const FOR_PEOPLE: &str = "overview";

/// An episode to show.
pub struct Wanted {
    /// Index in the dataset of rollouts.
    pub episode: usize,
    /// How to call it.
    pub label: String,
}

/// Replays `wanted` episodes of `rollouts`, a dataset of `task`, `threads` at a time.
///
/// # Errors
/// When an episode can't be read, or ends otherwise than recorded.
pub fn replay(
    assets: &Path,
    task: &str,
    rollouts: &Path,
    wanted: &[Wanted],
    size: usize,
    threads: usize,
) -> Result<Vec<Video>> {
    let dataset = Dataset::open(rollouts)?;
    let one = |wanted: &Wanted| clip(assets, task, &dataset, wanted, size);
    let mut clips = Vec::with_capacity(wanted.len());
    for group in wanted.chunks(threads.max(1)) {
        let done: Vec<Result<Video>> = std::thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|w| scope.spawn(|| one(w))).collect();
            let died = |_| Err(Error::new("the thread that draws a video died"));
            running.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
        });
        for clip in done {
            clips.push(clip?);
        }
    }
    Ok(clips)
}

fn clip(
    assets: &Path,
    task: &str,
    dataset: &Dataset,
    Wanted { episode, label }: &Wanted,
    size: usize,
) -> Result<Video> {
    let options = EnvOptions { camera_size: None, threads: 1, ..EnvOptions::new(assets) };
    let mut env = embody_sim::make_sim(task, options)?;
    let names = env.camera_names();
    let camera = names.iter().find(|n| **n == FOR_PEOPLE).or(names.first()).copied();
    let camera = camera.unwrap_or_default();
    let dims = env.spec().action.numel();
    let place = format!("{}: episode {episode}", dataset.root().display());
    let outcome = dataset.episodes()[*episode].outcome.clone();
    let seed = outcome.seed.ok_or_else(|| Error::new(format!("{place} has no seed")))?;
    let table = dataset.episode_table(*episode)?;
    let Some(DataView::F32(actions)) = table.get(ACTION).map(|a| a.view().data) else {
        return Err(Error::new(format!("{place} has no actions of float32")));
    };
    env.reset(&[Some(seed)])?;
    let mut frames = vec![env.render(0, camera, (size, size))?.data];
    for action in actions.chunks_exact(dims) {
        env.step(action, &[true])?;
        frames.push(env.render(0, camera, (size, size))?.data);
    }
    let success = env.success()[0];
    let tone = match outcome.success {
        None => Tone::Neutral,
        Some(_) if success => Tone::Success,
        Some(_) => Tone::Failure,
    };
    if outcome.success.is_some_and(|recorded| recorded != success) {
        return Err(Error::new(format!("{place} (seed {seed}) ended otherwise when done again"))
            .with_hint("the task's behaviour changed since: run that step again with --fresh"));
    }
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mp4 = video(&slices, (size, size), env.spec().control_hz)?;
    let poster = png(&frames[frames.len() / 2], size, size)?;
    Ok(Video {
        label: label.clone(),
        tone,
        mp4: Bytes::from(mp4),
        poster: Some(Bytes::from(poster)),
        note: format!("seed {seed}, {} steps", frames.len() - 1),
    })
}
