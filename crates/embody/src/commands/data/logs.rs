//! What `embody data` says about message logs.

use std::path::Path;

use embody_core::{Result, write_atomic};
use embody_data::{Finding, ImportReport};
use serde_json::json;

use crate::App;
use crate::ui::print_data;

/// Shows channels, and writes a proposed mapping where asked.
pub fn inspect(app: &App<'_>, path: &Path, mapping: Option<&Path>) -> Result<()> {
    let found = embody_data::inspect(path, app.task)?;
    if let Some(file) = mapping {
        write_atomic(file, found.propose_mapping().as_bytes())?;
    }
    if app.json {
        print_data(&json!(found).to_string());
        return Ok(());
    }
    for log in &found.logs {
        print_data(&format!(
            "{} ({}): {} messages, {:.1} s",
            log.path.display(),
            log.format,
            log.messages,
            log.duration_secs
        ));
    }
    let wide = found.channels.iter().map(|c| c.topic.len()).max().unwrap_or(0).min(48);
    for channel in &found.channels {
        let timing = &channel.timing;
        print_data(&format!(
            "{:<wide$}  {}  {} messages, {:.1} Hz, jitter {:.1} ms, longest gap {:.2} s{}",
            channel.topic,
            channel.type_name,
            timing.messages,
            timing.rate_hz,
            timing.jitter_ms,
            timing.longest_gap_secs,
            if timing.missed > 0 {
                format!(", about {} missing", timing.missed)
            } else {
                String::new()
            }
        ));
        if let Some(clock) = &channel.clock {
            print_data(&format!(
                "{:<wide$}  stamps {:.1} ms behind the log, drifting {:.1} ppm",
                "", clock.offset_ms, clock.drift_ppm
            ));
        }
        if let Some(problem) = &channel.problem {
            print_data(&format!("{:<wide$}  can't be decoded: {problem}", ""));
        }
    }
    findings(&found.findings);
    if let Some(file) = mapping {
        print_data(&format!("proposed mapping: {}", file.display()));
    }
    Ok(())
}

/// Says what an import made.
pub fn imported(app: &App<'_>, target: &Path, report: &ImportReport) {
    if app.json {
        print_data(&json!(report).to_string());
        return;
    }
    for stream in &report.streams {
        for used in &stream.used {
            print_data(&format!(
                "{}: {} frames of their own, {} held, {} interpolated, {} stale, from {} messages of {}",
                used.feature,
                used.fresh,
                used.held,
                used.interpolated,
                used.stale,
                stream.timing.messages,
                stream.topic
            ));
        }
    }
    findings(&report.notes);
    print_data(&format!(
        "{}: {} episodes, {} frames, version {}",
        target.display(),
        report.episodes,
        report.frames,
        report.version.short()
    ));
}

fn findings(findings: &[Finding]) {
    for finding in findings {
        print_data(&finding.to_string());
        if let Some(hint) = &finding.hint {
            print_data(&format!("  hint: {hint}"));
        }
    }
}
