//! What the page says of each kind of step.

use std::path::Path;

use embody_core::Result;
use embody_data::{Dataset, Severity as DataSeverity};
use embody_learn::{EvalResult, Latency, PairedComparison};
use embody_platform::report::{
    Block, Cell, Column, Finding, Findings, Headline, IntervalRow, Intervals, KeyValue, KeyValues,
    LineStyle, Lines, Note, Report as Page, Section, Series, Severity, Table, Tone, Video, Videos,
};
use embody_platform::{StepInput, StepRecord};

use super::clips::{self, Wanted};
use super::open_loop_plots;
use crate::steps::process::dataset_dir;
use crate::steps::{eval, import, measured, outcome, process, record, rl, train};

/// Label of the headline that matters most.
pub const SUCCESS: &str = "success rate";
/// The same where a task does not define success.
pub const RETURN: &str = "return, evaluated";

/// How long one decision takes, at the head of the page.
pub fn inference_headline(latency: &Latency) -> Headline {
    Headline {
        label: "inference".into(),
        value: short_time(latency.p50_ms),
        detail: format!("batch 1, median of {}; p99 {}", latency.n, short_time(latency.p99_ms)),
        tone: Tone::Neutral,
    }
}

/// How long one decision takes, among a step's values.
pub fn inference_row(latency: &Latency) -> KeyValue {
    let (p50, p99) = (short_time(latency.p50_ms), short_time(latency.p99_ms));
    KeyValue::new("inference, batch 1", format!("p50 {p50}, p99 {p99} (n = {})", latency.n))
}

/// Milliseconds; microseconds where those are few.
fn short_time(ms: f64) -> String {
    if ms < 0.1 { format!("{:.1} µs", ms * 1000.0) } else { format!("{ms:.1} ms") }
}

/// Makes sections.
pub struct Maker<'a> {
    pub assets: &'a Path,
    pub videos: usize,
    pub video_size: usize,
    pub threads: usize,
    pub all: &'a [&'a StepInput],
}

impl Maker<'_> {
    /// Adds what there is to say of one step.
    ///
    /// # Errors
    /// When its files can't be read.
    pub fn add(&self, input: &StepInput, page: &mut Page) -> Result<()> {
        match input.record.kind.as_str() {
            "record" => self.record(input, page),
            "import" => imported(input, page),
            "process" => processed(input, page),
            "train" => trained(input, page),
            "rl" => reinforced(input, page),
            "eval" => self.evaluated(input, page),
            "open-loop" => open_loop_plots::add(input, page),
            _ => Ok(()),
        }
    }

    fn record(&self, input: &StepInput, page: &mut Page) -> Result<()> {
        let done: record::Outcome = outcome(&input.record)?;
        let rollouts = dataset_dir(input);
        let wanted: Vec<Wanted> = (0..self.videos.min(done.episodes))
            .map(|episode| Wanted { episode, label: format!("demonstration {episode}") })
            .collect();
        let items = self.clips(&done.task, &rollouts, &wanted)?;
        let mut rows = vec![
            KeyValue::new("instruction", done.instruction.clone()),
            KeyValue::new("robot", done.robot_type.clone()),
            KeyValue::new("episodes", done.episodes.to_string()),
            KeyValue::new("achieved the task", format!("{} of {}", done.successes, done.episodes)),
            KeyValue::new("frames", format!("{} at {} Hz", done.frames, done.fps)),
        ];
        rows.extend(cameras(&done.cameras));
        let mut blocks = vec![Block::KeyValues(KeyValues { rows, ..Default::default() })];
        blocks.push(videos("Demonstrations, as recorded", items));
        page.sections.push(Section {
            title: "Demonstrations".into(),
            intro:
                "A scripted expert in simulation, recorded the way a robot records: encoded video, \
                    joint positions and actions, frame by frame."
                    .into(),
            blocks,
        });
        Ok(())
    }

    fn evaluated(&self, input: &StepInput, page: &mut Page) -> Result<()> {
        let done: eval::Outcome = outcome(&input.record)?;
        let times: eval::Measured = measured(&input.record)?;
        let e = &done.evaluation;
        let trained = done.policy_hash.is_some();
        page.headline.push(verdict(&done));
        let mut blocks = Vec::new();
        if let Some(decision) = done.decision {
            let tone = match decision.answer.yes {
                Some(true) => Tone::Success,
                Some(false) => Tone::Failure,
                None => Tone::Neutral,
            };
            blocks.push(Block::Note(Note { tone, text: decision.verdict() }));
        }
        page.headline.extend(times.latency.as_ref().map(inference_headline));
        // Beside one another: every evaluation of the run that has the same task.
        let others: Vec<(&StepRecord, eval::Outcome)> = self.evaluations(&done.task)?;
        if trained || others.len() == 1 {
            if e.success_defined {
                let rows =
                    others.iter().map(|(record, other)| interval_row(record, other)).collect();
                let title = format!("Success in {}, with 95 % intervals", done.task);
                blocks.push(Block::Intervals(Intervals { title, rows }));
            }
            for (record, other) in others.iter().filter(|(r, _)| r.name != input.record.name) {
                let paired = embody_learn::compare(e, &other.evaluation)?;
                let text = beside(e, &paired, &input.record.name, &record.name);
                blocks.push(Block::Note(Note { tone: Tone::Neutral, text }));
            }
        }
        let (chosen, caption) = worth_seeing(e, self.videos);
        let wanted: Vec<Wanted> = chosen
            .into_iter()
            .map(|episode| Wanted { episode, label: format!("{} {episode}", input.record.name) })
            .collect();
        let items = self.clips(&done.task, &dataset_dir(input), &wanted)?;
        blocks.push(videos(&caption, items));
        let mut rows = vec![
            KeyValue::new("episodes", format!("{}, one per seed, in simulation", e.trials)),
            KeyValue::new("task", format!("{} (version {})", done.task, done.env_version)),
            KeyValue::new("mean length", format!("{:.0} steps", e.mean_steps)),
            KeyValue::new("mean return", {
                let (low, high) = e.return_interval;
                format!("{:.1}, 95 % interval {low:.1} to {high:.1}", e.mean_reward)
            }),
        ];
        if let Some(hash) = &done.policy_hash {
            rows.push(KeyValue::code("policy", hash.as_str()));
        }
        rows.extend(times.latency.as_ref().map(inference_row));
        blocks.push(Block::KeyValues(KeyValues { rows, ..Default::default() }));
        page.sections.push(Section {
            title: format!("Evaluation: {}", input.record.name),
            intro: if trained {
                "The trained policy on seeds that it did not learn from.".into()
            } else {
                format!("`{}` on the same seeds.", done.policy)
            },
            blocks,
        });
        Ok(())
    }

    fn clips(&self, task: &str, rollouts: &Path, wanted: &[Wanted]) -> Result<Vec<Video>> {
        clips::replay(self.assets, task, rollouts, wanted, self.video_size, self.threads)
    }

    fn evaluations(&self, task: &str) -> Result<Vec<(&StepRecord, eval::Outcome)>> {
        let mut found = Vec::new();
        for input in self.all.iter().filter(|i| i.record.kind == "eval") {
            let other: eval::Outcome = outcome(&input.record)?;
            if other.task == task {
                found.push((&input.record, other));
            }
        }
        Ok(found)
    }
}

