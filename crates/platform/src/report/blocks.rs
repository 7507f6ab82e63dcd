//! Each kind of block as HTML; charts are drawn in `chart`.

use super::chart;
use super::html::{common_digits, duration, esc, inline, number, prose, put};
use super::model::{
    Block, Cell, Code, Column, Findings, Images, KeyValue, Note, Severity, Steps, Table, Tone,
    Videos,
};

/// One block.
pub(super) fn block(block: &Block) -> String {
    match block {
        Block::Text { text } => prose(text, "t"),
        Block::Note(note) => self::note(note),
        Block::Steps(steps) => self::steps(steps),
        Block::Table(table) => self::table(table),
        Block::Lines(lines) => chart::lines(lines),
        Block::Intervals(intervals) => chart::intervals(intervals),
        Block::Bars(bars) => chart::bars(bars),
        Block::SmallMultiples(panels) => chart::small_multiples(panels),
        Block::Videos(videos) => self::videos(videos),
        Block::Findings(findings) => self::findings(findings),
        Block::Code(code) => self::code(code),
        Block::Images(images) => self::images(images),
        Block::KeyValues(pairs) => {
            format!("{}{}", caption(&pairs.caption), key_values(&pairs.rows))
        }
    }
}

/// The class that colours a tone.
pub(super) fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Neutral => "neutral",
        Tone::Success => "good",
        Tone::Warning => "warn",
        Tone::Failure => "bad",
    }
}

fn caption(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p class=\"cap\">{}</p>", inline(text)) }
}

fn note(note: &Note) -> String {
    format!("<div class=\"note {}\">{}</div>", tone_class(note.tone), prose(&note.text, "t"))
}

fn steps(steps: &Steps) -> String {
    let longest = steps.rows.iter().map(|s| s.seconds).fold(f64::MIN_POSITIVE, f64::max);
    let total: f64 = steps.rows.iter().map(|s| s.seconds).sum();
    let mut out = String::from(
        "<div class=\"scroll\"><table class=\"steps\"><thead><tr><th>step</th><th>what it did</th>\
         <th class=\"n\">time</th><th class=\"w\"></th><th>result</th></tr></thead><tbody>",
    );
    for step in &steps.rows {
        let share = (step.seconds / longest * 100.0).clamp(0.0, 100.0);
        let cached = if step.cached { "<span class=\"chip neutral\">cached</span>" } else { "" };
        put!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"n\">{}</td><td class=\"w\">\
             <i style=\"width:{share:.0}%\"></i></td><td><code title=\"{}\">{}</code>{cached}</td></tr>",
            esc(&step.name),
            inline(&step.what),
            duration(step.seconds),
            esc(&step.hash),
            esc(&step.hash.chars().take(12).collect::<String>()),
        );
    }
    put!(
        out,
        "</tbody><tfoot><tr><th scope=\"row\">total</th><td></td><td class=\"n\">{}</td><td></td>\
         <td></td></tr></tfoot></table></div>",
        duration(total)
    );
    out
}

