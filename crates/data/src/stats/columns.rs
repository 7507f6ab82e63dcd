//! Statistics of a whole dataset's table columns: exact moments and exact quantiles, each column read
//! once, in bounded memory.
//!
//! Quantiles need all values of a dimension at a time. Columns are read in groups whose values fit
//! [`BUDGET`]; a feature too large for that is read again for each group of its dimensions, so memory
//! stays bounded by the budget or by one dimension (4 or 8 bytes a frame), whichever is larger, and
//! data can be larger than memory. Episodes are decoded in parallel, a batch at a time, and joined in
//! their order: the result does not depend on the number of threads. A quantile is the linear
//! interpolation between the two order statistics around it, as NumPy's default.

use std::ops::Range;

use embody_core::{Array, ArrayData, FeatureStats, Result, Task};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::{Moments, QUANTILES};
use crate::dataset::Dataset;

/// Bytes of values held at a time.
pub(super) const BUDGET: usize = 256 << 20;
/// Rows decoded before they are joined: enough to occupy every thread, few enough to stay small.
const BATCH_ROWS: usize = 1 << 16;

/// Dimensions of a feature that are read together.
struct Piece<'a> {
    key: &'a str,
    dims: Range<usize>,
    /// Whether this is the piece that gathers the feature's moments.
    first: bool,
}

/// Statistics of the numeric table features over `episodes`, by key, in the order of the features.
pub(super) fn column_stats<'a>(
    dataset: &'a Dataset,
    episodes: &[usize],
    budget: usize,
    task: Task<'_>,
) -> Result<IndexMap<&'a str, FeatureStats>> {
    let rows: usize = episodes.iter().map(|&e| dataset.episodes()[e].length).sum();
    let mut out = IndexMap::new();
    for group in groups(dataset, rows, budget) {
        for (key, (moments, quantiles)) in read_group(dataset, episodes, &group, rows, task)? {
            let entry: &mut (Moments, Vec<[f64; 5]>) =
                out.entry(key).or_insert_with(|| (Moments::new(0), Vec::new()));
            if let Some(moments) = moments {
                entry.0 = moments;
            }
            entry.1.extend(quantiles);
        }
    }
    let finish = |(key, (moments, quantiles)): (&'a str, (Moments, Vec<[f64; 5]>))| {
        let of = |i: usize| quantiles.iter().map(|q| q[i]).collect();
        let five = [of(0), of(1), of(2), of(3), of(4)];
        (moments.count > 0).then(|| (key, moments.finish(five)))
    };
    Ok(out.into_iter().filter_map(finish).collect())
}

/// Shares the columns out into groups of pieces that fit the budget.
fn groups(dataset: &Dataset, rows: usize, budget: usize) -> Vec<Vec<Piece<'_>>> {
    let mut out: Vec<Vec<Piece<'_>>> = Vec::new();
    let mut left = 0;
    for (key, spec) in dataset.info().table_features().filter(|(_, f)| f.dtype.is_numeric()) {
        let mut from = 0;
        while from < spec.numel() {
            // 8 bytes a value: the type in the file is only known when it is read.
            let room = left / (rows * 8).max(1);
            if room == 0 || out.is_empty() {
                out.push(Vec::new());
                left = budget.max(rows * 8);
                continue;
            }
            let to = (from + room).min(spec.numel());
            left -= (to - from) * rows * 8;
            let piece = Piece { key, dims: from..to, first: from == 0 };
            if let Some(group) = out.last_mut() {
                group.push(piece);
            }
            from = to;
        }
    }
    out
}

/// The values of one dimension: as they are in the file where that is small, else as f64.
#[derive(Debug, Clone)]
enum Column {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Column {
    fn like(data: &ArrayData, rows: usize) -> Self {
        match data {
            ArrayData::F32(_) | ArrayData::U8(_) => Self::F32(Vec::with_capacity(rows)),
            _ => Self::F64(Vec::with_capacity(rows)),
        }
    }

    /// Appends dimension `d` of `array`, whose rows have `width` values.
    fn push(&mut self, array: &Array, width: usize, d: usize) {
        match (self, &array.data) {
            (Self::F32(out), ArrayData::F32(v)) => out.extend(v.iter().skip(d).step_by(width)),
            (Self::F32(out), ArrayData::U8(v)) => {
                out.extend(v.iter().skip(d).step_by(width).map(|&x| f32::from(x)));
            }
            (Self::F64(out), ArrayData::F64(v)) => out.extend(v.iter().skip(d).step_by(width)),
            (Self::F64(out), ArrayData::I64(v)) => {
                out.extend(v.iter().skip(d).step_by(width).map(|&x| x as f64));
            }
            // Files of one feature may differ in type: what is wider makes all wide.
            (column @ Self::F32(_), _) => {
                if let Self::F32(narrow) = column {
                    *column = Self::F64(narrow.iter().map(|&x| f64::from(x)).collect());
                }
                column.push(array, width, d);
            }
            (Self::F64(out), ArrayData::F32(v)) => {
                out.extend(v.iter().skip(d).step_by(width).map(|&x| f64::from(x)));
            }
            (Self::F64(out), ArrayData::U8(v)) => {
                out.extend(v.iter().skip(d).step_by(width).map(|&x| f64::from(x)));
            }
            (Self::F64(_), ArrayData::Bool(_)) => {}
        }
    }

