//! Writes a page with every kind of block, filled with invented data, to look at while working on
//! the report: `cargo run -p embody_platform --example report_sample -- PAGE.html [VIDEO.mp4…]`.

use std::path::Path;

use embody_platform::report::*;

fn main() -> embody_core::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let page = arguments.next().unwrap_or_else(|| "report_sample.html".to_owned());
    let mut clips = Vec::new();
    for path in arguments {
        use embody_core::IoContext;
        clips.push(std::fs::read(&path).at("read", Path::new(&path))?);
    }
    write(&sample(&clips), Path::new(&page))
}

/// A number that looks random, in -1 to 1.
fn noise(i: usize) -> f64 {
    let x = (i as f64 * 12.9898).sin() * 43_758.545_3;
    (x - x.floor()) * 2.0 - 1.0
}

fn sample(clips: &[Vec<u8>]) -> Report {
    let card = |label: &str, value: &str, detail: &str, tone| Headline {
        label: label.into(),
        value: value.into(),
        detail: detail.into(),
        tone,
    };
    Report {
        title: "SO-101 pick and lift, ACT small".into(),
        subtitle: "Sample with invented data · recipe `demo` · 2 cores, no GPU".into(),
        summary:
            "The trained policy lifts the cube in 93 of 100 starts it has not seen; replaying \
                  the mean trajectory does so in 6. The intervals do not touch."
                .into(),
        headline: vec![
            card(
                "success rate",
                "93 %",
                "93 of 100 seeds; 95 % interval 86.3–96.6 %",
                Tone::Success,
            ),
            card("baseline", "6 %", "mean trajectory, same seeds; 2.8–12.5 %", Tone::Neutral),
            card(
                "demonstrations kept",
                "94 of 100",
                "6 dropped, each with its reason",
                Tone::Neutral,
            ),
            card("training", "5 min 12 s", "4,000 steps of 16 on 2 cores", Tone::Neutral),
            card("inference, p50", "18.4 ms", "p99 24.9 ms, batch 1, budget 40 ms", Tone::Neutral),
            card("held-out loss", "0.041", "L1, normalised; train 0.033", Tone::Warning),
        ],
        sections: vec![done(), data(), training(), evaluation(clips), open_loop()],
        provenance: Provenance {
            command: "embody run recipes/demo.toml --set seed=7".into(),
            recipe:
                "# Everything the demo does.\nname = \"demo\"\nseed = 7\n\n[step.record]\nkind = \
                     \"sim.record\"\ntask = \"so101-lift\"\nepisodes = 100\n\n[step.train]\nkind = \
                     \"train.act\"\ndata = \"@process\"\nsteps = 4000\nbatch = 16\n"
                    .into(),
            entries: vec![
                KeyValue::new("embody", "0.1.0, revision `d587119`, release build"),
                KeyValue::new("machine", "2 cores, 24 GiB, Linux 6.1"),
                KeyValue::code(
                    "recipe",
                    "9a1fd03ab0c1d7e53b4f6c9e6c2cc8c13dc7fcd5d5ad1a1c2dc0f6c7d2fa9b10",
                ),
                KeyValue::code(
                    "dataset",
                    "b09eb1f3a77e61b0e1a4d1c8c2f6e0a4d58a4ff0bd3ae2d6b1a52fc2d44e5ab1",
                ),
                KeyValue::new("seeds", "root 7; evaluation 1000–1099"),
            ],
        },
    }
}

fn done() -> Section {
    let step = |name: &str, what: &str, seconds, cached| Step {
        name: name.into(),
        what: what.into(),
        seconds,
        hash: embody_core::hash_bytes(name.as_bytes()).to_string(),
        cached,
    };
    Section {
        title: "What was done".into(),
        intro: String::new(),
        blocks: vec![Block::Steps(Steps {
            rows: vec![
                step("record", "100 episodes of `so101-lift` by the scripted expert", 74.2, true),
                step(
                    "process",
                    "validated, dropped 6 episodes, split 85 train / 9 held out",
                    8.1,
                    false,
                ),
                step("train", "ACT small, 4,000 steps", 312.0, false),
                step("eval", "100 seeds, policy and baseline, paired", 131.0, false),
                step("report", "this page", 0.04, false),
            ],
        })],
    }
}

