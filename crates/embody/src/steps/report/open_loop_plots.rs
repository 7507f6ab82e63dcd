//! Plots of predicted against recorded actions.

use embody_core::Result;
use embody_learn::{OpenLoopResult, Trajectory};
use embody_platform::StepInput;
use embody_platform::report::{
    BarRow, Bars, Block, Headline, KeyValue, KeyValues, LineStyle, Lines, Mark, Panel,
    Report as Page, Section, Series, SmallMultiples, Tone,
};

use super::sections;
use crate::steps::{measured, open_loop, outcome};

/// Most joints plotted per episode: those that move most.
const PANELS: usize = 12;
/// Predicted chunks drawn per panel; more would hide one another.
const CHUNKS: usize = 12;

/// Adds the section of an open-loop evaluation.
///
/// # Errors
/// When its record can't be read.
pub fn add(input: &StepInput, page: &mut Page) -> Result<()> {
    let done: open_loop::Outcome = outcome(&input.record)?;
    let times: open_loop::Measured = measured(&input.record)?;
    let (at, result) = (&done.at, &done.open_loop);
    let better = result.difference.interval.1 < 0.0;
    page.headline.push(Headline {
        label: format!("error {} s ahead", at.horizon_s),
        value: format!("{:.0} %", at.ratio * 100.0),
        detail: format!(
            "of that of holding the last action ({:.3} against {:.3} deviations), {} held-out episodes",
            at.error, at.hold_last_error, result.episodes
        ),
        tone: if better { Tone::Success } else { Tone::Neutral },
    });
    page.headline.extend(times.latency.as_ref().map(sections::inference_headline));
    let mut blocks = vec![by_horizon(result), by_joint(result)];
    blocks.extend(result.trajectories.iter().map(|t| trajectory(t, result)));
    let interval = |m: &embody_learn::MeanInterval| {
        format!("{:.4}, 95 % interval {:.4} to {:.4}", m.mean, m.interval.0, m.interval.1)
    };
    let mut rows = vec![
        KeyValue::new("policy", interval(&result.policy)),
        KeyValue::new("hold the last action", interval(&result.hold_last)),
        KeyValue::new("difference, paired by episode", interval(&result.difference)),
        KeyValue::new(
            "in the action's units",
            format!("{:.4} against {:.4}", result.policy_raw, result.hold_last_raw),
        ),
        KeyValue::new("frames", format!("{} of {} episodes", result.frames, result.episodes)),
    ];
    rows.extend(times.latency.as_ref().map(sections::inference_row));
    let caption =
        format!("Mean absolute error {} s ahead, in deviations of each joint", at.horizon_s);
    blocks.push(Block::KeyValues(KeyValues { caption, rows }));
    page.sections.push(Section {
        title: "Open-loop evaluation".into(),
        intro: "On frames of held-out episodes the policy sees what was recorded and predicts the next \
                actions; the baseline repeats the last one. Intervals are by bootstrap over episodes."
            .into(),
        blocks,
    });
    Ok(())
}

fn by_horizon(result: &OpenLoopResult) -> Block {
    let curve = |errors: &[f64]| -> Vec<[f64; 2]> {
        errors.iter().enumerate().map(|(k, e)| [k as f64 / result.fps, *e]).collect()
    };
    let at = result.horizon_step as f64 / result.fps;
    Block::Lines(Lines {
        title: "Error by how far ahead".into(),
        x_label: "horizon, s".into(),
        y_label: "mean absolute error, deviations".into(),
        series: vec![
            Series::new("policy", curve(&result.policy_by_step)),
            Series::new("hold the last action", curve(&result.hold_last_by_step))
                .style(LineStyle::Muted),
        ],
        marks: vec![Mark { x: at, label: format!("{at} s") }],
        log_y: false,
    })
}

fn by_joint(result: &OpenLoopResult) -> Block {
    let rows = result
        .by_joint
        .iter()
        .filter(|joint| !joint.still)
        .map(|joint| BarRow {
            label: joint.name.clone(),
            values: vec![joint.policy / joint.std, joint.hold_last / joint.std],
        })
        .collect();
    Block::Bars(Bars {
        title: "Error by joint, at that horizon".into(),
        x_label: "mean absolute error, deviations".into(),
        series: vec!["policy".into(), "hold the last action".into()],
        rows,
    })
}

fn trajectory(t: &Trajectory, result: &OpenLoopResult) -> Block {
    let mut joints: Vec<usize> = (0..t.recorded.len()).collect();
    joints.retain(|j| result.by_joint.get(*j).is_some_and(|joint| !joint.still));
    let spread = |j: &usize| {
        let (low, high) = t.recorded[*j]
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        f64::from(high - low) / result.by_joint[*j].std.max(1e-12)
    };
    joints.sort_by(|a, b| spread(b).total_cmp(&spread(a)));
    joints.truncate(PANELS);
    joints.sort_unstable();
    let every = t.chunks.len().div_ceil(CHUNKS).max(1);
    let panels = joints
        .iter()
        .map(|&j| {
            let seconds = |frame: usize| frame as f64 / result.fps;
            let recorded =
                t.frames.iter().zip(&t.recorded[j]).map(|(f, v)| [seconds(*f), f64::from(*v)]);
            let mut predicted = Vec::new();
            for chunk in t.chunks.iter().step_by(every) {
                let points = chunk.actions[j].iter().enumerate();
                predicted.extend(points.map(|(k, v)| [seconds(chunk.frame + k), f64::from(*v)]));
                // A gap, so that one chunk is not joined to the next.
                predicted.push([seconds(chunk.frame + chunk.actions[j].len()), f64::NAN]);
            }
            Panel {
                title: result.joints.get(j).cloned().unwrap_or_else(|| format!("dim {j}")),
                series: vec![
                    Series::new("recorded", recorded.collect()).style(LineStyle::Muted),
                    Series::new("predicted", predicted),
                ],
            }
        })
        .collect();
    Block::SmallMultiples(SmallMultiples {
        title: format!("Episode {}: recorded actions and predicted chunks", t.episode),
        x_label: "time, s".into(),
        y_label: "action".into(),
        panels,
    })
}
