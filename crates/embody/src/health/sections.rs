//! The sections of the page, in the order in which a person asks: what is it, how good, what to look
//! at, and then each measure for itself.

use embody_core::Result;
use embody_data::{
    Dataset, Finding as DataFinding, Phase, Plan, PlannedEpisode, Severity as DataSeverity,
};
use embody_platform::report::{
    BarRow, Bars, Block, Cell, Column, Finding, Findings, Images, KeyValue, KeyValues, LineStyle,
    Lines, Note, Section, Series, Severity, Table, Tone,
};

use super::thumbnails::thumbnail;

/// Rows of a table of episodes.
const MOST_ROWS: usize = 40;
/// Thumbnails of outliers.
const MOST_THUMBNAILS: usize = 8;
/// Bars of a histogram.
const BINS: usize = 12;

/// What the dataset is.
pub fn holdings(dataset: &Dataset, plan: &Plan) -> Section {
    let info = dataset.info();
    let mut rows = vec![
        KeyValue::new("robot", info.robot_type.clone().unwrap_or_else(|| "not given".into())),
        KeyValue::new("layout", format!("LeRobotDataset {}", dataset.format().as_str())),
    ];
    rows.extend(dataset.tasks().iter().map(|t| KeyValue::new("instruction", t.clone())));
    let feature = |(key, spec): (&String, &embody_core::FeatureSpec)| -> Vec<Cell> {
        let shape = spec.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        let dtype = format!("{:?}", spec.dtype).to_lowercase();
        vec![key.as_str().into(), dtype.into(), shape.into()]
    };
    let split = |(name, range): (&String, &String)| -> Vec<Cell> {
        let episodes = info.split(name).unwrap_or_default();
        let end = episodes.end.min(plan.episodes.len());
        let frames: usize = (episodes.start..end).map(|e| plan.episodes[e].measures.frames).sum();
        vec![name.as_str().into(), range.as_str().into(), episodes.len().into(), frames.into()]
    };
    Section {
        title: "What it holds".into(),
        intro: String::new(),
        blocks: vec![
            Block::KeyValues(KeyValues { rows, ..Default::default() }),
            Block::Table(Table {
                caption: "Features".into(),
                columns: vec![Column::new("key").code(), Column::new("type"), Column::new("shape")],
                rows: info.features.iter().map(feature).collect(),
            }),
            Block::Table(Table {
                caption: "Splits".into(),
                columns: ["split", "range", "episodes", "frames"].map(Column::new).to_vec(),
                rows: info.splits.iter().map(split).collect(),
            }),
        ],
    }
}

/// The score and its parts.
pub fn quality(plan: &Plan) -> Section {
    let score = |e: &PlannedEpisode| e.measures.quality.score;
    let mut worst: Vec<&PlannedEpisode> = plan.episodes.iter().collect();
    worst.sort_by(|a, b| {
        score(a).total_cmp(&score(b)).then(a.measures.episode.cmp(&b.measures.episode))
    });
    let mut parts: Vec<&str> = Vec::new();
    for episode in &plan.episodes {
        for name in episode.measures.quality.parts.keys() {
            if !parts.contains(&name.as_str()) {
                parts.push(name);
            }
        }
    }
    let heads = ["episode", "score"].into_iter().chain(parts.iter().copied());
    let mut columns: Vec<Column> = heads.map(|h| Column::new(h).digits(2)).collect();
    columns[0] = Column::new("episode").digits(0);
    columns.push(Column::new("would be"));
    let row = |e: &&PlannedEpisode| -> Vec<Cell> {
        let m = &e.measures;
        let mut cells: Vec<Cell> = vec![m.episode.into(), score(e).into()];
        cells.extend(parts.iter().map(|p| match m.quality.parts.get(*p) {
            Some(value) => (*value).into(),
            None => "–".into(),
        }));
        cells.push(if e.keep { "kept" } else { "dropped" }.into());
        cells
    };
    let shown = worst.len().min(MOST_ROWS);
    Section {
        title: "Quality".into(),
        intro: "The score is the geometric mean of its parts, each from 0 to 1: a part at 0 makes \
                the whole 0, parts at 1 cost nothing. It says how well the recording serves \
                learning, not whether the task was achieved."
            .into(),
        blocks: vec![
            points("Score of each episode", "score", plan, |e| Some(score(e))),
            Block::Table(Table {
                caption: if shown < worst.len() {
                    format!("The {shown} lowest of {} episodes", worst.len())
                } else {
                    "Every episode, lowest first".into()
                },
                columns,
                rows: worst[..shown].iter().map(row).collect(),
            }),
        ],
    }
}

