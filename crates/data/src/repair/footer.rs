//! A footer for a Parquet file that has none: the writer was killed, or the copy was.
//!
//! Row groups before the damage are whole; what is missing is the description of where their columns
//! lie. It is found again by walking the page headers (Thrift compact protocol, parquet.thrift's
//! `PageHeader`) in the order in which every writer puts them: row group by row group, column by
//! column, each column a dictionary page at most and then data pages until the rows of the group are
//! reached. The result is read back before it is believed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::schema::types::SchemaDescPtr;

use crate::format::{Info, TableFile, data_schema};

/// Compressions that are tried: which one was used stood in the footer.
const TRIED: [Compression; 2] = [Compression::SNAPPY, Compression::UNCOMPRESSED];

/// Bytes of an uncompressed page; writers make them of about one mebibyte.
const LARGEST_PAGE: usize = 1 << 28;

/// Writes `path` with a footer to `to`: the row groups that are whole, one per entry of `lengths`.
/// Gives the opened table and the number of row groups; or why there is nothing to save.
pub(super) fn complete(
    path: &Path,
    to: &Path,
    info: &Info,
    lengths: &[usize],
) -> Result<(TableFile, usize), String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    if bytes.get(..4) != Some(b"PAR1") {
        return Err("it does not begin as a Parquet file".to_owned());
    }
    let schema = data_schema(info);
    let described = ArrowSchemaConverter::new().convert(&schema).map_err(|e| e.to_string())?;
    let described = Arc::new(described);
    // Values of each leaf column per row.
    let widths: Vec<usize> = info.table_features().map(|(_, f)| f.numel().max(1)).collect();
    if widths.len() != described.num_columns() {
        return Err(
            "columns of pictures or lists of unknown length can't be found again".to_owned()
        );
    }
    let mut groups = Vec::new();
    let mut at = 4;
    for &rows in lengths {
        match row_group(&bytes, at, rows, &widths) {
            Some((columns, end)) => {
                groups.push((rows, columns));
                at = end;
            }
            None => break,
        }
    }
    if groups.is_empty() {
        return Err("no row group is whole".to_owned());
    }
    let mut problem = String::new();
    for compression in TRIED {
        let written = write(&bytes[..at], to, &described, &groups, compression)
            .and_then(|()| TableFile::open(to).map_err(|e| e.to_string()))
            .and_then(|table| {
                table.read(0, table.rows(), None).map_err(|e| e.to_string())?;
                Ok(table)
            });
        match written {
            Ok(table) => return Ok((table, groups.len())),
            Err(e) => problem = e,
        }
    }
    Err(problem)
}

/// Where a column chunk lies.
struct Chunk {
    dictionary: Option<usize>,
    data: usize,
    end: usize,
    uncompressed: usize,
    values: usize,
}

/// The columns of a row group of `rows` rows that begins at `at`, and its end.
fn row_group(
    bytes: &[u8],
    mut at: usize,
    rows: usize,
    widths: &[usize],
) -> Option<(Vec<Chunk>, usize)> {
    let mut out = Vec::new();
    for width in widths {
        let mut chunk = Chunk { dictionary: None, data: at, end: at, uncompressed: 0, values: 0 };
        let wanted = rows.checked_mul(*width)?;
        while chunk.values < wanted {
            let (page, header) = PageHeader::read(bytes.get(at..)?)?;
            let end = at.checked_add(header)?.checked_add(page.compressed)?;
            bytes.get(..end)?;
            chunk.uncompressed = chunk.uncompressed.checked_add(header + page.uncompressed)?;
            match page.kind {
                // A dictionary page comes first.
                2 if chunk.values == 0 && chunk.dictionary.is_none() => {
                    chunk.dictionary = Some(at);
                    chunk.data = end;
                }
                0 | 3 => chunk.values = chunk.values.checked_add(page.values)?,
                _ => return None,
            }
            at = end;
        }
        if chunk.values != wanted {
            return None;
        }
        chunk.end = at;
        out.push(chunk);
    }
    Some((out, at))
}

