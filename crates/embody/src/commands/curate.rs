//! `embody data curate|process|annotate|measures`: the plan first, then its application.

use std::path::Path;

use embody_core::Result;
use embody_data::{Annotation, DriftOf, FACTS, Judgement, Look, Plan, ProcessOptions};
use serde_json::json;

use crate::App;
use crate::cli::Rules;
use crate::ui::print_data;

/// The flags as options of processing.
pub fn options(rules: &Rules) -> ProcessOptions {
    ProcessOptions {
        drop_failed: !rules.keep_failed,
        drop_broken_video: rules.drop_broken_video,
        max_idle_fraction: rules.max_idle_fraction,
        trim_idle: rules.trim_idle,
        min_frames: rules.min_frames,
        keep: rules.keep.clone(),
        weight: rules.weight.clone(),
        ..ProcessOptions::default()
    }
}

/// Prints what would be kept, dropped and trimmed.
///
/// # Errors
/// A dataset that can't be read, an expression that is wrong.
pub fn plan(app: &App<'_>, path: &Path, rules: &Rules, no_pictures: bool) -> Result<()> {
    let look = if no_pictures { Look::None } else { Look::Pictures };
    let plan = embody_data::plan(path, &options(rules), look, app.task)?;
    if app.json {
        print_data(&json!(plan).to_string());
        return Ok(());
    }
    print_data(&format!("{:>7} {:>7} {:>8}  {:<6} why", "episode", "frames", "quality", "does"));
    for (number, episode) in plan.episodes.iter().enumerate() {
        let all = episode.measures.frames;
        let cut = episode.frames.len() < all;
        let does = match episode.keep {
            false => "drop",
            true if cut => "trim",
            true => "keep",
        };
        let mut why = episode.reasons.clone();
        if episode.keep && cut {
            why.push(format!("frames {}..{}", episode.frames.start, episode.frames.end));
        }
        why.extend(episode.weight.map(|w| format!("weight {w:.3}")));
        let remarks = episode.remarks.iter().filter(|r| !why.contains(&r.text));
        let notes: Vec<String> = remarks
            .map(|r| match r.frame {
                Some(frame) => format!("({}, frame {frame})", r.text),
                None => format!("({})", r.text),
            })
            .collect();
        why.extend(notes);
        let quality = episode.measures.quality.score;
        print_data(
            format!("{number:>7} {all:>7} {quality:>8.2}  {does:<6} {}", why.join("; ")).trim_end(),
        );
    }
    summary(&plan);
    Ok(())
}

fn summary(plan: &Plan) {
    for d in &plan.drift {
        let what = match d.of {
            DriftOf::Start => "starts",
            DriftOf::Offset => "is measured, against its command,",
        };
        print_data(&format!(
            "drift: {} {what} {:+.1} % of its range further off at the end (z {:.1})",
            d.dimension,
            d.shift * 100.0,
            d.z
        ));
    }
    plan.notes.iter().for_each(|note| print_data(&format!("note: {note}")));
    let kept = plan.kept().count();
    let trimmed =
        plan.kept().filter(|&e| plan.episodes[e].frames.len() < plan.episodes[e].measures.frames);
    print_data(&format!(
        "{} episodes: {kept} kept ({} of them trimmed), {} dropped; {} frames kept; nothing written",
        plan.episodes.len(),
        trimmed.count(),
        plan.episodes.len() - kept,
        plan.frames()
    ));
}

/// Prints the names that expressions know.
///
/// # Errors
/// None.
pub fn measures(app: &App<'_>) -> Result<()> {
    if app.json {
        let all: Vec<_> =
            FACTS.iter().map(|f| json!({ "name": f.name, "about": f.about })).collect();
        print_data(&json!(all).to_string());
        return Ok(());
    }
    FACTS.iter().for_each(|f| print_data(&format!("{:<22} {}", f.name, f.about)));
    print_data(&format!(
        "{:<22} table column, as in column[\"action.x\"].max: min, max, mean, std, first, last, sum",
        "column[KEY]"
    ));
    Ok(())
}