/// Episodes to look at, with a picture each.
///
/// # Errors
/// When a thumbnail can't be encoded.
pub fn outliers(dataset: &Dataset, plan: &Plan) -> Result<Option<Section>> {
    let mut flagged: Vec<&PlannedEpisode> =
        plan.episodes.iter().filter(|e| !e.remarks.is_empty() || !e.keep).collect();
    if flagged.is_empty() {
        return Ok(None);
    }
    let score = |e: &PlannedEpisode| e.measures.quality.score;
    flagged.sort_by(|a, b| {
        a.keep
            .cmp(&b.keep)
            .then(score(a).total_cmp(&score(b)))
            .then(a.measures.episode.cmp(&b.measures.episode))
    });
    let mut items = Vec::new();
    if let Some(key) = dataset.info().video_keys().next() {
        for e in flagged.iter().take(MOST_THUMBNAILS) {
            let m = &e.measures;
            let at = e.remarks.iter().find_map(|r| r.frame).unwrap_or(m.frames / 2);
            if let Some(mut image) = thumbnail(dataset, m.episode, key, at)? {
                let why = e.reasons.first().or(e.remarks.first().map(|r| &r.text));
                image.note = format!(
                    "score {:.2}, frame {at}; {}",
                    score(e),
                    why.map(String::as_str).unwrap_or_default()
                );
                items.push(image);
            }
        }
    }
    let rows = flagged.iter().take(MOST_ROWS).map(|e| -> Vec<Cell> {
        let mut words = e.reasons.clone();
        words.extend(e.remarks.iter().map(|r| r.text.clone()).filter(|t| !e.reasons.contains(t)));
        let does = if e.keep { "kept" } else { "dropped" };
        vec![e.measures.episode.into(), score(e).into(), does.into(), words.join("; ").into()]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    let mut blocks = Vec::new();
    if !items.is_empty() {
        let caption = "Where each remark points, else the middle of the episode".into();
        blocks.push(Block::Images(Images { caption, items }));
    }
    blocks.push(Block::Table(Table {
        caption: match rows.len() < flagged.len() {
            true => format!("The first {} of {}", rows.len(), flagged.len()),
            false => "Why".into(),
        },
        columns: vec![
            Column::new("episode").digits(0),
            Column::new("score").digits(2),
            Column::new("would be"),
            Column::new("remarks"),
        ],
        rows,
    }));
    Ok(Some(Section {
        title: "Episodes to look at".into(),
        intro: format!(
            "{} of {} episodes, those that would be dropped first.",
            flagged.len(),
            plan.episodes.len()
        ),
        blocks,
    }))
}

/// What the check of the files and the survey of the whole found.
pub fn findings(findings: &[DataFinding], plan: &Plan) -> Section {
    let whole = embody_data::findings(&embody_data::Survey {
        episodes: Vec::new(),
        drift: plan.drift.clone(),
        notes: plan.notes.clone(),
    });
    let mut all: Vec<&DataFinding> = findings.iter().chain(&whole).collect();
    all.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let place = |f: &DataFinding| {
        let parts = [
            f.file.clone(),
            f.episode.map(|e| format!("episode {e}")),
            f.frame.map(|f| format!("frame {f}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<Finding> = all
        .iter()
        .map(|f| Finding {
            severity: match f.severity {
                DataSeverity::Error => Severity::Error,
                DataSeverity::Warning => Severity::Warning,
                DataSeverity::Note => Severity::Note,
            },
            code: f.code.clone(),
            what: f.message.clone(),
            place: place(f),
            hint: f.hint.clone().unwrap_or_default(),
        })
        .collect();
    let blocks = match rows.is_empty() {
        true => vec![Block::Note(Note {
            tone: Tone::Success,
            text: "Counts, timestamps, values and video agree with the tables.".into(),
        })],
        false => {
            vec![Block::Findings(Findings { caption: "What the checks found".into(), rows })]
        }
    };
    Section {
        title: "Findings".into(),
        intro: "Counts, ranges, timestamps and video against the tables, and what drifts over the \
                dataset."
            .into(),
        blocks,
    }
}

/// How long the episodes are.
pub fn lengths(plan: &Plan) -> Section {
    let seconds: Vec<f64> = plan.episodes.iter().map(|e| e.measures.seconds).collect();
    Section {
        title: "Lengths".into(),
        intro: String::new(),
        blocks: vec![
            histogram("Episodes by length", "episodes", "s", &seconds),
            points("Length of each episode", "length, s", plan, |e| Some(e.measures.seconds)),
        ],
    }
}

/// How much of their ranges the dimensions use.
pub fn joints(dataset: &Dataset) -> Option<Section> {
    let mut blocks = Vec::new();
    for key in ["observation.state", "action"] {
        let (Some(stats), Some(spec)) =
            (dataset.stats().get(key), dataset.info().features.get(key))
        else {
            continue;
        };
        let names = spec.dim_names();
        let fits = [&stats.min, &stats.max, &stats.std].iter().all(|v| v.len() == names.len());
        if !fits {
            continue;
        }
        let quantile = |values: &Vec<f64>, d: usize| -> Cell {
            values.get(d).map_or_else(|| "–".into(), |v| (*v).into())
        };
        let row = |(d, name): (usize, &String)| -> Vec<Cell> {
            let range = stats.max[d] - stats.min[d];
            let spread = stats.q90.get(d).zip(stats.q10.get(d)).map(|(b, a)| b - a);
            let used: Cell = match spread {
                _ if range <= 0.0 => "never moves".into(),
                Some(spread) => (100.0 * spread / range).into(),
                None => "–".into(),
            };
            vec![
                name.as_str().into(),
                stats.min[d].into(),
                quantile(&stats.q10, d),
                quantile(&stats.q50, d),
                quantile(&stats.q90, d),
                stats.max[d].into(),
                stats.std[d].into(),
                used,
            ]
        };
        let heads = ["lowest", "10 %", "median", "90 %", "highest", "std"];
        let mut columns = vec![Column::new("dimension").code()];
        columns.extend(heads.map(|h| Column::new(h).digits(3)));
        columns.push(Column::new("middle 80 %, % of range").digits(0));
        blocks.push(Block::Table(Table {
            caption: key.into(),
            columns,
            rows: names.iter().enumerate().map(row).collect(),
        }));
    }
    (!blocks.is_empty()).then(|| Section {
        title: "Joints".into(),
        intro: "Coverage of each dimension's range. A small last column means that nearly all \
                frames crowd into a small part of the range: the rest is seen too rarely to learn."
            .into(),
        blocks,
    })
}

/// Lag and jumps.
pub fn timing(plan: &Plan, fps: f64) -> Option<Section> {
    let any = |of: &dyn Fn(&PlannedEpisode) -> bool| plan.episodes.iter().any(of);
    let mut blocks = Vec::new();
    if any(&|e| e.measures.lag.is_some()) {
        blocks.push(points("Lag of observations behind actions", "lag, s", plan, |e| {
            e.measures.lag.as_ref().map(|l| l.seconds)
        }));
    }
    blocks.push(points("Idle", "share of steps without motion", plan, |e| {
        Some(e.measures.idle_fraction)
    }));
    let jumps =
        |e: &PlannedEpisode| e.measures.velocity_spikes.len() + e.measures.jerk_spikes.len();
    if any(&|e| jumps(e) > 0) {
        let count = |e: &PlannedEpisode| Some(jumps(e) as f64);
        blocks.push(points("Jumps in position or acceleration", "jumps", plan, count));
    }
    Some(Section {
        title: "Motion and timing".into(),
        intro: format!(
            "The lag is where the velocities of actions and observations correlate best, per joint; \
             shown is the median over joints that correlate by 0.5 or more. One frame is {:.3} s.",
            1.0 / fps
        ),
        blocks,
    })
}

/// Exposure and sharpness of each camera.
pub fn pictures(plan: &Plan) -> Option<Section> {
    let keys: Vec<&String> = plan.episodes.first()?.measures.cameras.keys().collect();
    if keys.is_empty() {
        return None;
    }
    let lines =
        |title: &str, y_label: &str, of: &dyn Fn(&embody_data::CameraMeasures) -> Option<f64>| {
            let series = keys.iter().map(|key| {
                let at = |e: &PlannedEpisode| {
                    let camera = e.measures.cameras.get(*key).filter(|c| c.broken.is_none())?;
                    Some([e.measures.episode as f64, of(camera)?])
                };
                Series::new(key.as_str(), plan.episodes.iter().filter_map(at).collect())
                    .style(LineStyle::Points)
            });
            Block::Lines(Lines {
                title: title.into(),
                x_label: "episode".into(),
                y_label: y_label.into(),
                series: series.collect(),
                ..Default::default()
            })
        };
    let mean = |key: &str, of: &dyn Fn(&embody_data::CameraMeasures) -> f64| -> Cell {
        let found: Vec<f64> =
            plan.episodes.iter().filter_map(|e| e.measures.cameras.get(key)).map(of).collect();
        (found.iter().sum::<f64>() / found.len().max(1) as f64).into()
    };
    let flag = |of: bool| if of { 1.0 } else { 0.0 };
    let total = plan.episodes.len() as f64;
    let row = |key: &&String| -> Vec<Cell> {
        let count = |of: &dyn Fn(&embody_data::CameraMeasures) -> bool| -> Cell {
            match mean(key, &|c| flag(of(c))) {
                Cell::Number(share) => (share * total).round().into(),
                text => text,
            }
        };
        vec![
            key.as_str().into(),
            mean(key, &|c| c.brightness),
            mean(key, &|c| c.sharpness),
            mean(key, &|c| 100.0 * c.clipped),
            count(&|c| c.black),
            count(&|c| c.frozen),
            count(&|c| c.broken.is_some()),
        ]
    };
    Some(Section {
        title: "Pictures".into(),
        intro: "Pairs of neighbouring frames at a few places of each episode. Sharpness is the \
                variance of the Laplacian, compared with the same camera's median."
            .into(),
        blocks: vec![
            Block::Table(Table {
                caption: "Cameras".into(),
                columns: vec![
                    Column::new("camera").code(),
                    Column::new("brightness, 0-255").digits(0),
                    Column::new("sharpness, levels²").digits(0),
                    Column::new("clipped, %").digits(1),
                    Column::new("black").digits(0),
                    Column::new("frozen").digits(0),
                    Column::new("broken").digits(0),
                ],
                rows: keys.iter().map(row).collect(),
            }),
            lines("Sharpness of each episode", "of the camera's median", &|c| c.relative_sharpness),
            lines("Brightness of each episode", "mean level, 0-255", &|c| Some(c.brightness)),
        ],
    })
}

/// What happens how long.
pub fn phases(plan: &Plan) -> Option<Section> {
    let kinds = [
        (Phase::Idle, "idle"),
        (Phase::Move, "moving"),
        (Phase::Grip, "gripping"),
        (Phase::Contact, "in contact"),
    ];
    let segments = || plan.episodes.iter().flat_map(|e| &e.measures.segments);
    let total: usize = segments().map(|s| s.end - s.start).sum();
    if total == 0 {
        return None;
    }
    let row = |(phase, label): (Phase, &str)| {
        let frames: usize = segments().filter(|s| s.phase == phase).map(|s| s.end - s.start).sum();
        BarRow { label: label.into(), values: vec![100.0 * frames as f64 / total as f64] }
    };
    Some(Section {
        title: "Phases".into(),
        intro: format!(
            "Episodes were cut by gripper, contact, stillness and deep speed minima: {:.1} segments \
             each on average.",
            segments().count() as f64 / plan.episodes.len() as f64
        ),
        blocks: vec![Block::Bars(Bars {
            title: "Share of the frames".into(),
            x_label: "%".into(),
            series: vec!["share".into()],
            rows: kinds.map(row).to_vec(),
        })],
    })
}

/// Episodes that repeat each other.
pub fn duplicates(plan: &Plan) -> Section {
    let mut near: Vec<&PlannedEpisode> = plan
        .episodes
        .iter()
        .filter(|e| e.measures.nearest.as_ref().is_some_and(|n| n.same))
        .collect();
    near.sort_by_key(|e| e.measures.episode);
    let block = if near.is_empty() {
        let text = "No two episodes have the same motion and the same pictures.".into();
        Block::Note(Note { tone: Tone::Success, text })
    } else {
        let row = |e: &&PlannedEpisode| -> Vec<Cell> {
            let Some(n) = &e.measures.nearest else { return Vec::new() };
            let bits: Cell = n.bits.map_or_else(|| "–".into(), Cell::from);
            vec![e.measures.episode.into(), n.episode.into(), (100.0 * n.distance).into(), bits]
        };
        Block::Table(Table {
            caption: "Near-duplicates".into(),
            columns: vec![
                Column::new("episode").digits(0),
                Column::new("repeats").digits(0),
                Column::new("motion differs by, % of range").digits(2),
                Column::new("pictures differ in, bits of 64").digits(1),
            ],
            rows: near.iter().take(MOST_ROWS).map(row).collect(),
        })
    };
    Section {
        title: "Duplicates".into(),
        intro: "Trajectories are compared at 16 instants, pictures by perceptual hash.".into(),
        blocks: vec![block],
    }
}

/// A measure over the episodes, as points.
fn points(
    title: &str,
    y_label: &str,
    plan: &Plan,
    of: impl Fn(&PlannedEpisode) -> Option<f64>,
) -> Block {
    let at = |e: &PlannedEpisode| Some([e.measures.episode as f64, of(e)?]);
    let (kept, dropped): (Vec<&PlannedEpisode>, Vec<&PlannedEpisode>) =
        plan.episodes.iter().partition(|e| e.keep);
    let series = |name: &str, episodes: &[&PlannedEpisode]| {
        Series::new(name, episodes.iter().filter_map(|e| at(e)).collect()).style(LineStyle::Points)
    };
    let mut all = vec![series("kept", &kept)];
    if !dropped.is_empty() {
        all.push(series("dropped", &dropped));
    }
    Block::Lines(Lines {
        title: title.into(),
        x_label: "episode".into(),
        y_label: y_label.into(),
        series: all,
        ..Default::default()
    })
}

/// Counts in equal bins.
fn histogram(title: &str, what: &str, unit: &str, values: &[f64]) -> Block {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = ((high - low) / BINS as f64).max(1e-9);
    let mut counts = [0usize; BINS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    let digits = if width < 1.0 { 1 } else { 0 };
    let row = |(i, n): (usize, &usize)| BarRow {
        label: format!(
            "{:.digits$}–{:.digits$} {unit}",
            low + width * i as f64,
            low + width * (i + 1) as f64
        ),
        values: vec![*n as f64],
    };
    Block::Bars(Bars {
        title: title.into(),
        x_label: what.into(),
        series: vec![what.into()],
        rows: counts.iter().enumerate().map(row).collect(),
    })
}

/// `12 min`, `3.4 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
