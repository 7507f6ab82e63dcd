//! Horizontal charts with a label per row: proportions with intervals, and bars. Rows are HTML, so
//! that long labels wrap and the whole folds on a phone; only the track is a drawing.

use super::ticks::{Axis, linear};
use crate::report::html::{common_digits, esc, number, put};
use crate::report::model::{Bars, Intervals, Tone};

/// Proportions with their intervals.
pub(crate) fn intervals(block: &Intervals) -> String {
    let mut out = String::new();
    put!(out, "<figure class=\"fig rows\"><figcaption>{}</figcaption>", esc(&block.title));
    let axis = percent_axis();
    for row in &block.rows {
        let colour = match row.tone {
            Tone::Neutral => "m",
            Tone::Failure => "c1",
            Tone::Success | Tone::Warning => "c0",
        };
        let known = [row.value, row.low, row.high].iter().all(|v| v.is_finite());
        let [value, low, high] =
            [row.value, row.low, row.high].map(|v| if known { v.clamp(0.0, 1.0) } else { 0.0 });
        let (shown, interval) = if known {
            let low = percent(low);
            let ends = format!("{}–{}", low.trim_end_matches("\u{a0}%"), percent(high));
            (percent(value), ends)
        } else {
            ("–".to_owned(), "not known".to_owned())
        };
        put!(
            out,
            "<div class=\"row\"><div class=\"rl\">{0}<small>{1}</small></div><div class=\"rt\">\
             <svg width=\"100%\" role=\"img\" aria-label=\"{0}: {shown}, 95 % interval {interval}\">",
            esc(&row.label),
            esc(&row.detail),
        );
        grid(&mut out, &axis);
        if known {
            put!(
                out,
                "<line class=\"iv {colour}\" x1=\"{1}%\" x2=\"{2}%\" y1=\"50%\" y2=\"50%\"/>\
                 <svg y=\"50%\" overflow=\"visible\">\
                 <line class=\"wk {colour}\" x1=\"{1}%\" x2=\"{1}%\" y1=\"-6\" y2=\"6\"/>\
                 <line class=\"wk {colour}\" x1=\"{2}%\" x2=\"{2}%\" y1=\"-6\" y2=\"6\"/></svg>\
                 <circle class=\"dot {colour}\" cx=\"{0}%\" cy=\"50%\" r=\"6\"/>",
                tenth(value * 100.0),
                tenth(low * 100.0),
                tenth(high * 100.0),
            );
        }
        put!(
            out,
            "</svg></div><div class=\"rv\"><b>{shown}</b><small>{interval}</small></div></div>"
        );
    }
    foot(&mut out, &axis, "whiskers: 95 % interval");
    out
}

/// Bars, one per series in each row.
pub(crate) fn bars(block: &Bars) -> String {
    let mut out = String::new();
    put!(out, "<figure class=\"fig rows\"><figcaption>{}</figcaption>", esc(&block.title));
    if block.series.len() > 1 {
        out.push_str("<ul class=\"legend\">");
        for (i, name) in block.series.iter().enumerate() {
            put!(
                out,
                "<li><svg width=\"12\" height=\"10\" aria-hidden=\"true\"><rect class=\"bar {}\" \
                 width=\"12\" height=\"10\" rx=\"2\"/></svg>{}</li>",
                colour(i, block.series.len()),
                esc(name)
            );
        }
        out.push_str("</ul>");
    }
    let values = block.rows.iter().flat_map(|r| r.values.iter().copied());
    let mut axis = linear(values.chain([0.0]), 4, true, true);
    if axis.lo < 0.0 {
        axis = linear([0.0, 1.0].into_iter(), 4, true, true);
    }
    let count = block.series.len().max(1);
    let (thick, pitch) = if count == 1 { (14, 16) } else { (11, 14) };
    let digits = common_digits(block.rows.iter().flat_map(|r| r.values.iter().copied()));
    for row in &block.rows {
        let height = count * pitch + 8;
        let texts: Vec<_> = row.values.iter().map(|v| number(*v, digits)).collect();
        put!(
            out,
            "<div class=\"row\"><div class=\"rl\">{}</div><div class=\"rt\" \
             style=\"min-height:{height}px\"><svg width=\"100%\" role=\"img\" aria-label=\"{}: {}\">",
            esc(&row.label),
            esc(&row.label),
            texts.join(", "),
        );
        grid(&mut out, &axis);
        for (i, value) in row.values.iter().take(count).enumerate().filter(|(_, v)| v.is_finite()) {
            put!(
                out,
                "<rect class=\"bar {}\" y=\"{}\" width=\"{}%\" height=\"{thick}\" rx=\"2\"/>",
                colour(i, count),
                4 + i * pitch,
                tenth(axis.fraction(value.max(0.0)).clamp(0.0, 1.0) * 100.0),
            );
        }
        put!(out, "</svg></div><div class=\"rv{}\">", if count > 1 { " two" } else { "" });
        for (i, text) in texts.iter().enumerate() {
            let tag = if i == 0 { "b" } else { "span" };
            put!(out, "<{tag}>{text}</{tag}>");
        }
        out.push_str("</div></div>");
    }
    foot(&mut out, &axis, &block.x_label);
    out
}

/// Colour of series `i` of `count`: the last of several is the baseline, in grey.
fn colour(i: usize, count: usize) -> String {
    if count > 1 && i + 1 == count { "m".to_owned() } else { format!("c{}", i % 7) }
}

fn grid(out: &mut String, axis: &Axis) {
    for (value, _) in &axis.ticks {
        let at = tenth(axis.fraction(*value) * 100.0);
        put!(out, "<line class=\"gr\" x1=\"{at}%\" x2=\"{at}%\" y2=\"100%\"/>");
    }
}

/// The common axis beneath the rows, and its name.
fn foot(out: &mut String, axis: &Axis, label: &str) {
    out.push_str(
        "<div class=\"row foot\" aria-hidden=\"true\"><div class=\"rl\"></div><div class=\"rt\">\
         <svg width=\"100%\">",
    );
    for (value, text) in &axis.ticks {
        let at = tenth(axis.fraction(*value) * 100.0);
        put!(out, "<text class=\"xt\" x=\"{at}%\" y=\"14\">{text}</text>");
    }
    put!(
        out,
        "</svg><div class=\"xl\">{}</div></div><div class=\"rv\"></div></div></figure>",
        esc(label)
    );
}

fn percent_axis() -> Axis {
    let tick = |i: i32| (f64::from(i) * 0.25, format!("{} %", i * 25));
    Axis { lo: 0.0, hi: 1.0, log: false, ticks: (0..=4).map(tick).collect() }
}

/// A proportion in per cent with at most one digit after the point and a space that does not break.
fn percent(value: f64) -> String {
    let text = format!("{:.1}", value * 100.0);
    format!("{}\u{a0}%", text.strip_suffix(".0").unwrap_or(&text))
}

fn tenth(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}
