use serde_json::Value;

use super::blocks::block;
use super::html::{duration, esc, inline, number, prose};
use super::*;

/// One small block of every kind, with its name.
fn every_block() -> Vec<(&'static str, Block)> {
    let curve = |name: &str| Series::new(name, vec![[0.0, 1.0], [1.0, 0.5], [2.0, 0.25]]);
    let finding = |severity| Finding {
        severity,
        code: "non-finite-value".into(),
        what: "`action` is not finite".into(),
        place: "episode 3, frame 7".into(),
        hint: "episode dropped".into(),
    };
    let video = |tone, poster: Option<Bytes>| Video {
        label: "seed 17".into(),
        tone,
        mp4: vec![0, 1, 2, 255].into(),
        poster,
        note: "lifted after 4.1 s".into(),
    };
    let interval = |label: &str, value, low, high, tone| IntervalRow {
        label: label.into(),
        value,
        low,
        high,
        detail: "of 100".into(),
        tone,
    };
    vec![
        ("text", Block::text("One `code` and a lone ` tick.\n\nTwo, 95 % sure.")),
        ("note", Block::Note(Note { tone: Tone::Warning, text: "Look here.".into() })),
        (
            "steps",
            Block::Steps(Steps {
                rows: vec![
                    Step {
                        name: "record".into(),
                        what: "10 episodes".into(),
                        seconds: 30.0,
                        hash: "0123456789abcdef".into(),
                        cached: true,
                    },
                    Step { name: "train".into(), seconds: 120.0, ..Step::default() },
                ],
            }),
        ),
        (
            "table",
            Block::Table(Table {
                caption: "A table".into(),
                columns: vec![
                    Column::new("file").code(),
                    Column::new("length, s"),
                    Column::new("error").digits(3),
                ],
                rows: vec![
                    vec!["a.mp4".into(), 1234.5.into(), 0.5.into()],
                    vec!["b.mp4".into(), 7usize.into()],
                    vec!["".into(), f64::NAN.into(), (-0.0001).into()],
                ],
            }),
        ),
        (
            "lines",
            Block::Lines(Lines {
                title: "Loss".into(),
                x_label: "step".into(),
                y_label: "loss".into(),
                series: vec![
                    curve("train").band(vec![[0.9, 1.1], [0.4, 0.6], [0.2, 0.3]]),
                    curve("held out").style(LineStyle::Dashed),
                    curve("baseline").style(LineStyle::Muted),
                    Series::new("gap", vec![[0.0, 0.1], [1.0, f64::NAN], [2.0, 0.2]])
                        .style(LineStyle::Points),
                ],
                marks: vec![Mark { x: 1.5, label: "kept".into() }],
                log_y: false,
            }),
        ),
        (
            "lines_log",
            Block::Lines(Lines {
                title: "Loss".into(),
                series: vec![Series::new("train", vec![[0.0, 10.0], [1.0, 0.0], [2.0, 0.01]])],
                log_y: true,
                ..Lines::default()
            }),
        ),
        ("lines_empty", Block::Lines(Lines { title: "Nothing".into(), ..Lines::default() })),
        (
            "intervals",
            Block::Intervals(Intervals {
                title: "Success rate".into(),
                rows: vec![
                    interval("policy", 0.93, 0.8625, 0.966, Tone::Success),
                    interval("baseline", 0.0, 0.0, 0.037, Tone::Neutral),
                    interval("broken", f64::NAN, -1.0, 7.0, Tone::Failure),
                ],
            }),
        ),
        (
            "bars",
            Block::Bars(Bars {
                title: "Error by joint".into(),
                x_label: "rad".into(),
                series: vec!["policy".into(), "hold".into()],
                rows: vec![
                    BarRow { label: "elbow".into(), values: vec![0.02, 0.1] },
                    BarRow { label: "wrist".into(), values: vec![0.012, f64::INFINITY] },
                ],
            }),
        ),
        (
            "small_multiples",
            Block::SmallMultiples(SmallMultiples {
                title: "Joints".into(),
                x_label: "time, s".into(),
                y_label: "rad".into(),
                panels: vec![
                    Panel {
                        title: "elbow".into(),
                        series: vec![curve("recorded").style(LineStyle::Muted), curve("predicted")],
                    },
                    Panel { title: "wrist".into(), series: vec![curve("recorded")] },
                ],
            }),
        ),
        (
            "videos",
            Block::Videos(Videos {
                caption: "Rollouts".into(),
                items: vec![
                    video(Tone::Success, Some(vec![1, 2, 3].into())),
                    video(Tone::Failure, None),
                    video(Tone::Neutral, None),
                ],
            }),
        ),
        (
            "findings",
            Block::Findings(Findings {
                caption: "Findings".into(),
                rows: [Severity::Error, Severity::Warning, Severity::Note].map(finding).into(),
            }),
        ),
        ("findings_none", Block::Findings(Findings::default())),
        (
            "code",
            Block::Code(Code {
                caption: "Recipe".into(),
                language: "toml".into(),
                text: "# comment\n[step]\nkind = \"a<b\"\n".into(),
            }),
        ),
        (
            "images",
            Block::Images(Images {
                caption: "Camera".into(),
                items: vec![Image {
                    label: "top".into(),
                    png: vec![9].into(),
                    note: "320 × 240".into(),
                }],
            }),
        ),
        (
            "key_values",
            Block::KeyValues(KeyValues {
                caption: "Versions".into(),
                rows: vec![KeyValue::new("embody", "0.1.0"), KeyValue::code("data", "b09eb1")],
            }),
        ),
    ]
}

