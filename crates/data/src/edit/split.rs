//! Split: several datasets out of one, each episode in at most one of them.

use std::path::Path;

use embody_core::{Result, Task, derive_seed};
use indexmap::IndexMap;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;
use serde_json::json;

use super::{Edit, EditReport, Take, begin, parse_episodes, request};
use crate::dataset::Dataset;
use crate::import::v3_info;

/// Which episodes go into a part.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// This fraction of the episodes, above 0 and at most 1.
    Fraction(f64),
    /// These episodes.
    Episodes(Vec<usize>),
    /// The episodes of a split that the source declares.
    Split(String),
}

impl Part {
    /// Name and content from text: `train=0.8`, `val=80-92,5`, `held_out` (a split of the source).
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str, total: usize) -> Result<(String, Self)> {
        let (name, part) = match text.split_once('=') {
            None => (text, Self::Split(text.to_owned())),
            Some((name, value)) if value.contains('.') => {
                let value = value.trim().parse().map_err(|_| {
                    request(format!("{value:?} is no fraction"), "write one such as 0.8")
                })?;
                (name, Self::Fraction(value))
            }
            Some((name, value)) => (name, Self::Episodes(parse_episodes(value, total)?)),
        };
        Ok((name.trim().to_owned(), part))
    }
}

/// Writes each part as a dataset `target/NAME`. Fractions are dealt in order of the episodes, or,
/// where `seed` is given, by chance; inside a part the order stays.
///
/// # Errors
/// When a name is no plain file name or given twice, a part would be empty, two parts would share an
/// episode, or as [`super::delete`]; nothing is left behind.
pub fn split(
    source: &Path,
    target: &Path,
    parts: &[(String, Part)],
    seed: Option<u64>,
    task: Task<'_>,
) -> Result<Vec<EditReport>> {
    let dataset = Dataset::open(source)?;
    let chosen = choose(&dataset, parts, seed)?;
    let staging = begin(target)?;
    let mut reports = Vec::new();
    for ((name, _), episodes) in parts.iter().zip(chosen) {
        let edit = Edit {
            sources: std::slice::from_ref(&dataset),
            info: v3_info(dataset.info()),
            takes: episodes.iter().map(|&e| Take::whole(&dataset, 0, e)).collect(),
            splits: IndexMap::new(),
            rename: None,
            operation: "split",
            parameters: json!({"part": name, "episodes": episodes}),
        };
        let mut report = edit.write(&staging.path().join(name), task)?;
        report.path = target.join(name);
        reports.push(report);
    }
    staging.commit()?;
    Ok(reports)
}

/// The episodes of each part, ascending.
fn choose(
    dataset: &Dataset,
    parts: &[(String, Part)],
    seed: Option<u64>,
) -> Result<Vec<Vec<usize>>> {
    let total = dataset.episodes().len();
    if parts.is_empty() {
        return Err(request("no part is named".to_owned(), "name at least one"));
    }
    let mut owner: Vec<Option<&str>> = vec![None; total];
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
    for (i, (name, part)) in parts.iter().enumerate() {
        let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(request(
                format!("{name:?} can't be the name of a part"),
                "use letters, digits, - and _: it becomes a folder",
            ));
        }
        if parts[..i].iter().any(|(other, _)| other == name) {
            return Err(request(format!("part {name:?} is named twice"), "name each part once"));
        }
        let episodes = match part {
            Part::Episodes(list) => list.clone(),
            Part::Split(split) => dataset.split(Some(split))?.collect(),
            Part::Fraction(f) if *f > 0.0 && *f <= 1.0 => continue,
            Part::Fraction(f) => {
                let hint = "give a fraction above 0 and at most 1";
                return Err(request(format!("part {name:?} is to hold {f} of the episodes"), hint));
            }
        };
        for &episode in &episodes {
            dataset.episode(episode)?;
            if let Some(other) = owner[episode] {
                return Err(request(
                    format!("episode {episode} is in part {other:?} and in part {name:?}"),
                    "give each episode to one part",
                ));
            }
            owner[episode] = Some(name);
        }
        chosen[i] = episodes;
    }
    deal(parts, &owner, seed, &mut chosen)?;
    for ((name, _), list) in parts.iter().zip(&mut chosen) {
        list.sort_unstable();
        if list.is_empty() {
            let why = format!("part {name:?} would hold none of the {total} episodes");
            return Err(request(why, "give it a larger fraction"));
        }
    }
    Ok(chosen)
}

/// Deals the episodes that no part has named to the parts that want a fraction of all.
fn deal(
    parts: &[(String, Part)],
    owner: &[Option<&str>],
    seed: Option<u64>,
    chosen: &mut [Vec<usize>],
) -> Result<()> {
    let total = owner.len();
    let mut free: Vec<usize> = (0..total).filter(|&e| owner[e].is_none()).collect();
    if let Some(seed) = seed {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "split", 0));
        for i in (1..free.len()).rev() {
            // 64 random bits modulo a small number: the bias is below 2^-40.
            free.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
        }
    }
    let mut sum = 0.0;
    let mut dealt = 0;
    for (i, (_, part)) in parts.iter().enumerate() {
        let Part::Fraction(fraction) = part else { continue };
        sum += fraction;
        // Ends are rounded, not sizes: fractions that make 1 leave nothing over.
        let end = (sum * total as f64).round() as usize;
        if end > free.len() {
            return Err(request(
                format!("the parts want {end} episodes by fraction, {} are free", free.len()),
                "make the fractions smaller",
            ));
        }
        chosen[i] = free[dealt..end].to_vec();
        dealt = end;
    }
    Ok(())
}