fn imported(input: &StepInput, page: &mut Page) -> Result<()> {
    let done: import::Outcome = outcome(&input.record)?;
    let mut rows = vec![
        KeyValue::new("robot", done.robot_type.clone().unwrap_or_else(|| "not given".into())),
        KeyValue::new("source", done.format.clone()),
        KeyValue::new("episodes", done.episodes.to_string()),
        KeyValue::new(
            "frames",
            format!("{} at {} Hz, {:.0} s", done.frames, done.fps, done.frames as f64 / done.fps),
        ),
        KeyValue::new("action", format!("{} dimensions", done.action_dim)),
    ];
    rows.extend(done.tasks.iter().map(|task| KeyValue::new("instruction", task.clone())));
    rows.extend(cameras(&done.cameras));
    rows.push(KeyValue::code("version", done.version.as_str()));
    let mut blocks = vec![Block::KeyValues(KeyValues { rows, ..Default::default() })];
    let dataset = Dataset::open(&dataset_dir(input))?;
    let mut items = Vec::new();
    if let Some((key, _)) = done.cameras.first() {
        items.push(Video {
            label: "episode 0".into(),
            mp4: dataset.episode_video_mp4(0, key)?.into(),
            note: key.clone(),
            ..Video::default()
        });
    }
    blocks.push(videos("The recording, as it is", items));
    page.sections.push(Section {
        title: "The recording".into(),
        intro: "Imported into the native layout; videos were copied, not re-encoded.".into(),
        blocks,
    });
    Ok(())
}