/// Carries a plan out.
///
/// # Errors
/// As [`embody_data::process`].
pub fn process(
    app: &App<'_>,
    source: &Path,
    target: &Path,
    options: &ProcessOptions,
) -> Result<()> {
    let report = embody_data::process(source, target, options, app.task)?;
    if app.json {
        print_data(&json!(report).to_string());
        return Ok(());
    }
    for dropped in &report.dropped {
        let reasons = dropped.reasons.join("; ");
        print_data(&format!("left out episode {}: {reasons}", dropped.episode));
    }
    print_data(&format!(
        "{}: {} episodes, {} frames, version {}",
        target.display(),
        report.kept.len(),
        report.frames,
        report.version.short()
    ));
    Ok(())
}

/// Prints how likely each episode achieved its task, learned from those that were judged.
///
/// # Errors
/// As [`embody_data::judge`]; a table that can't be written.
pub fn judge(app: &App<'_>, path: &Path, out: Option<&Path>) -> Result<()> {
    let Judgement { episodes, check } = embody_data::judge(path, app.task)?;
    let (correct, all) = (check.correct() as u64, check.total() as u64);
    let interval = embody_learn::wilson(correct, all, embody_learn::Z95);
    if let Some(out) = out {
        let mut text = String::from("episode,score\n");
        for e in &episodes {
            text += &format!("{},{:.4}\n", e.episode, e.probability);
        }
        embody_core::write_atomic(out, text.as_bytes())?;
    }
    if app.json {
        print_data(
            &json!({ "episodes": episodes, "check": check, "accuracy": correct as f64 / all as f64,
                     "interval": interval })
            .to_string(),
        );
        return Ok(());
    }
    print_data(&format!("{:>7} {:>8} {:>8}  why", "episode", "judged", "success"));
    for e in &episodes {
        let judged = match e.label {
            Some(true) => "success",
            Some(false) => "failure",
            None => "-",
        };
        let (episode, percent) = (e.episode, e.probability * 100.0);
        let doubt = match e.label {
            Some(label) if label != (e.probability >= 0.5) => " (against its label: look at it)",
            _ => "",
        };
        let why = e.reasons.join("; ");
        print_data(&format!("{episode:>7} {judged:>8} {percent:>6.0} %  {why}{doubt}"));
    }
    print_data(&format!(
        "cross-validated over {all} judged episodes ({} folds): {correct} right, {:.0} %, 95 % \
         interval {:.0}-{:.0} %; always saying the more frequent would be right in {:.0} %",
        check.folds,
        100.0 * correct as f64 / all as f64,
        100.0 * interval.0,
        100.0 * interval.1,
        100.0 * check.majority()
    ));
    print_data(&format!(
        "of {} failures {} were found; {} successes were called failures",
        check.failures, check.failures_found, check.false_alarms
    ));
    if interval.0 <= check.majority() {
        print_data(
            "this is no better than guessing with certainty: do not act on it; judge more episodes",
        );
    }
    if let Some(out) = out {
        print_data(&format!(
            "{}: scores for embody data annotate --from; nothing was left out",
            out.display()
        ));
    }
    Ok(())
}

/// Writes a version with annotations.
///
/// # Errors
/// As [`embody_data::annotate`].
pub fn annotate(
    app: &App<'_>,
    source: &Path,
    target: &Path,
    annotations: &[Annotation],
) -> Result<()> {
    let lineage = embody_data::annotate(source, target, annotations, app.task)?;
    if app.json {
        print_data(&json!(lineage).to_string());
        return Ok(());
    }
    print_data(&format!(
        "{}: {} annotations set, version {}",
        target.display(),
        annotations.len(),
        lineage.version.short()
    ));
    Ok(())
}