fn whole() -> Report {
    Report {
        title: "A run".into(),
        subtitle: "recipe `demo`".into(),
        summary: "It works.".into(),
        headline: vec![Headline {
            label: "success rate".into(),
            value: "93 %".into(),
            detail: "93 of 100".into(),
            tone: Tone::Success,
        }],
        sections: vec![Section {
            title: "What & why".into(),
            intro: "All of it.".into(),
            blocks: every_block().into_iter().map(|(_, block)| block).collect(),
        }],
        provenance: Provenance {
            command: "embody run recipes/demo.toml".into(),
            recipe: "seed = 7\n".into(),
            entries: vec![KeyValue::new("seed", "7")],
        },
    }
}

#[test]
fn each_block_is_drawn_as_before() {
    for (name, content) in every_block() {
        insta::assert_snapshot!(name, block(&content).replace("><", ">\n<"));
    }
}

#[test]
fn the_page_around_the_blocks() {
    let mut report = whole();
    report.sections[0].blocks.clear();
    let page = render(&report);
    let (head, rest) = page.split_once("<style>").expect("a style sheet");
    let (_, rest) = rest.split_once("</style>").expect("its end");
    let (body, rest) = rest.split_once("<script").expect("a script");
    assert!(rest.ends_with("</script></body></html>\n"));
    insta::assert_snapshot!(format!("{head}…{body}…").replace("><", ">\n<"));
}

#[test]
fn the_same_report_is_the_same_page_and_stays_small() {
    let page = render(&whole());
    assert_eq!(page, render(&whole()));
    // All that the frame costs: style, script, and a block of every kind.
    assert!(page.len() < 48 * 1024, "{} bytes", page.len());
}

#[test]
fn the_page_asks_for_nothing_from_outside() {
    let page = render(&whole()).replace("http://www.w3.org/2000/svg", "");
    for sign in ["http:", "https:", "//fonts", "@import", "url(", "<link", "<iframe", "srcset"] {
        assert!(!page.contains(sign), "{sign}");
    }
    for attribute in ["src=\"", "poster=\""] {
        assert!(page.split(attribute).skip(1).all(|rest| rest.starts_with("data:")));
    }
    assert!(page.contains("default-src 'none'"));
}

/// Puts `text` in the place of every free text below `value`.
fn replace_texts(value: &mut Value, key: &str, text: &str) {
    match value {
        Value::String(old)
            if !["type", "tone", "severity", "style", "mp4", "poster", "png"].contains(&key) =>
        {
            text.clone_into(old);
        }
        Value::Array(items) => items.iter_mut().for_each(|v| replace_texts(v, key, text)),
        Value::Object(map) => map.iter_mut().for_each(|(k, v)| replace_texts(v, k, text)),
        _ => {}
    }
}

