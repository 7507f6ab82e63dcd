//! Curves: one plot, or many small ones.

use serde_json::json;

use super::ticks::{Axis, linear, logarithmic};
use crate::report::html::{esc, number, put};
use crate::report::model::{LineStyle, Lines, Mark, Series, SmallMultiples};

/// Everything about one plot.
struct Plot<'a> {
    title: &'a str,
    x_label: &'a str,
    y_label: &'a str,
    series: &'a [Series],
    marks: &'a [Mark],
    log_y: bool,
    small: bool,
}

/// A figure with one plot.
pub(crate) fn lines(block: &Lines) -> String {
    let mut out = String::new();
    let axis = if block.y_label.is_empty() { "" } else { "↑ " };
    let axis = format!("{axis}{}", block.y_label);
    put!(out, "<figure class=\"fig\">{}", head(&block.title, &axis, &block.series));
    out.push_str(&plot(&Plot {
        title: &block.title,
        x_label: &block.x_label,
        y_label: &block.y_label,
        series: &block.series,
        marks: &block.marks,
        log_y: block.log_y,
        small: false,
    }));
    put!(out, "<div class=\"xl\">{}</div></figure>", esc(&block.x_label));
    out
}

/// A figure with a grid of small plots and one legend.
pub(crate) fn small_multiples(block: &SmallMultiples) -> String {
    let mut out = String::new();
    let legend = block.panels.iter().map(|p| p.series.as_slice()).max_by_key(|s| s.len());
    let axes = match (block.y_label.as_str(), block.x_label.as_str()) {
        ("", "") => String::new(),
        ("", x) => format!("→ {x}"),
        (y, "") => format!("↑ {y}"),
        (y, x) => format!("↑ {y}\u{2003}→ {x}"),
    };
    put!(out, "<figure class=\"fig\">{}", head(&block.title, &axes, legend.unwrap_or(&[])));
    out.push_str("<div class=\"panels\">");
    for panel in &block.panels {
        put!(out, "<div class=\"panel\"><div class=\"pt\">{}</div>", esc(&panel.title));
        out.push_str(&plot(&Plot {
            title: &panel.title,
            x_label: &block.x_label,
            y_label: &block.y_label,
            series: &panel.series,
            marks: &[],
            log_y: false,
            small: true,
        }));
        out.push_str("</div>");
    }
    out.push_str("</div></figure>");
    out
}

/// Title, legend, and what the axes are.
fn head(title: &str, axes: &str, series: &[Series]) -> String {
    let mut out = String::new();
    put!(out, "<figcaption>{}</figcaption>", esc(title));
    if series.len() > 1 {
        out.push_str("<ul class=\"legend\">");
        for (series, class) in series.iter().zip(classes(series)) {
            let dot = if series.style == LineStyle::Points { "M12 5h0" } else { "M1 5h22" };
            put!(
                out,
                "<li><svg width=\"24\" height=\"10\" aria-hidden=\"true\"><path class=\"{class}\" \
                 d=\"{dot}\"/></svg>{}</li>",
                esc(&series.name)
            );
        }
        out.push_str("</ul>");
    }
    if !axes.is_empty() {
        put!(out, "<div class=\"yl\">{}</div>", esc(axes));
    }
    out
}

/// The classes of each series' line: colours are counted without the grey ones.
fn classes(series: &[Series]) -> Vec<String> {
    let mut colour = 0;
    let of = |series: &Series| {
        let style = match series.style {
            LineStyle::Muted => return "l m".to_owned(),
            LineStyle::Solid => "",
            LineStyle::Dashed => " da",
            LineStyle::Dotted => " do",
            LineStyle::Points => " pts",
        };
        colour += 1;
        format!("l c{}{style}", (colour - 1) % 7)
    };
    series.iter().map(of).collect()
}

