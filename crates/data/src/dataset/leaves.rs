//! Numbers of a (nested) list column, taken out once for all rows.
//!
//! The episode table holds ten statistics for every feature: looking each up by name, row by row,
//! would make opening a dataset of thousands of episodes slow.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type};
use arrow_array::{Array as _, ArrayRef};
use arrow_schema::DataType;

/// The innermost numbers of a column, by row.
pub(super) struct Leaves {
    values: Vec<f64>,
    /// Where each row begins in `values`, and where the last one ends.
    offsets: Vec<usize>,
}

impl Leaves {
    /// Takes the numbers out; what is empty (null) has none, and so has a column of other types.
    pub fn of(column: &ArrayRef) -> Self {
        let rows = column.len();
        match Self::even(column) {
            Some(leaves) => leaves,
            None => {
                // Something is null: row by row, leaving it out.
                let mut out = Self { values: Vec::new(), offsets: vec![0] };
                for row in 0..rows {
                    out.values.extend(leaves(&column.slice(row, 1)));
                    out.offsets.push(out.values.len());
                }
                out
            }
        }
    }

    /// Numbers of a row.
    pub fn row(&self, row: usize) -> &[f64] {
        match (self.offsets.get(row), self.offsets.get(row + 1)) {
            (Some(&from), Some(&to)) => self.values.get(from..to).unwrap_or_default(),
            _ => &[],
        }
    }

    /// By following the offsets from list to list; `None` where anything is null.
    fn even(column: &ArrayRef) -> Option<Self> {
        let mut values = Arc::clone(column);
        let mut offsets: Vec<usize> = (0..=column.len()).collect();
        loop {
            if values.null_count() > 0 {
                return None;
            }
            values = match values.data_type() {
                DataType::List(_) => {
                    let list = values.as_list::<i32>();
                    offsets.iter_mut().for_each(|o| *o = list.offsets()[*o].max(0) as usize);
                    Arc::clone(list.values())
                }
                DataType::LargeList(_) => {
                    let list = values.as_list::<i64>();
                    offsets.iter_mut().for_each(|o| *o = list.offsets()[*o].max(0) as usize);
                    Arc::clone(list.values())
                }
                DataType::FixedSizeList(_, width) => {
                    let (list, width) = (values.as_fixed_size_list(), (*width).max(0) as usize);
                    let from = list.value_offset_at(0);
                    offsets.iter_mut().for_each(|o| *o = from + *o * width);
                    Arc::clone(list.values())
                }
                _ => break,
            };
        }
        Some(Self { values: leaves(&values), offsets })
    }
}

/// Innermost numbers of (nested) lists; nulls are left out.
fn leaves(column: &ArrayRef) -> Vec<f64> {
    match column.data_type() {
        DataType::List(_) => {
            column.as_list::<i32>().iter().flatten().flat_map(|v| leaves(&v)).collect()
        }
        DataType::LargeList(_) => {
            column.as_list::<i64>().iter().flatten().flat_map(|v| leaves(&v)).collect()
        }
        DataType::FixedSizeList(..) => {
            column.as_fixed_size_list().iter().flatten().flat_map(|v| leaves(&v)).collect()
        }
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().collect(),
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().iter().flatten().map(|v| v as f64).collect()
        }
        DataType::Float32 => {
            column.as_primitive::<Float32Type>().iter().flatten().map(f64::from).collect()
        }
        DataType::Boolean => column.as_boolean().iter().flatten().map(f64::from).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{Float64Builder, ListBuilder};

    use super::*;

    #[test]
    fn rows_of_nested_lists_are_found_with_and_without_nulls() {
        for hole in [false, true] {
            let mut builder = ListBuilder::new(ListBuilder::new(Float64Builder::new()));
            for row in 0..3 {
                for part in 0..=row {
                    builder.values().values().append_value(f64::from(row * 10 + part));
                    builder.values().append(true);
                }
                builder.append(true);
            }
            builder.append(!hole);
            let column: ArrayRef = Arc::new(builder.finish());
            for column in [Arc::clone(&column), column.slice(1, 3)] {
                let skipped = 4 - column.len();
                let found = Leaves::of(&column);
                assert_eq!(found.row(1 - skipped), [10.0, 11.0]);
                assert_eq!(found.row(2 - skipped), [20.0, 21.0, 22.0]);
                assert!(found.row(3 - skipped).is_empty() && found.row(9).is_empty());
            }
        }
    }
}
