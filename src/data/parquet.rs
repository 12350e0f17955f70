//! Parquet tables in the Hugging Face layout: an image column, either a struct `{bytes, path}` or plain binary, and
//! a label column of integers or names. Rows keep their order, file after file.
//!
//! Memory: labels are read when the table is opened. The encoded images are read a row group at a time on first
//! use and kept as long as all of them together fit in 1 GiB (uncompressed); a larger table is never held: each
//! image is read from its own page, at the cost of that page's decompression.

use super::{
    decode::decode,
    error::DataError,
    folder::sorted,
    source::{Dataset, RgbImage},
};
use ::parquet::{
    basic::Type as Physical,
    column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader},
    data_type::{ByteArray, ByteArrayType, DataType},
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataReader},
        serialized_reader::SerializedPageReader,
    },
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// Encoded images are kept in memory when all of them together take no more than this.
const KEPT: i64 = 1 << 30;
/// A file up to this size is hashed whole for the fingerprint.
const HASHED: u64 = 64 << 20;

/// Which columns hold what.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    pub image: &'a str,
    /// None: the rows are unlabelled
    pub label: Option<&'a str>,
}

/// Images in the rows of one or more parquet files.
pub struct Parquet {
    tables: Vec<Table>,
    groups: Vec<Group>,
    rows: usize,
    /// one per row; empty when unlabelled
    labels: Vec<u32>,
    classes: Vec<String>,
    keep: bool,
}

struct Table {
    path: PathBuf,
    meta: ParquetMetaData,
    image: usize,
    label: Option<usize>,
}

/// One row group: where it lies and, once it was asked for, its encoded images.
struct Group {
    table: usize,
    group: usize,
    /// index in the data set of its first row
    first: usize,
    /// row in its file of its first row, for names
    row_in_file: usize,
    images: OnceLock<Result<Vec<Option<ByteArray>>, String>>,
}

/// The labels of a column as they are stored.
enum Labels {
    Numbers(Vec<i64>),
    Names(Vec<String>),
}

impl Parquet {
    /// Opens the files in the given order. `classes`, from the training split, fixes the numbering of label names.
    ///
    /// Errors: a missing or broken file, a column that is not there or of another type (naming those that are), a
    /// null or negative label, no rows at all.
    pub fn open(paths: &[PathBuf], columns: Columns, classes: Option<&[String]>) -> Result<Self, DataError> {
        let tables = paths.iter().map(|path| Table::open(path, columns)).collect::<Result<Vec<_>, _>>()?;
        let (groups, rows) = layout(&tables);
        if rows == 0 {
            let path = paths.first().cloned().unwrap_or_default();
            return Err(DataError::Empty { path, expected: "rows with an image each".into() });
        }
        let mut set = Self { tables, groups, rows, labels: Vec::new(), classes: Vec::new(), keep: false };
        if columns.label.is_some() {
            set.read_labels(columns, classes)?;
        }
        Ok(set.keep_up_to(KEPT))
    }

    /// Keeps encoded images only if all of them together take no more than `bytes` (default 1 GiB).
    pub fn keep_up_to(mut self, bytes: i64) -> Self {
        self.keep = self.tables.iter().map(Table::image_bytes).sum::<i64>() <= bytes;
        self
    }

    fn read_labels(&mut self, columns: Columns, known: Option<&[String]>) -> Result<(), DataError> {
        let mut numbers = Vec::new();
        let mut names = Vec::new();
        for table in &self.tables {
            match table.labels()? {
                Labels::Numbers(more) => numbers.extend(more),
                Labels::Names(more) => names.extend(more),
            }
        }
        if names.len() == self.rows {
            self.number(&names, known)
        } else if numbers.len() == self.rows {
            self.classes = self.class_names(columns, &numbers, known);
            self.labels = numbers.iter().map(|&n| n as u32).collect();
            Ok(())
        } else {
            Err(self.tables[0].fault("some files hold labels as numbers, others as names".into()))
        }
    }

    fn number(&mut self, names: &[String], known: Option<&[String]>) -> Result<(), DataError> {
        self.classes = known.map_or_else(|| sorted(names), <[String]>::to_vec);
        for name in names {
            let label = self.classes.binary_search(name).map_err(|_| DataError::UnknownClass {
                path: self.tables[0].path.clone(),
                class: name.clone(),
                known: self.classes.len(),
            })?;
            self.labels.push(label as u32);
        }
        Ok(())
    }

