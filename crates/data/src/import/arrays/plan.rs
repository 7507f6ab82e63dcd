//! Which column becomes which feature: the format's own proposal, changed by what the user says.
//!
//! `OLD=NEW` names the feature, `OLD=` leaves the column out, `OLD=task` makes text the
//! instruction, and several columns of one NEW are joined in the order given. Nothing is left out in
//! silence: the report names it.

use std::path::Path;

use embody_core::{DType, FeatureSpec, Features, Result, nearest_key};

use super::{Becomes, Column};
use crate::error::DataError;
use crate::finding::Finding;

/// The word that makes a text column the instruction.
const TASK: &str = "task";

/// The mapping of a recording.
#[derive(Debug)]
pub(super) struct Plan {
    pub features: Features,
    pub targets: Vec<Target>,
    /// Column with the instruction of each frame.
    pub task: Option<usize>,
    left_out: Vec<(String, &'static str)>,
}

/// A feature and the columns it is made of, with the number of values of each in a frame.
#[derive(Debug)]
pub(super) struct Target {
    pub key: String,
    pub columns: Vec<(usize, usize)>,
    asked: bool,
}

impl Plan {
    /// The mapping of `columns` of the recording at `source` under the user's `rename`.
    pub fn of(source: &Path, columns: &[Column], rename: &[(String, String)]) -> Result<Self> {
        let refuse = |why: String, hint: String| -> embody_core::Error {
            DataError::Request { why: format!("{}: {why}", source.display()), hint }.into()
        };
        for (old, _) in rename {
            if !columns.iter().any(|c| c.name == *old) {
                let near = nearest_key(old, columns.iter().map(|c| c.name.as_str()));
                let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                let hint = match near {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("it has {}", names.join(", ")),
                };
                return Err(refuse(format!("there is no column {old:?} to rename"), hint));
            }
        }
        // Columns that are named come in the order in which they are named, so that joins do too.
        let named = |c: &Column| rename.iter().position(|(old, _)| *old == c.name);
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|&c| (named(&columns[c]).is_some(), named(&columns[c]), c));
        let mut plan =
            Self { features: Features::new(), targets: Vec::new(), task: None, left_out: vec![] };
        for index in order {
            let column = &columns[index];
            let asked = named(column).map(|i| rename[i].1.as_str());
            let key = match (asked, &column.becomes) {
                (Some(""), _) => {
                    plan.left_out.push((column.name.clone(), "as asked"));
                    continue;
                }
                (_, Becomes::Refused(why)) => {
                    let why = format!("{:?} can't be imported: {why}", column.name);
                    return Err(refuse(why, format!("leave it out: --rename {}=", column.name)));
                }
                (Some(name), _) => name,
                (None, Becomes::Feature(name)) => name,
                (None, Becomes::Task) => TASK,
                (None, Becomes::Nothing(why)) => {
                    plan.left_out.push((column.name.clone(), why));
                    continue;
                }
            };
            if key == TASK {
                if column.dtype != DType::String || plan.task.is_some() {
                    let why = format!("{:?} can't be the instruction of each frame", column.name);
                    let hint = "one column of text can; give the others another name".to_owned();
                    return Err(refuse(why, hint));
                }
                plan.task = Some(index);
                continue;
            }
            plan.add(key, index, column, asked.is_some())
                .map_err(|(why, hint)| refuse(why, hint))?;
        }
        // The order of features is that of the file, not of the command line.
        plan.targets.sort_by_key(|t| t.columns.iter().map(|c| c.0).min());
        let mut features = std::mem::take(&mut plan.features);
        for target in &plan.targets {
            if let Some((key, spec)) = features.swap_remove_entry(&target.key) {
                plan.features.insert(key, spec);
            }
        }
        if plan.targets.is_empty() {
            return Err(refuse("no column is left to import".into(), "leave fewer out".into()));
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        key: &str,
        index: usize,
        column: &Column,
        asked: bool,
    ) -> Result<(), (String, String)> {
        let width = column.shape.iter().product::<usize>();
        let Some(spec) = self.features.get_mut(key) else {
            let spec = FeatureSpec::new(column.dtype, &column.shape, &[]);
            self.features.insert(key.to_owned(), spec);
            let columns = vec![(index, width)];
            self.targets.push(Target { key: key.to_owned(), columns, asked });
            return Ok(());
        };
        let name = &column.name;
        let both_asked = asked && self.targets.iter().any(|t| t.key == key && t.asked);
        if !both_asked {
            let why = format!("two columns become the feature {key:?}, one is {name:?}");
            let hint = "give one another name (--rename OLD=NEW), leave it out (--rename OLD=), or \
                        join both by naming both";
            return Err((why, hint.to_owned()));
        }
        let flat = |shape: &[usize]| shape.len() == 1;
        let alike = spec.dtype == column.dtype && flat(&spec.shape) && flat(&column.shape);
        if !alike || spec.dtype == DType::String || spec.dtype.is_visual() {
            let why = format!(
                "{name:?} ({:?} {:?}) can't be joined to {key:?} ({:?} {:?})",
                column.dtype, column.shape, spec.dtype, spec.shape
            );
            return Err((why, "vectors of one type can be joined".to_owned()));
        }
        spec.shape[0] += width;
        if let Some(target) = self.targets.iter_mut().find(|t| t.key == key) {
            target.columns.push((index, width));
        }
        Ok(())
    }

    /// The columns that are read.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.targets.iter().flat_map(|t| t.columns.iter().map(|c| c.0)).chain(self.task)
    }

    /// Bytes of a frame in memory, about.
    pub fn frame_bytes(&self) -> usize {
        let size = |f: &FeatureSpec| f.numel() * if f.dtype == DType::Video { 1 } else { 8 };
        self.features.values().map(size).sum()
    }

    /// What is left out.
    pub fn notes(&self) -> Vec<Finding> {
        let note = |(name, why): &(String, &str)| {
            Finding::note("column-left-out", format!("{name} is left out: {why}"))
        };
        self.left_out.iter().map(note).collect()
    }
}
