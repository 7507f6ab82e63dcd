//! `embody data report`: one page about a dataset's health.
//!
//! What is shown is measured by `embody_data`'s survey and laid out with the platform's report model;
//! this room only chooses and words. The page of the same dataset is the same, byte for byte.

mod sections;
mod thumbnails;

use std::path::Path;

use embody_core::Result;
use embody_data::{Dataset, Look, Plan, ValidateOptions};
use embody_platform::report::{
    Headline, KeyValue, Provenance, Report as Page, Tone, write as write_page,
};
use serde_json::json;

use crate::App;
use crate::cli::Rules;
use crate::commands::curate::options;
use crate::ui::print_data;

/// Writes the page.
///
/// # Errors
/// When the dataset or its pictures can't be read, an expression is wrong, or the file not written.
pub fn write(app: &App<'_>, path: &Path, out: &Path, rules: &Rules) -> Result<()> {
    let plan = embody_data::plan(path, &options(rules), Look::Pictures, app.task)?;
    let dataset = Dataset::open_any(path)?;
    let checked = embody_data::validate(path, &ValidateOptions::default(), app.task)?;
    let page = page(&dataset, &plan, &checked.findings, path)?;
    write_page(&page, out)?;
    let flagged = plan.episodes.iter().filter(|e| !e.remarks.is_empty()).count();
    if app.json {
        let answer = json!({
            "page": out, "episodes": plan.episodes.len(), "flagged": flagged,
            "findings": checked.findings.len(),
        });
        print_data(&answer.to_string());
    } else {
        print_data(&format!(
            "{}: {} episodes, {flagged} of them with remarks",
            out.display(),
            plan.episodes.len()
        ));
    }
    Ok(())
}

fn page(
    dataset: &Dataset,
    plan: &Plan,
    findings: &[embody_data::Finding],
    path: &Path,
) -> Result<Page> {
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let info = dataset.info();
    let sections = [
        Some(sections::holdings(dataset, plan)),
        Some(sections::quality(plan)),
        sections::outliers(dataset, plan)?,
        Some(sections::findings(findings, plan)),
        Some(sections::lengths(plan)),
        sections::joints(dataset),
        sections::timing(plan, dataset.fps()),
        sections::pictures(plan),
        sections::phases(plan),
        Some(sections::duplicates(plan)),
    ];
    Ok(Page {
        title: format!("Health of {name}"),
        subtitle: format!(
            "{}, {} episodes at {} frames per second",
            info.robot_type.as_deref().unwrap_or("robot not given"),
            plan.episodes.len(),
            info.fps
        ),
        summary: summary(plan, findings),
        headline: headline(plan, dataset),
        sections: sections.into_iter().flatten().collect(),
        provenance: provenance(dataset, plan, path)?,
    })
}

fn summary(plan: &Plan, findings: &[embody_data::Finding]) -> String {
    let errors = findings.iter().filter(|f| f.severity == embody_data::Severity::Error).count();
    let clean = plan.episodes.iter().filter(|e| e.remarks.is_empty()).count();
    let valid = match errors {
        0 => "The files agree with each other.".to_owned(),
        n => format!("The files contradict each other in {n} places: see the findings first."),
    };
    let drift = match plan.drift.len() {
        0 => String::new(),
        1 => " Calibration drifts in one place.".to_owned(),
        n => format!(" Calibration drifts in {n} places."),
    };
    format!(
        "{valid} {clean} of {} episodes are without remark; the rules in force would keep {}.{drift}",
        plan.episodes.len(),
        plan.kept().count()
    )
}

fn headline(plan: &Plan, dataset: &Dataset) -> Vec<Headline> {
    let mut scores: Vec<f64> = plan.episodes.iter().map(|e| e.measures.quality.score).collect();
    scores.sort_by(f64::total_cmp);
    let frames: usize = plan.episodes.iter().map(|e| e.measures.frames).sum();
    let seconds = frames as f64 / dataset.fps();
    let flagged = plan.episodes.iter().filter(|e| !e.remarks.is_empty()).count();
    let judged = plan.episodes.iter().filter_map(|e| e.measures.success);
    let (judged, achieved) = judged.fold((0, 0), |(n, yes), s| (n + 1, yes + usize::from(s)));
    let line = |label: &str, value: String, detail: String, tone| Headline {
        label: label.into(),
        value,
        detail,
        tone,
    };
    let tone = if flagged == 0 { Tone::Success } else { Tone::Warning };
    let mut out = vec![
        line(
            "episodes",
            plan.episodes.len().to_string(),
            format!("{frames} frames, {}", sections::duration(seconds)),
            Tone::Neutral,
        ),
        line(
            "quality, median",
            format!("{:.2}", scores.get(scores.len() / 2).copied().unwrap_or(0.0)),
            format!(
                "lowest {:.2}, highest {:.2}",
                scores.first().copied().unwrap_or(0.0),
                scores.last().copied().unwrap_or(0.0)
            ),
            Tone::Neutral,
        ),
        line("with remarks", flagged.to_string(), "to be looked at".into(), tone),
    ];
    if judged > 0 {
        out.push(line(
            "achieved the task",
            format!("{:.0} %", 100.0 * achieved as f64 / judged as f64),
            format!("{achieved} of {judged} judged"),
            Tone::Neutral,
        ));
    }
    out
}

fn provenance(dataset: &Dataset, plan: &Plan, path: &Path) -> Result<Provenance> {
    let mut entries =
        vec![KeyValue::code("program", format!("embody {}", crate::commands::run::code_version()))];
    entries.extend(plan.version.as_ref().map(|v| KeyValue::code("version", v.as_str())));
    let mut recipe = String::new();
    match dataset.lineage()? {
        Some(lineage) => {
            entries
                .extend(lineage.parent.as_ref().map(|p| KeyValue::code("made from", p.as_str())));
            entries.push(KeyValue::new("by", lineage.operation.clone()));
            entries.push(KeyValue::new("with embody", lineage.embody_version.clone()));
            recipe = crate::steps::to_toml(&json!({
                "operation": lineage.operation, "parameters": lineage.parameters,
            }))
            .unwrap_or_default();
        }
        None => entries.push(KeyValue::new("lineage", "not made by embody")),
    }
    let command = format!("embody data report {}", path.display());
    Ok(Provenance { command, recipe, entries })
}
