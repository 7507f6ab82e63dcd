//! The page around the blocks: head, headline, table of contents, sections, provenance.

use embody_core::hash_bytes;

use super::blocks::{block, code, key_values, tone_class};
use super::html::{esc, inline, minify, prose, put};
use super::model::{Code, Headline, Report};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let body = body(report);
    // The policy lets only the script with this number run. It follows from the content, so what
    // was put into the content can't name it.
    let hash = hash_bytes(body.as_bytes());
    let nonce = hash.short();
    let mut out = String::with_capacity(body.len() + 16_384);
    put!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         media-src data:; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; base-uri 'none'; \
         form-action 'none'\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title><style>{}</style></head>",
        esc(&report.title),
        minify(STYLE),
    );
    out.push_str(&body);
    put!(out, "<script nonce=\"{nonce}\">{}</script></body></html>\n", minify(SCRIPT));
    out
}

fn body(report: &Report) -> String {
    let again = &report.provenance;
    let has_again =
        !(again.command.is_empty() && again.recipe.is_empty() && again.entries.is_empty());
    let last = has_again.then_some("Do it again");
    let titles: Vec<_> = report.sections.iter().map(|s| s.title.as_str()).chain(last).collect();
    let ids: Vec<_> = titles.iter().enumerate().map(|(i, title)| anchor(i, title)).collect();

    let mut out = String::from("<body><div class=\"page\"><nav aria-label=\"Contents\"><ol>");
    for (id, title) in ids.iter().zip(&titles) {
        put!(out, "<li><a href=\"#{id}\">{}</a></li>", esc(title));
    }
    put!(out, "</ol></nav><main><header><h1>{}</h1>", esc(&report.title));
    if !report.subtitle.is_empty() {
        put!(out, "<p class=\"sub\">{}</p>", inline(&report.subtitle));
    }
    put!(out, "{}</header>", prose(&report.summary, "lead"));
    if !report.headline.is_empty() {
        let columns = match report.headline.len() {
            few @ 1..=4 => few,
            5 | 6 | 9 => 3,
            _ => 4,
        };
        put!(out, "<div class=\"cards\" style=\"--n:{columns}\">");
        report.headline.iter().for_each(|h| card(&mut out, h));
        out.push_str("</div>");
    }
    for (section, id) in report.sections.iter().zip(&ids) {
        put!(out, "<section id=\"{id}\"><h2>{}</h2>", esc(&section.title));
        out.push_str(&prose(&section.intro, "t"));
        section.blocks.iter().for_each(|b| out.push_str(&block(b)));
        out.push_str("</section>");
    }
    if let (Some(title), Some(id)) = (last, ids.last()) {
        put!(out, "<section id=\"{id}\"><h2>{title}</h2>");
        for (caption, language, text) in [
            ("The command", "sh", &again.command),
            ("The recipe, with every default written out", "toml", &again.recipe),
        ] {
            if !text.is_empty() {
                out.push_str(&code(&Code {
                    caption: caption.to_owned(),
                    language: language.to_owned(),
                    text: text.clone(),
                }));
            }
        }
        if !again.entries.is_empty() {
            out.push_str(&key_values(&again.entries));
        }
        out.push_str("</section>");
    }
    out.push_str("</main></div>");
    out
}

fn card(out: &mut String, headline: &Headline) {
    put!(
        out,
        "<div class=\"card {}\"><div class=\"k\">{}</div><div class=\"v\">{}</div>\
         <div class=\"d\">{}</div></div>",
        tone_class(headline.tone),
        esc(&headline.label),
        esc(&headline.value),
        inline(&headline.detail),
    );
}

/// A name for links into the page: letters and digits of the title, unique by number.
fn anchor(index: usize, title: &str) -> String {
    let words: Vec<_> = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    format!("s{}-{}", index + 1, words.join("-"))
}