fn plot(spec: &Plot<'_>) -> String {
    let most = if spec.small { 240 } else { 800 };
    let drawable =
        |p: &&[f64; 2]| p[0].is_finite() && p[1].is_finite() && (!spec.log_y || p[1] > 0.0);
    let banded = |s: &Series| s.band.len() == s.points.len() && !spec.log_y;
    let kept: Vec<Vec<usize>> = spec.series.iter().map(|s| thin(&s.points, most)).collect();
    let points = || spec.series.iter().flat_map(|s| s.points.iter()).filter(drawable);
    if points().next().is_none() {
        return "<div class=\"plot none\">no data</div>".to_owned();
    }
    let bands = spec.series.iter().filter(|s| banded(s)).flat_map(|s| s.band.iter().flatten());
    let xs = points().map(|p| p[0]).chain(spec.marks.iter().map(|m| m.x));
    let ys = points().map(|p| p[1]).chain(bands.copied());
    let (x_ticks, y_ticks) = if spec.small { (3, 2) } else { (6, 5) };
    let x = linear(xs, x_ticks, false, false);
    let y = if spec.log_y { logarithmic(ys, 5) } else { linear(ys, y_ticks, true, !spec.small) };

    let widest = y.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(1);
    let (glyph, size) = if spec.small { (6.0, " small") } else { (7.0, "") };
    let gutter = (widest as f64 * glyph + 10.0).ceil();
    let mut out = String::new();
    put!(
        out,
        "<div class=\"plot{size}\" style=\"--g:{gutter}px\" data-chart=\"{}\">\
         <svg class=\"ax\" width=\"100%\" height=\"100%\" role=\"img\" aria-label=\"{}\">",
        esc(&hover_data(spec, &kept, &x, &y)),
        esc(&description(spec, &x)),
    );
    frame(&mut out, &x, &y);
    out.push_str(
        "<svg class=\"d\" width=\"100%\" height=\"100%\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\">",
    );
    let place = |px: f64, py: f64| (x.fraction(px) * 1e3, (1.0 - y.fraction(py)) * 1e3);
    let classes = classes(spec.series);
    for ((series, class), kept) in spec.series.iter().zip(&classes).zip(&kept) {
        if banded(series) {
            let edge = |side: usize| kept.iter().map(move |i| (*i, side));
            let outline: Vec<_> = edge(0)
                .chain(edge(1).rev())
                .map(|(i, side)| place(series.points[i][0], series.band[i][side]))
                .filter(|(px, py)| px.is_finite() && py.is_finite())
                .map(|(px, py)| format!("{} {}", short(px), short(py)))
                .collect();
            let colour = class.split(' ').nth(1).unwrap_or("m");
            put!(out, "<path class=\"band {colour}\" d=\"M{}z\"/>", outline.join("L"));
        }
        let mut path = String::new();
        let mut pen_down = false;
        for point in kept.iter().map(|i| &series.points[*i]) {
            if !drawable(&point) {
                pen_down = false;
                continue;
            }
            let (px, py) = place(point[0], point[1]);
            let (sign, end) = match (series.style, pen_down) {
                (LineStyle::Points, _) => ("M", "h0"),
                (_, true) => ("L", ""),
                (_, false) => ("M", ""),
            };
            put!(path, "{sign}{} {}{end}", short(px), short(py));
            pen_down = true;
        }
        put!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    out.push_str("</svg>");
    for mark in spec.marks.iter().filter(|m| m.x.is_finite()) {
        let at = x.fraction(mark.x) * 100.0;
        let (anchor, dx) = if at > 70.0 { ("end", -6) } else { ("start", 6) };
        put!(
            out,
            "<line class=\"mark\" x1=\"{0}%\" x2=\"{0}%\" y1=\"0\" y2=\"100%\"/>\
             <text class=\"mk\" x=\"{0}%\" dx=\"{dx}\" y=\"12\" text-anchor=\"{anchor}\">{1}</text>",
            short(at),
            esc(&mark.label)
        );
    }
    out.push_str("</svg></div>");
    out
}

/// Grid lines, the base line, and the ticks' texts.
fn frame(out: &mut String, x: &Axis, y: &Axis) {
    for (value, text) in &y.ticks {
        let at = short((1.0 - y.fraction(*value)) * 100.0);
        put!(
            out,
            "<line class=\"gr\" x2=\"100%\" y1=\"{at}%\" y2=\"{at}%\"/>\
             <text class=\"yt\" y=\"{at}%\" dx=\"-8\" dy=\".33em\">{text}</text>"
        );
    }
    out.push_str("<line class=\"base\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/>");
    for (value, text) in &x.ticks {
        let at = short(x.fraction(*value) * 100.0);
        put!(
            out,
            "<line class=\"base\" x1=\"{at}%\" x2=\"{at}%\" y1=\"100%\" y2=\"100%\" \
             transform=\"translate(0 4)\"/><text class=\"xt\" x=\"{at}%\" y=\"100%\" \
             dy=\"18\">{text}</text>"
        );
    }
}

/// What the script needs for the read-out under the pointer.
fn hover_data(spec: &Plot<'_>, kept: &[Vec<usize>], x: &Axis, y: &Axis) -> String {
    let series: Vec<_> = spec
        .series
        .iter()
        .zip(kept)
        .zip(classes(spec.series))
        .map(|((series, kept), class)| {
            let column = |axis: usize| -> Vec<_> {
                kept.iter().map(|i| rounded(series.points[*i][axis])).collect()
            };
            json!({"n": series.name, "c": class.split(' ').nth(1), "x": column(0), "y": column(1)})
        })
        .collect();
    json!({"x": [x.lo, x.hi], "y": [y.lo, y.hi], "log": y.log, "l": spec.x_label, "s": series})
        .to_string()
}

/// The plot in words, for who can't see it.
fn description(spec: &Plot<'_>, x: &Axis) -> String {
    let mut out = spec.title.to_owned();
    for label in [spec.y_label, spec.x_label].iter().filter(|l| !l.is_empty()) {
        put!(out, "; {label}");
    }
    put!(out, " from {} to {}", number(x.lo, None), number(x.hi, None));
    for series in spec.series {
        let mut finite = series.points.iter().filter(|p| p[1].is_finite());
        if let (Some(first), last) = (finite.next(), finite.next_back()) {
            let last = last.unwrap_or(first);
            let (from, to) = (number(first[1], None), number(last[1], None));
            put!(out, "; {} from {from} to {to}", series.name);
        }
    }
    out
}

/// Indices of at most `most` points that keep the curve's look: its ends, its gaps' edges, and the
/// lowest and highest of each stretch.
fn thin(points: &[[f64; 2]], most: usize) -> Vec<usize> {
    if points.len() <= most {
        return (0..points.len()).collect();
    }
    let stretches = most / 2;
    let mut kept = Vec::with_capacity(most + 2);
    for stretch in 0..stretches {
        let range = stretch * points.len() / stretches..(stretch + 1) * points.len() / stretches;
        let by_y = |a: &usize, b: &usize| points[*a][1].total_cmp(&points[*b][1]);
        kept.extend(range.clone().min_by(by_y));
        kept.extend(range.max_by(by_y));
    }
    kept.extend([0, points.len() - 1]);
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// A coordinate with one digit after the point, as short as it goes.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Five significant digits; what is not finite becomes null.
fn rounded(value: f64) -> Option<f64> {
    value.is_finite().then(|| format!("{value:.4e}").parse().unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_and_peaks() {
        let mut points: Vec<_> = (0..10_000).map(|i| [f64::from(i), 0.0]).collect();
        points[4321][1] = 9.0;
        points[8765][1] = -9.0;
        let kept = thin(&points, 200);
        assert!(kept.len() <= 202 && kept.is_sorted(), "{}", kept.len());
        for needed in [0, 4321, 8765, 9999] {
            assert!(kept.contains(&needed), "{needed}");
        }
    }

    #[test]
    fn grey_takes_no_colour() {
        let styles = [LineStyle::Muted, LineStyle::Solid, LineStyle::Dashed];
        let series: Vec<_> = styles.map(|s| Series::new("", Vec::new()).style(s)).to_vec();
        assert_eq!(classes(&series), ["l m", "l c0", "l c1 da"]);
    }
}