    /// From the Hugging Face description in the file, else `0`, `1`, … up to the largest label of either split.
    fn class_names(&self, columns: Columns, numbers: &[i64], known: Option<&[String]>) -> Vec<String> {
        let largest = numbers.iter().max().map_or(0, |&n| n as usize + 1);
        let described = columns.label.and_then(|label| self.tables[0].described_classes(label));
        let names =
            described.or_else(|| known.map(<[String]>::to_vec)).filter(|names| names.len() >= largest);
        names.unwrap_or_else(|| (0..largest).map(|n| n.to_string()).collect())
    }

    fn group_of(&self, index: usize) -> &Group {
        &self.groups[self.groups.partition_point(|group| group.first <= index) - 1]
    }

    fn bytes(&self, index: usize) -> Result<Option<ByteArray>, String> {
        let group = self.group_of(index);
        let table = &self.tables[group.table];
        let row = index - group.first;
        if !self.keep {
            return table.one_image(group.group, row).map_err(|e| e.to_string());
        }
        let images = group.images.get_or_init(|| table.images(group.group).map_err(|e| e.to_string()));
        images.as_ref().map(|images| images.get(row).cloned().flatten()).map_err(Clone::clone)
    }
}

/// The row groups of all tables in order, and the number of rows.
fn layout(tables: &[Table]) -> (Vec<Group>, usize) {
    let mut groups = Vec::new();
    let mut first = 0;
    for (table, t) in tables.iter().enumerate() {
        let start = first;
        for (group, meta) in t.meta.row_groups().iter().enumerate() {
            groups.push(Group { table, group, first, row_in_file: first - start, images: OnceLock::new() });
            first += meta.num_rows().max(0) as usize;
        }
    }
    (groups, first)
}

impl Table {
    fn open(path: &Path, columns: Columns) -> Result<Self, DataError> {
        if !path.is_file() {
            return Err(DataError::Missing { path: path.into(), expected: "a parquet file".into() });
        }
        let fault = |reason: String| DataError::Table { path: path.into(), reason };
        let file = File::open(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        let meta = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|e| {
            fault(format!(
                "not a readable parquet file ({e}); if it was downloaded, delete it and fetch it again"
            ))
        })?;
        let image = find(&meta, &[&[columns.image, "bytes"], &[columns.image]], &[Physical::BYTE_ARRAY])
            .map_err(|has| fault(format!("no column `{}` of encoded images; it has {has}", columns.image)))?;
        let kinds = [Physical::INT32, Physical::INT64, Physical::BYTE_ARRAY];
        let label = columns.label.map(|label| {
            find(&meta, &[&[label]], &kinds).map_err(|has| {
                fault(format!(
                    "no column `{label}` of numbers or names; it has {has}. Name the right one, or write \
                     `label: null` for unlabelled images"
                ))
            })
        });
        Ok(Self { path: path.into(), image, label: label.transpose()?, meta })
    }

    fn fault(&self, reason: String) -> DataError {
        DataError::Table { path: self.path.clone(), reason }
    }

    fn image_bytes(&self) -> i64 {
        self.meta.row_groups().iter().map(|group| group.column(self.image).uncompressed_size()).sum()
    }

    fn group_rows(&self, group: usize) -> usize {
        self.meta.row_group(group).num_rows().max(0) as usize
    }

    /// A reader at the first value of a column in a row group. It opens the file anew: readers of one handle would
    /// share its cursor, and threads would read each other's bytes.
    fn column(&self, group: usize, column: usize) -> ParquetResult<ColumnReader> {
        let chunk = self.meta.row_group(group).column(column);
        let file = Arc::new(File::open(&self.path)?);
        let pages = SerializedPageReader::new(file, chunk, self.group_rows(group), None)?;
        Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
    }

    fn image_column(&self, group: usize) -> ParquetResult<ColumnReaderImpl<ByteArrayType>> {
        match self.column(group, self.image)? {
            ColumnReader::ByteArrayColumnReader(column) => Ok(column),
            _ => Err(ParquetError::General("the image column is not binary".into())),
        }
    }

    /// Every encoded image of a row group, None where the table holds null. They share the memory of their pages.
    fn images(&self, group: usize) -> ParquetResult<Vec<Option<ByteArray>>> {
        read(&mut self.image_column(group)?, self.group_rows(group))
    }

    /// One encoded image, skipping the pages before its own.
    fn one_image(&self, group: usize, row: usize) -> ParquetResult<Option<ByteArray>> {
        let mut column = self.image_column(group)?;
        column.skip_records(row)?;
        Ok(read(&mut column, 1)?.pop().flatten())
    }