fn data() -> Section {
    let finding = |severity, code: &str, what: &str, place: &str, hint: &str| Finding {
        severity,
        code: code.into(),
        what: what.into(),
        place: place.into(),
        hint: hint.into(),
    };
    Section {
        title: "Data".into(),
        intro: "100 episodes were recorded, 94 kept: 21,432 frames at 30 per second, two cameras."
            .into(),
        blocks: vec![
            Block::Table(Table {
                caption: "The split, by episode".into(),
                columns: ["split", "episodes", "frames", "length, s"].map(Column::new).into(),
                rows: vec![
                    vec!["train".into(), 85usize.into(), 19_380usize.into(), 646.0.into()],
                    vec!["held out".into(), 9usize.into(), 2052usize.into(), 68.4.into()],
                ],
            }),
            Block::Findings(Findings {
                caption: "Findings".into(),
                rows: vec![
                    finding(
                        Severity::Error,
                        "non-finite-value",
                        "a frame's `action` is not finite",
                        "`data/chunk-000/file-000.parquet`, episode 17, frame 203",
                        "episode dropped",
                    ),
                    finding(
                        Severity::Warning,
                        "black-video",
                        "`observation.images.wrist` is black throughout",
                        "episode 41",
                        "episode dropped",
                    ),
                    finding(
                        Severity::Note,
                        "constant-dimension",
                        "dimension `gripper.pos` does not vary",
                        "episodes 3, 8",
                        "kept",
                    ),
                ],
            }),
            Block::Table(Table {
                caption: "Dropped episodes".into(),
                columns: vec![Column::new("episode"), Column::new("frames"), Column::new("reason")],
                rows: [
                    (17usize, 240usize, "not finite"),
                    (41, 231, "camera black"),
                    (58, 300, "task not achieved"),
                ]
                .map(|(e, f, r)| vec![e.into(), f.into(), r.into()])
                .into(),
            }),
        ],
    }
}

fn training() -> Section {
    let loss = |floor: f64, every: usize, jitter: f64| -> Vec<[f64; 2]> {
        (0..4000 / every)
            .map(|i| {
                let step = (i * every) as f64;
                let mean = floor + 0.9 * (-step / 220.0).exp() + 0.12 * (-step / 1500.0).exp();
                [step, mean * (1.0 + jitter * noise(i))]
            })
            .collect()
    };
    let lines = |title: &str, log_y| {
        Block::Lines(Lines {
            title: title.into(),
            x_label: "step".into(),
            y_label: "L1 loss, normalised".into(),
            series: vec![
                Series::new("train", loss(0.03, 2, 0.18)),
                Series::new("held out", loss(0.04, 250, 0.02)).style(LineStyle::Dashed),
            ],
            marks: vec![Mark { x: 3750.0, label: "kept checkpoint".into() }],
            log_y,
        })
    };
    Section {
        title: "Training".into(),
        intro: "Loss on training batches and on the held-out episodes.".into(),
        blocks: vec![lines("Loss", false), lines("The same, logarithmic", true)],
    }
}