#[test]
fn hostile_text_stays_text() {
    let mut plain = whole();
    let Block::Lines(lines) = &mut plain.sections[0].blocks[4] else { panic!("not the lines") };
    lines.series.pop(); // its gap can't be written as JSON
    let Block::Table(table) = &mut plain.sections[0].blocks[3] else { panic!("not the table") };
    table.rows.pop();
    let Block::Intervals(rates) = &mut plain.sections[0].blocks[7] else { panic!("not the rates") };
    rates.rows.pop();
    let Block::Bars(bars) = &mut plain.sections[0].blocks[8] else { panic!("not the bars") };
    bars.rows.pop();
    let model = serde_json::to_value(&plain).expect("a report is JSON");
    assert_eq!(serde_json::from_value::<Report>(model.clone()).expect("and back"), plain);

    // The tags of a page whose texts are harmless, against those of pages whose texts are not.
    let tags = |page: &str| -> Vec<String> {
        let (_, body) = page.split_once("<body>").expect("a body");
        let name = |rest: &str| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '/').next().map(str::to_owned)
        };
        body.split('<').skip(1).filter_map(name).collect()
    };
    let page_with = |text: &str| {
        let mut hostile = model.clone();
        replace_texts(&mut hostile, "", text);
        render(&serde_json::from_value(hostile).expect("still a report"))
    };
    let harmless = tags(&page_with("x"));
    for attack in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style><svg onload=alert(1)>",
        "</code></pre><iframe>",
        "]]><!--",
        "&lt;b&gt;\u{202e}\u{0}",
    ] {
        let page = page_with(attack);
        assert_eq!(tags(&page), harmless, "{attack}");
        let raw =
            ["<script>alert", "<img src=x", "onmouseover='", "<svg onload", "<iframe", "<!--"];
        assert!(!raw.iter().any(|sign| page.contains(sign)), "{attack}");
        // Quotes only as entities: no attribute ends early.
        assert!(attack.contains('"') <= page.contains("&quot;"));
    }
}

#[test]
fn escaping() {
    assert_eq!(esc("a<b>&\"c\"'d'").to_string(), "a&lt;b&gt;&amp;&quot;c&quot;&#39;d&#39;");
    assert_eq!(inline("`<i>` 5 % `"), "<code>&lt;i&gt;</code> 5\u{a0}% `");
    assert_eq!(prose(" \n\n a\n\n\n\nb ", "t"), "<p class=\"t\">a</p><p class=\"t\">b</p>");
}

#[test]
fn numbers_for_people() {
    let shown = |v: f64| number(v, None);
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (4489.0, "4,489"),
        (1_234_567.0, "1,234,567"),
        (12_345.67, "12,346"),
        (999.96, "1,000"),
        (18.416, "18.42"),
        (0.04125, "0.04125"),
        (0.1, "0.1"),
        (-1.5, "−1.5"),
        (2.9e-25, "2.900e-25"),
        (f64::NAN, "–"),
        (f64::NEG_INFINITY, "–"),
    ] {
        assert_eq!(shown(value), text, "{value}");
    }
    assert_eq!(number(-0.0001, Some(2)), "0.00");
    assert_eq!(number(1234.5, Some(1)), "1,234.5");
}

#[test]
fn durations_for_people() {
    let shown = [0.0004, 0.04, 0.0996, 8.1, 99.96, 312.0, 3599.7, 7260.0, -1.0].map(duration);
    assert_eq!(
        shown,
        [
            "0.4 ms",
            "40 ms",
            "0.1 s",
            "8.1 s",
            "1 min 40 s",
            "5 min 12 s",
            "1 h 00 min",
            "2 h 01 min",
            "–"
        ]
    );
}

#[test]
fn writing_replaces_the_old_page() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("runs/report.html");
    write(&Report::default(), &path).expect("first");
    write(&whole(), &path).expect("second");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), render(&whole()));
    let error = write(&whole(), folder.path()).expect_err("a folder stands there");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
}
