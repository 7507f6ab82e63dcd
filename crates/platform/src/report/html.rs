//! Writing HTML by hand, safely: what comes from outside goes through [`esc`], numbers through
//! [`number`].

use std::fmt;

/// Appends formatted text to a `String`.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { $out.push_str(&format!($($arg)*)) };
}
pub(super) use put;

/// Text that displays itself escaped, fit for an element's content and for a quoted attribute.
pub(super) struct Esc<'a>(&'a str);

/// Escapes `text`.
pub(super) fn esc(text: &str) -> Esc<'_> {
    Esc(text)
}

impl fmt::Display for Esc<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// Running text: an empty line starts a paragraph, backticks mark code. Nothing for empty text.
pub(super) fn prose(text: &str, class: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
        put!(out, "<p class=\"{class}\">{}</p>", inline(paragraph));
    }
    out
}

/// One line of running text: backticks mark code; an unpaired one stands for itself. A per cent
/// sign stays on the line of its number.
pub(super) fn inline(text: &str) -> String {
    let mut out = String::new();
    let text = text.replace(" %", "\u{a0}%");
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, tail)) = after.split_once('`') else { break };
        put!(out, "{}<code>{}</code>", esc(before), esc(code));
        rest = tail;
    }
    put!(out, "{}", esc(rest));
    out
}

/// A number for people: four significant digits unless `digits` are asked for, commas between
/// thousands, a true minus, `–` for what is not finite.
pub(super) fn number(value: f64, digits: Option<usize>) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let plain = match digits {
        Some(digits) => format!("{size:.digits$}"),
        None if size != 0.0 && !(1e-4..1e15).contains(&size) => format!("{size:.3e}"),
        None if size >= 1000.0 || size.fract() == 0.0 => format!("{size:.0}"),
        None => {
            let before = if size >= 1.0 { size.log10() as i32 + 1 } else { size.log10() as i32 };
            let digits = usize::try_from(4 - before).unwrap_or(0);
            let text = format!("{size:.digits$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    let (whole, fraction) = plain.split_at(plain.find(['.', 'e']).unwrap_or(plain.len()));
    let mut out = String::new();
    if value < 0.0 && plain.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// The digits after the point that show every one of `values` as [`number`] would, at most four;
/// `None` where they are all whole or need exponents.
pub(super) fn common_digits(values: impl Iterator<Item = f64>) -> Option<usize> {
    let texts: Vec<_> = values.filter(|v| v.is_finite()).map(|v| number(v, None)).collect();
    let digits = |text: &String| text.split_once('.').map(|(_, fraction)| fraction.len());
    let most = texts.iter().filter_map(digits).max()?;
    (!texts.iter().any(|text| text.contains('e'))).then_some(most.min(4))
}

/// A duration for people.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 0.0995 {
        format!("{} ms", number(seconds * 1e3, Some(if seconds < 0.00995 { 1 } else { 0 })))
    } else if seconds < 99.95 {
        format!("{} s", number(seconds, Some(1)))
    } else {
        let whole = seconds.round() as u64;
        let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
        if hours > 0 {
            format!("{hours} h {minutes:02} min")
        } else {
            format!("{minutes} min {rest:02} s")
        }
    }
}

/// Takes comments, line breaks and indentation out of our own style sheet and script. Both are
/// written so that this is safe: every statement ends in its sign, comments have lines of their own.
pub(super) fn minify(source: &str) -> String {
    source
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("/*") && !line.starts_with("//"))
        .collect()
}