fn write(
    bytes: &[u8],
    to: &Path,
    schema: &SchemaDescPtr,
    groups: &[(usize, Vec<Chunk>)],
    compression: Compression,
) -> Result<(), String> {
    let fail = |e: parquet::errors::ParquetError| e.to_string();
    let mut described = Vec::new();
    for (rows, chunks) in groups {
        let mut columns = Vec::new();
        for (chunk, column) in chunks.iter().zip(schema.columns()) {
            let start = chunk.dictionary.unwrap_or(chunk.data);
            let built = ColumnChunkMetaData::builder(Arc::clone(column))
                .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
                .set_compression(compression)
                .set_num_values(chunk.values as i64)
                .set_total_compressed_size((chunk.end - start) as i64)
                .set_total_uncompressed_size(chunk.uncompressed as i64)
                .set_data_page_offset(chunk.data as i64)
                .set_dictionary_page_offset(chunk.dictionary.map(|at| at as i64));
            columns.push(built.build().map_err(fail)?);
        }
        let size = chunks.iter().map(|c| c.uncompressed as i64).sum();
        let group = RowGroupMetaData::builder(Arc::clone(schema))
            .set_num_rows(*rows as i64)
            .set_total_byte_size(size)
            .set_column_metadata(columns);
        described.push(group.build().map_err(fail)?);
    }
    let rows = groups.iter().map(|g| g.0 as i64).sum();
    let file = FileMetaData::new(1, rows, None, None, Arc::clone(schema), None);
    let metadata = ParquetMetaData::new(file, described);
    let mut out = bytes.to_vec();
    let mut footer = Vec::new();
    ParquetMetaDataWriter::new(&mut footer, &metadata).finish().map_err(fail)?;
    out.extend(footer);
    fs::write(to, out).map_err(|e| e.to_string())
}

/// The part of a page header that says where the next one is.
#[derive(Default)]
struct PageHeader {
    /// 0 data, 2 dictionary, 3 data of version 2.
    kind: i64,
    uncompressed: usize,
    compressed: usize,
    values: usize,
}

impl PageHeader {
    /// The header at the beginning of `bytes`, and its length.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut thrift = Thrift { bytes, at: 0 };
        let mut page = Self { kind: -1, ..Self::default() };
        let mut last = 0;
        while let Some((id, kind)) = thrift.field(&mut last)? {
            match (id, kind) {
                (1, 5) => page.kind = thrift.integer()?,
                (2, 5) => page.uncompressed = usize::try_from(thrift.integer()?).ok()?,
                (3, 5) => page.compressed = usize::try_from(thrift.integer()?).ok()?,
                // The header of this kind of page: its first field counts the values.
                (5 | 7 | 8, 12) => {
                    let mut inner = 0;
                    while let Some((id, kind)) = thrift.field(&mut inner)? {
                        match (id, kind) {
                            (1, 5) => page.values = usize::try_from(thrift.integer()?).ok()?,
                            _ => thrift.skip(kind, 0)?,
                        }
                    }
                }
                _ => thrift.skip(kind, 0)?,
            }
        }
        let sound = (0..=3).contains(&page.kind) && page.values > 0;
        (sound && page.uncompressed <= LARGEST_PAGE).then_some((page, thrift.at))
    }
}

/// The Thrift compact protocol, as far as page headers use it.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Number and type of the next field; `Some(None)` at the end of the structure.
    #[allow(clippy::option_option, reason = "the outer one is damage, the inner one the end")]
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *last = match head >> 4 {
            0 => self.integer()?,
            delta => last.checked_add(i64::from(delta))?,
        };
        Some(Some((*last, head & 0x0f)))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > 8 {
            return None;
        }
        match kind {
            1 | 2 => {}
            3 => self.at = self.at.checked_add(1)?,
            4..=6 => drop(self.unsigned()?),
            7 => self.at = self.at.checked_add(8)?,
            8 => {
                let length = usize::try_from(self.unsigned()?).ok()?;
                self.at = self.at.checked_add(length)?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.unsigned()?,
                    n => n.into(),
                };
                for _ in 0..count {
                    self.bytes.get(self.at)?;
                    // Booleans take a byte each in lists.
                    match head & 0x0f {
                        1 | 2 => drop(self.byte()?),
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }
}