fn table(table: &Table) -> String {
    let numeric = |i: usize| {
        let mut cells = table.rows.iter().filter_map(|r| r.get(i)).peekable();
        cells.peek().is_some()
            && cells.all(|c| match c {
                Cell::Number(_) => true,
                Cell::Text(text) => text.is_empty(),
            })
    };
    let digits: Vec<_> = (0..table.columns.len())
        .map(|i| {
            let value = |row: &Vec<Cell>| match row.get(i) {
                Some(Cell::Number(value)) => Some(*value),
                _ => None,
            };
            table.columns[i].digits.or_else(|| common_digits(table.rows.iter().filter_map(value)))
        })
        .collect();
    let class = |i: usize| if numeric(i) { " class=\"n\"" } else { "" };
    let mut out = caption(&table.caption);
    out.push_str("<div class=\"scroll\"><table><thead><tr>");
    for (i, column) in table.columns.iter().enumerate() {
        put!(out, "<th{}>{}</th>", class(i), inline(&column.label));
    }
    out.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        out.push_str("<tr>");
        for (i, column) in table.columns.iter().enumerate() {
            put!(
                out,
                "<td{}>{}</td>",
                class(i),
                row.get(i).map_or_else(String::new, |c| cell(c, column, digits[i]))
            );
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn cell(cell: &Cell, column: &Column, digits: Option<usize>) -> String {
    match cell {
        Cell::Number(value) => number(*value, digits),
        Cell::Text(text) if column.code && !text.is_empty() => {
            format!("<code>{}</code>", esc(text))
        }
        Cell::Text(text) => inline(text),
    }
}

fn videos(videos: &Videos) -> String {
    let mut out = caption(&videos.caption);
    out.push_str("<div class=\"media\">");
    for video in &videos.items {
        let tone = tone_class(video.tone);
        let poster = video.poster.as_ref().filter(|p| !p.is_empty());
        let poster =
            poster.map_or_else(String::new, |p| format!(" poster=\"{}\"", p.data_url("image/png")));
        let word = match video.tone {
            Tone::Neutral => "",
            Tone::Success => "success",
            Tone::Warning => "warning",
            Tone::Failure => "failure",
        };
        let chip = if word.is_empty() {
            String::new()
        } else {
            format!("<span class=\"chip {tone}\">{word}</span>")
        };
        put!(
            out,
            "<figure class=\"clip {tone}\"><video muted loop autoplay playsinline controls \
             preload=\"auto\" aria-label=\"{0} {word}\"{poster} src=\"{1}\"></video><figcaption>\
             <b>{0}</b>{chip}<small>{2}</small></figcaption></figure>",
            esc(&video.label),
            video.mp4.data_url("video/mp4"),
            inline(&video.note),
        );
    }
    out.push_str("</div>");
    out
}

fn images(images: &Images) -> String {
    let mut out = caption(&images.caption);
    out.push_str("<div class=\"media\">");
    for image in &images.items {
        put!(
            out,
            "<figure class=\"clip neutral\"><img alt=\"{0}\" src=\"{1}\"><figcaption><b>{0}</b>\
             <small>{2}</small></figcaption></figure>",
            esc(&image.label),
            image.png.data_url("image/png"),
            inline(&image.note),
        );
    }
    out.push_str("</div>");
    out
}

fn findings(findings: &Findings) -> String {
    let mut out = caption(&findings.caption);
    if findings.rows.is_empty() {
        out.push_str("<div class=\"note good\"><p class=\"t\">Nothing was found.</p></div>");
        return out;
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"findings\"><thead><tr><th></th><th>what</th>\
         <th>where</th><th>consequence</th></tr></thead><tbody>",
    );
    for finding in &findings.rows {
        let (class, word) = match finding.severity {
            Severity::Note => ("neutral", "note"),
            Severity::Warning => ("warn", "warning"),
            Severity::Error => ("bad", "error"),
        };
        let code = match finding.code.as_str() {
            "" => String::new(),
            code => format!("<small><code>{}</code></small>", esc(code)),
        };
        put!(
            out,
            "<tr><td><span class=\"chip {class}\">{word}</span></td><td>{}{code}</td><td>{}</td>\
             <td>{}</td></tr>",
            inline(&finding.what),
            inline(&finding.place),
            inline(&finding.hint),
        );
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Something to copy; also used for the recipe.
pub(super) fn code(code: &Code) -> String {
    let mut out = caption(&code.caption);
    put!(
        out,
        "<div class=\"code\"><button type=\"button\" hidden>Copy</button>\
         <pre tabindex=\"0\"><code class=\"{}\">",
        esc(&code.language)
    );
    for (i, line) in code.text.trim_end().lines().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let bare = line.trim_start();
        let class = match code.language.as_str() {
            "toml" | "sh" if bare.starts_with('#') => "cm",
            "toml" if bare.starts_with('[') && !bare.contains('=') && bare.ends_with(']') => "hd",
            _ => "",
        };
        if class.is_empty() {
            put!(out, "{}", esc(line));
        } else {
            put!(out, "<span class=\"{class}\">{}</span>", esc(line));
        }
    }
    out.push_str("</code></pre></div>");
    out
}

/// Names and values; also used for the provenance.
pub(super) fn key_values(rows: &[KeyValue]) -> String {
    let mut out = String::from("<dl class=\"kv\">");
    for row in rows {
        let value =
            if row.code { format!("<code>{}</code>", esc(&row.value)) } else { inline(&row.value) };
        put!(out, "<div><dt>{}</dt><dd>{value}</dd></div>", esc(&row.key));
    }
    out.push_str("</dl>");
    out
}
