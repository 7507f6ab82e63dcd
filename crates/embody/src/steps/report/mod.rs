//! `kind = "report"`: one self-contained page about the steps it is told to show.

mod clips;
mod open_loop_plots;
mod sections;

use std::path::PathBuf;

use embody_core::Result;
use embody_platform::report::{Block, Section, write};
use embody_platform::report::{KeyValue, Provenance, Report as Page, Step as StepRow, Steps};
use embody_platform::{Step, StepContext, StepInput, StepKind, StepOutput};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{output, resolved, to_toml};

/// File name of the page in the step's output.
pub const PAGE: &str = "report.html";

/// Writes the page.
pub struct Report {
    /// Folder with robot models, for rendering episodes again.
    pub assets: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The steps to show, as `@NAME`.
    show: Vec<String>,
    /// Videos of each kind (success, failure) per evaluation.
    #[serde(default = "default_videos")]
    videos: usize,
    /// Side of the videos, pixels.
    #[serde(default = "default_video_size")]
    video_size: usize,
}

fn default_videos() -> usize {
    2
}

fn default_video_size() -> usize {
    256
}

impl StepKind for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn about(&self) -> &'static str {
        "write one self-contained page about other steps: show, videos, video_size"
    }

    fn version(&self) -> u32 {
        1
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        resolved(&params(step)?)
    }

    fn is_volatile(&self, relative: &str) -> bool {
        // It shows how long things took.
        relative == PAGE
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let params = params(ctx.step)?;
        let shown: Vec<&StepInput> = params
            .show
            .iter()
            .map(|reference| ctx.input("show", reference))
            .collect::<Result<_>>()?;
        ctx.task.begin("report", Some(shown.len() as u64), "sections");
        let mut page = Page {
            title: ctx.recipe.title.clone(),
            subtitle: format!("recipe {}, seed {}", ctx.recipe.name, ctx.recipe.seed),
            ..Page::default()
        };
        page.sections.push(what_was_done(&shown));
        let maker = sections::Maker {
            assets: &self.assets,
            videos: params.videos,
            video_size: params.video_size,
            threads: ctx.threads,
            all: &shown,
        };
        for (i, input) in shown.iter().enumerate() {
            maker.add(input, &mut page)?;
            ctx.task.advance("report", i as u64 + 1, &input.record.name)?;
        }
        // Results first, then what they rest on.
        page.headline.sort_by_key(|h| match h.label.as_str() {
            sections::SUCCESS | sections::RETURN => 0,
            label if label.starts_with("error") => 0,
            label if label.ends_with("(baseline)") => 1,
            _ => 2,
        });
        page.provenance = provenance(ctx, &shown)?;
        write(&page, &ctx.dir.join(PAGE))?;
        ctx.task.end("report");
        output(&json!({ "shows": params.show }), &json!({}))
    }
}

fn what_was_done(shown: &[&StepInput]) -> Section {
    let rows = shown
        .iter()
        .map(|input| StepRow {
            name: input.record.name.clone(),
            what: super::summary_of(&input.record),
            seconds: input.record.seconds,
            hash: input.record.output.short().to_owned(),
            cached: false,
        })
        .collect();
    Section {
        title: "What was done".into(),
        intro: "Each step's output is named by the hash of everything that went into it.".into(),
        blocks: vec![Block::Steps(Steps { rows })],
    }
}

fn provenance(ctx: &StepContext<'_>, shown: &[&StepInput]) -> Result<Provenance> {
    let recipe = ctx.recipe;
    let mut steps = Map::new();
    for input in shown {
        let record = &input.record;
        let mut params = json!({ "kind": record.kind });
        if let (Value::Object(all), Value::Object(more)) = (&mut params, &record.params) {
            all.extend(more.clone());
            // Left out of the hash, because its content is what counts; needed to do it again.
            if let Some(path) = record.external.keys().next() {
                all.insert("path".into(), json!(path));
            }
        }
        steps.insert(record.name.clone(), params);
    }
    let mut own = json!({ "kind": ctx.step.kind });
    if let (Value::Object(all), Value::Object(more)) = (&mut own, resolved(&params(ctx.step)?)?) {
        all.extend(more);
    }
    steps.insert(ctx.step.name.clone(), own);
    let whole = json!({
        "name": recipe.name, "title": recipe.title, "seed": recipe.seed, "steps": steps,
    });
    let mut entries = vec![
        KeyValue::new("program", format!("embody {}", crate::commands::run::code_version())),
        KeyValue::new("threads", ctx.threads.to_string()),
        KeyValue::new("seed", recipe.seed.to_string()),
        KeyValue::new("machine", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
    ];
    for input in shown {
        for (path, hash) in &input.record.external {
            entries.push(KeyValue::code(path, hash.as_str()));
        }
        let name = format!("output of {}", input.record.name);
        entries.push(KeyValue::code(name, input.record.output.as_str()));
    }
    let command = "embody run recipe.toml".to_owned();
    Ok(Provenance { command, recipe: to_toml(&whole)?, entries })
}

fn params(step: &Step) -> Result<Params> {
    let params: Params = step.parse()?;
    if params.show.is_empty() {
        return Err(step
            .bad_value("show", "there is nothing to show")
            .with_hint("name steps as `@NAME`"));
    }
    if !(64..=1024).contains(&params.video_size) || params.video_size % 2 == 1 {
        return Err(step.bad_value("video_size", "must be even, from 64 to 1024 pixels"));
    }
    if params.videos > 8 {
        return Err(step.bad_value("videos", "must be at most 8"));
    }
    Ok(params)
}