    fn labels(&self) -> Result<Labels, DataError> {
        let Some(column) = self.label else { return Ok(Labels::Numbers(Vec::new())) };
        let mut numbers = Vec::new();
        let mut names = Vec::new();
        for group in 0..self.meta.num_row_groups() {
            self.group_labels(group, column, &mut numbers, &mut names)
                .map_err(|e| self.fault(format!("the labels cannot be read: {e}")))?;
        }
        if let Some(row) = numbers.iter().position(|&n| n < 0 || n > i64::from(u32::MAX)) {
            let n = numbers[row];
            return Err(self.fault(format!(
                "label {n} in row {row} is not a class number; write `label: null` if the rows are unlabelled"
            )));
        }
        Ok(if names.is_empty() { Labels::Numbers(numbers) } else { Labels::Names(names) })
    }

    fn group_labels(
        &self,
        group: usize,
        column: usize,
        numbers: &mut Vec<i64>,
        names: &mut Vec<String>,
    ) -> ParquetResult<()> {
        let rows = self.group_rows(group);
        let null = || ParquetError::General(format!("null in row group {group}"));
        match self.column(group, column)? {
            ColumnReader::Int64ColumnReader(mut c) => {
                for value in read(&mut c, rows)? {
                    numbers.push(value.ok_or_else(null)?);
                }
            }
            ColumnReader::Int32ColumnReader(mut c) => {
                for value in read(&mut c, rows)? {
                    numbers.push(value.ok_or_else(null)?.into());
                }
            }
            ColumnReader::ByteArrayColumnReader(mut c) => {
                for value in read(&mut c, rows)? {
                    names.push(value.ok_or_else(null)?.as_utf8()?.to_owned());
                }
            }
            _ => return Err(ParquetError::General("neither numbers nor names".into())),
        }
        Ok(())
    }

    /// Class names from the `huggingface` entry that the `datasets` library leaves in the file.
    fn described_classes(&self, label: &str) -> Option<Vec<String>> {
        let entries = self.meta.file_metadata().key_value_metadata()?;
        let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let names = json.pointer("/info/features")?.get(label)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

/// The number of the first column with one of these paths and types; else the names of those that are there.
fn find(meta: &ParquetMetaData, paths: &[&[&str]], kinds: &[Physical]) -> Result<usize, String> {
    let schema = meta.file_metadata().schema_descr();
    let columns = schema.columns();
    let fits = |path: &[&str]| {
        columns.iter().position(|column| {
            column.path().parts() == path
                && column.max_rep_level() == 0
                && kinds.contains(&column.physical_type())
        })
    };
    paths.iter().find_map(|path| fits(path)).ok_or_else(|| {
        columns
            .iter()
            .map(|c| format!("`{}` ({})", c.path().string(), c.physical_type()))
            .collect::<Vec<_>>()
            .join(", ")
    })
}

/// The next `rows` values of an unrepeated column, None for null.
fn read<T: DataType>(column: &mut ColumnReaderImpl<T>, rows: usize) -> ParquetResult<Vec<Option<T::T>>> {
    let mut levels = Vec::new();
    let mut values = Vec::new();
    let (records, found, _) = column.read_records(rows, Some(&mut levels), None, &mut values)?;
    if records != rows {
        return Err(ParquetError::General(format!("{records} rows where {rows} were announced")));
    }
    if found == rows {
        return Ok(values.into_iter().map(Some).collect());
    }
    let present = levels.iter().copied().max().filter(|_| found > 0);
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if Some(level) == present { values.next() } else { None }).collect())
}

impl Dataset for Parquet {
    fn len(&self) -> usize {
        self.rows
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }
    fn name(&self, index: usize) -> String {
        let group = self.group_of(index);
        let row = group.row_in_file + index - group.first;
        format!("{} row {row}", self.tables[group.table].path.display())
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let fault = |reason: String| DataError::Image { name: self.name(index), reason };
        let bytes =
            self.bytes(index).map_err(fault)?.ok_or_else(|| fault("the row holds no image".into()))?;
        decode(bytes.data()).map_err(|e| fault(e.to_string()))
    }
    /// Over file sizes, row counts, labels and class names, and the bytes of files up to 64 MiB.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("parquet {} {}\n", self.rows, self.classes.join("\n")));
        for table in &self.tables {
            let size = std::fs::metadata(&table.path).map_or(0, |m| m.len());
            hash.update(format!("{size} {}\n", table.meta.file_metadata().num_rows()));
            if size <= HASHED {
                hash.update(std::fs::read(&table.path).unwrap_or_default());
            }
        }
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        format!("{:x}", hash.finalize())
    }
}