fn evaluation(clips: &[Vec<u8>]) -> Section {
    let row = |label: &str, value, low, high, detail: &str, tone| IntervalRow {
        label: label.into(),
        value,
        low,
        high,
        detail: detail.into(),
        tone,
    };
    let videos = clips.iter().enumerate().map(|(i, clip)| Video {
        label: format!("seed {}", 1000 + 7 * i),
        tone: if i % 2 == 0 { Tone::Success } else { Tone::Failure },
        mp4: clip.clone().into(),
        poster: None,
        note: if i % 2 == 0 { "lifted after 4.1 s" } else { "grasp slipped at 5.0 s" }.into(),
    });
    Section {
        title: "Evaluation".into(),
        intro: "Policy and baseline start from the same 100 seeds, none of them used in training."
            .into(),
        blocks: vec![
            Block::Intervals(Intervals {
                title: "Success rate".into(),
                rows: vec![
                    row("ACT small", 0.93, 0.863, 0.966, "93 of 100", Tone::Success),
                    row("mean trajectory", 0.06, 0.028, 0.125, "6 of 100", Tone::Neutral),
                ],
            }),
            Block::Note(Note {
                tone: Tone::Success,
                text: "Policy succeeded where the baseline failed in 88 seeds, the reverse in 1: \
                       exact McNemar test, p = 2.9 × 10⁻²⁵."
                    .into(),
            }),
            Block::Videos(Videos { caption: "Rollouts".into(), items: videos.collect() }),
        ],
    }
}

fn open_loop() -> Section {
    let error = |scale: f64, growth: f64| -> Vec<[f64; 2]> {
        (1..=30).map(|i| [f64::from(i) / 30.0, scale + growth * f64::from(i) / 30.0]).collect()
    };
    let policy = error(0.012, 0.03);
    let hold = error(0.002, 0.14);
    let around = |points: &[[f64; 2]]| points.iter().map(|p| [p[1] * 0.85, p[1] * 1.2]).collect();
    let joints = [
        "kLeftShoulderPitch",
        "kLeftShoulderRoll",
        "kLeftShoulderYaw",
        "kLeftElbow",
        "kLeftWristRoll",
        "kLeftWristPitch",
        "kLeftWristYaw",
        "kLeftHandThumbRotation",
    ];
    let panels = joints.iter().enumerate().map(|(j, joint)| {
        let curve = |shift: f64, jitter: f64| -> Vec<[f64; 2]> {
            (0..372)
                .map(|i| {
                    let t = f64::from(i) / 30.0;
                    let swing = (0.3 + 0.1 * j as f64) * (0.6 * t + j as f64).sin();
                    [t, swing + shift + jitter * noise(i as usize + j)]
                })
                .collect()
        };
        Panel {
            title: (*joint).into(),
            series: vec![
                Series::new("recorded", curve(0.0, 0.0)).style(LineStyle::Muted),
                Series::new("predicted", curve(0.03, 0.015)),
            ],
        }
    });
    let rows = joints.iter().enumerate().map(|(j, joint)| BarRow {
        label: (*joint).into(),
        values: vec![0.012 + 0.002 * j as f64, 0.05 + 0.009 * j as f64],
    });
    Section {
        title: "Open loop on held-out episodes".into(),
        intro: "The policy predicts from recorded observations; nothing moves.".into(),
        blocks: vec![
            Block::Lines(Lines {
                title: "Error against horizon".into(),
                x_label: "horizon, s".into(),
                y_label: "mean absolute error, rad".into(),
                series: vec![
                    Series::new("policy", policy.clone()).band(around(&policy)),
                    Series::new("hold the last action", hold.clone())
                        .band(around(&hold))
                        .style(LineStyle::Muted),
                ],
                marks: vec![Mark { x: 0.5, label: "0.5 s".into() }],
                log_y: false,
            }),
            Block::Bars(Bars {
                title: "Error at 0.5 s by joint".into(),
                x_label: "mean absolute error, rad".into(),
                series: vec!["policy".into(), "hold the last action".into()],
                rows: rows.collect(),
            }),
            Block::SmallMultiples(SmallMultiples {
                title: "Episode 11, recorded and predicted".into(),
                x_label: "time, s".into(),
                y_label: "position, rad".into(),
                panels: panels.collect(),
            }),
        ],
    }
}