    fn quantiles(self) -> [f64; 5] {
        match self {
            Self::F32(v) => quantiles(v, f32::total_cmp, f64::from),
            Self::F64(v) => quantiles(v, f64::total_cmp, |x| x),
        }
    }
}

/// The columns of an episode, in the order of a group, with moments where they are gathered.
type Table = Vec<(Array, Option<Moments>)>;

type Found<'a> = IndexMap<&'a str, (Option<Moments>, Vec<[f64; 5]>)>;

fn read_group<'a>(
    dataset: &Dataset,
    episodes: &[usize],
    group: &[Piece<'a>],
    rows: usize,
    task: Task<'_>,
) -> Result<Found<'a>> {
    let keys: Vec<&str> = group.iter().map(|p| p.key).collect();
    let mut moments: Vec<Option<Moments>> = group.iter().map(|_| None).collect();
    let mut columns: Vec<Vec<Column>> = group.iter().map(|_| Vec::new()).collect();
    let mut rest = episodes;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(batch_len(dataset, rest));
        rest = after;
        let tables: Result<Vec<Table>> = batch
            .par_iter()
            .map(|&episode| {
                task.cancel.check()?;
                let arrays = dataset.columns(episode, &keys)?;
                let one = |((_, array), piece): ((String, Array), &Piece<'_>)| {
                    let moments = piece.first.then(|| Moments::of_array(&array)).flatten();
                    (array, moments)
                };
                Ok(arrays.into_iter().zip(group).map(one).collect())
            })
            .collect();
        let tables = tables?;
        for (at, piece) in group.iter().enumerate() {
            for table in &tables {
                if let Some(part) = &table[at].1 {
                    moments[at].get_or_insert_with(|| Moments::new(part.mean.len())).merge(part);
                }
            }
            let Some((first, _)) = tables.first().map(|t| &t[at]) else { continue };
            if columns[at].is_empty() {
                columns[at] = piece.dims.clone().map(|_| Column::like(&first.data, rows)).collect();
            }
            columns[at].par_iter_mut().zip(piece.dims.clone()).for_each(|(column, d)| {
                for table in &tables {
                    let width = table[at].0.shape.iter().skip(1).product::<usize>().max(1);
                    column.push(&table[at].0, width, d);
                }
            });
        }
    }
    let mut out = IndexMap::new();
    for ((piece, moments), columns) in group.iter().zip(moments).zip(columns) {
        let found = columns.into_par_iter().map(Column::quantiles).collect();
        out.insert(piece.key, (moments, found));
    }
    Ok(out)
}

/// How many of the next episodes make a batch.
fn batch_len(dataset: &Dataset, episodes: &[usize]) -> usize {
    let mut rows = 0;
    let fits = episodes.iter().take_while(|&&e| {
        let before = rows;
        rows += dataset.episodes()[e].length;
        before < BATCH_ROWS
    });
    fits.count().max(1)
}

/// The five quantiles of all values; NaN of none.
fn quantiles<T: Copy>(
    mut values: Vec<T>,
    order: fn(&T, &T) -> std::cmp::Ordering,
    number: fn(T) -> f64,
) -> [f64; 5] {
    let Some(last) = values.len().checked_sub(1) else { return [f64::NAN; 5] };
    let at = QUANTILES.map(|q| q * last as f64);
    let mut ranks: Vec<usize> =
        at.iter().flat_map(|a| [a.floor() as usize, a.ceil() as usize]).collect();
    ranks.sort_unstable();
    ranks.dedup();
    place(&mut values, 0, &ranks, order);
    at.map(|a| {
        let [low, high] = [a.floor(), a.ceil()].map(|r| number(values[r as usize]));
        low + (high - low) * a.fract()
    })
}

/// Moves the values of the given ranks (counted from `from`) to their sorted places: selection by
/// halves, n log k instead of a sort's n log n.
fn place<T>(
    values: &mut [T],
    from: usize,
    ranks: &[usize],
    order: fn(&T, &T) -> std::cmp::Ordering,
) {
    let Some(&middle) = ranks.get(ranks.len() / 2) else { return };
    let (below, _, above) = values.select_nth_unstable_by(middle - from, order);
    let (low, high) = (&ranks[..ranks.len() / 2], &ranks[ranks.len() / 2 + 1..]);
    place(below, from, low, order);
    place(above, middle + 1, high, order);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{QUANTILES, quantiles};

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            values in proptest::collection::vec(-1e3f32..1e3, 1..400),
            repeats in 1usize..4,
        ) {
            let values: Vec<f32> = values.iter().flat_map(|v| vec![*v; repeats]).collect();
            let found = quantiles(values.clone(), f32::total_cmp, f64::from);
            let mut sorted = values;
            sorted.sort_by(f32::total_cmp);
            for (q, found) in QUANTILES.iter().zip(found) {
                let at = q * (sorted.len() - 1) as f64;
                let (a, b) = (f64::from(sorted[at.floor() as usize]), f64::from(sorted[at.ceil() as usize]));
                prop_assert_eq!(found, a + (b - a) * at.fract());
            }
        }
    }

    #[test]
    fn nothing_has_no_quantiles() {
        assert!(quantiles(Vec::<f64>::new(), f64::total_cmp, |x| x).iter().all(|q| q.is_nan()));
    }
}