fn processed(input: &StepInput, page: &mut Page) -> Result<()> {
    let done: process::Outcome = outcome(&input.record)?;
    page.headline.push(Headline {
        label: "episodes kept".into(),
        value: done.kept.len().to_string(),
        detail: format!(
            "{} dropped; {} to learn from, {} held out",
            done.dropped.len(),
            done.train.episodes,
            done.held_out.episodes
        ),
        tone: Tone::Neutral,
    });
    let severity = |severity| match severity {
        DataSeverity::Error => Severity::Error,
        DataSeverity::Warning => Severity::Warning,
        DataSeverity::Note => Severity::Note,
    };
    let place = |f: &embody_data::Finding| {
        let parts = [
            f.file.clone(),
            f.episode.map(|e| format!("episode {e}")),
            f.frame.map(|f| format!("frame {f}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let rows = done
        .findings
        .iter()
        .map(|f| Finding {
            severity: severity(f.severity),
            code: f.code.clone(),
            what: f.message.clone(),
            place: place(f),
            hint: f.hint.clone().unwrap_or_default(),
        })
        .collect();
    let mut blocks =
        vec![Block::Findings(Findings { caption: "What the check found".into(), rows })];
    let split = |name: &str, s: &process::SplitCount| -> Vec<Cell> {
        vec![name.into(), s.episodes.into(), s.frames.into()]
    };
    blocks.push(Block::Table(Table {
        caption: "Split by episode".into(),
        columns: vec![Column::new("split"), Column::new("episodes"), Column::new("frames")],
        rows: vec![split("train", &done.train), split("held out", &done.held_out)],
    }));
    if done.dropped.is_empty() {
        blocks.push(Block::text("No episode was dropped."));
    } else {
        blocks.push(Block::Table(Table {
            caption: "Episodes dropped, each with its reasons".into(),
            columns: vec![Column::new("episode"), Column::new("reasons")],
            rows: done
                .dropped
                .iter()
                .map(|d| vec![d.episode.into(), d.reasons.join("; ").into()])
                .collect(),
        }));
    }
    page.sections.push(Section {
        title: "Data".into(),
        intro:
            "Timestamps, ranges, counts and video were checked against the table; then episodes \
                were filtered and split."
                .into(),
        blocks,
    });
    Ok(())
}

fn reinforced(input: &StepInput, page: &mut Page) -> Result<()> {
    let done: rl::Outcome = outcome(&input.record)?;
    if let Some(best) = done.best {
        page.headline.push(Headline {
            label: "return while learning".into(),
            value: format!("{:.0}", best.mean_return),
            detail: format!(
                "{} on {}, without noise, deviation {:.0} over {} episodes",
                done.preset, done.task, best.deviation, best.episodes
            ),
            tone: Tone::Neutral,
        });
    }
    let metrics = embody_learn::read_rl_metrics(&input.dir.join(embody_learn::METRICS_FILE))?;
    let curve = |name: &str| -> Vec<[f64; 2]> {
        let point = |m: &serde_json::Map<String, serde_json::Value>| {
            Some([m.get("step")?.as_f64()?, m.get(name)?.as_f64()?])
        };
        metrics.iter().filter_map(point).collect()
    };
    let lines = |title: &str, series: &[(&str, &str)]| {
        let series: Vec<Series> = series
            .iter()
            .map(|(label, name)| (*label, curve(name)))
            .filter(|(_, points)| !points.is_empty())
            .map(|(label, points)| Series::new(label, points))
            .collect();
        Block::Lines(Lines {
            title: title.into(),
            x_label: "environment step".into(),
            y_label: title.to_lowercase(),
            series,
            ..Default::default()
        })
    };
    page.sections.push(Section {
        title: format!("Learning {}", done.task),
        intro: done.summary(),
        blocks: vec![
            lines("Return", &[("training", "episode_return"), ("without noise", "eval_return")]),
            lines(
                "Steps of an episode",
                &[("training", "episode_length"), ("without noise", "eval_length")],
            ),
        ],
    });
    Ok(())
}

fn trained(input: &StepInput, page: &mut Page) -> Result<()> {
    let done: train::Outcome = outcome(&input.record)?;
    page.headline.push(Headline {
        label: "training".into(),
        value: duration(input.record.seconds),
        detail: format!("{} steps, {} threads", done.steps, input.record.threads),
        tone: Tone::Neutral,
    });
    let metrics = embody_learn::read_metrics(&input.dir.join(embody_learn::METRICS_FILE))?;
    let loss = metrics.iter().map(|m| [m.step as f64, m.loss]).collect();
    let held_out: Vec<[f64; 2]> =
        metrics.iter().filter_map(|m| Some([m.step as f64, m.held_out_loss?])).collect();
    let rate = metrics.iter().map(|m| [m.step as f64, m.lr]).collect();
    let mut series = vec![Series::new("training batches", loss)];
    if !held_out.is_empty() {
        series.push(Series::new("held-out episodes", held_out));
    }
    let x_label = "optimiser step".to_owned();
    let blocks = vec![
        Block::Lines(Lines {
            title: "Loss (L1, in normalised units)".into(),
            x_label: x_label.clone(),
            y_label: "loss".into(),
            series,
            log_y: true,
            ..Default::default()
        }),
        Block::Lines(Lines {
            title: "Learning rate".into(),
            x_label,
            y_label: "learning rate".into(),
            series: vec![Series::new("learning rate", rate).style(LineStyle::Muted)],
            ..Default::default()
        }),
        Block::KeyValues(KeyValues {
            rows: vec![
                KeyValue::new("policy", done.policy.clone()),
                KeyValue::new("weights", format!("{:.2} million", done.parameters as f64 / 1e6)),
                KeyValue::new(
                    "frames",
                    format!("{} to learn from, {} held out", done.frames, done.held_out_frames),
                ),
            ],
            ..Default::default()
        }),
    ];
    page.sections.push(Section {
        title: "Training".into(),
        intro:
            "From pictures and joint positions to the next actions; the policy's weights are an \
                average over the last steps."
                .into(),
        blocks,
    });
    Ok(())
}

pub fn videos(caption: &str, items: Vec<Video>) -> Block {
    if items.is_empty() {
        return Block::text("There is nothing to show.");
    }
    Block::Videos(Videos { caption: caption.into(), items })
}

/// The number that an evaluation is about: the success rate, or the return where there is none.
fn verdict(done: &eval::Outcome) -> Headline {
    let e = &done.evaluation;
    let trained = done.policy_hash.is_some();
    let tone = if trained { Tone::Success } else { Tone::Neutral };
    let name = if e.success_defined { SUCCESS } else { RETURN };
    let label = if trained { name.to_owned() } else { format!("{} (baseline)", done.policy) };
    let (value, detail) = if e.success_defined {
        let (low, high) = (percent(e.interval.0), percent(e.interval.1));
        let of = format!("{} of {} unseen seeds", e.successes, e.trials);
        (percent(e.success_rate), format!("{of}, 95 % interval {low}–{high}"))
    } else {
        let (low, high) = e.return_interval;
        let of = format!("mean of {} unseen seeds", e.trials);
        (format!("{:.0}", e.mean_reward), format!("{of}, 95 % interval {low:.0} to {high:.0}"))
    };
    Headline { label, value, detail, tone }
}

/// How an evaluation compares with another one on the same seeds.
fn beside(e: &EvalResult, paired: &PairedComparison, name: &str, other: &str) -> String {
    if e.success_defined {
        format!(
            "On the {} seeds that both ran, `{name}` succeeds where `{other}` fails {} times and the \
             other way round {} times: exact McNemar test, p = {}.",
            paired.pairs,
            paired.only_first,
            paired.only_second,
            p_value(paired.p_value)
        )
    } else {
        let (low, high) = paired.return_interval;
        format!(
            "On the {} seeds that both ran, the return of `{name}` is {:+.1} beside that of `{other}`, \
             95 % interval {low:+.1} to {high:+.1}.",
            paired.pairs, paired.return_difference
        )
    }
}

/// At most `most` episodes of either kind, successes before failures, or the best and the worst; and
/// what they are.
fn worth_seeing(e: &EvalResult, most: usize) -> (Vec<usize>, String) {
    let again = "done again from seed and recorded actions, with the same ending";
    let mut chosen = Vec::new();
    if e.success_defined {
        for success in [true, false] {
            let of_kind = |i: &usize| e.episodes[*i].success == success;
            chosen.extend((0..e.episodes.len()).filter(of_kind).take(most));
        }
        let (successes, failures) = (e.successes, e.trials - e.successes);
        return (chosen, format!("{successes} succeeded, {failures} failed; {again}"));
    }
    let mut order: Vec<usize> = (0..e.episodes.len()).collect();
    let of = |i: usize| e.episodes[i].total_reward;
    order.sort_by(|a, b| of(*b).total_cmp(&of(*a)));
    let worst = order.split_off(order.len().min(most));
    let from = worst.len().saturating_sub(most);
    chosen.extend(order.into_iter().chain(worst[from..].iter().copied()));
    let best = chosen.first().map_or(f64::NAN, |i| of(*i));
    let least = chosen.last().map_or(f64::NAN, |i| of(*i));
    (chosen, format!("From the best return, {best:.1}, to the worst, {least:.1}; {again}"))
}

fn interval_row(record: &StepRecord, done: &eval::Outcome) -> IntervalRow {
    let e = &done.evaluation;
    let trained = done.policy_hash.is_some();
    IntervalRow {
        label: record.name.clone(),
        value: e.success_rate,
        low: e.interval.0,
        high: e.interval.1,
        detail: format!("{} of {}", e.successes, e.trials),
        tone: if trained { Tone::Success } else { Tone::Neutral },
    }
}

fn cameras(cameras: &[(String, Vec<usize>)]) -> Vec<KeyValue> {
    let size = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    cameras
        .iter()
        .map(|(key, shape)| KeyValue::new("camera", format!("{key}, {}", size(shape))))
        .collect()
}

/// `93 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}
