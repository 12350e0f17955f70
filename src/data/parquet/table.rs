//! One parquet file: its validated footer and the values of its columns.
//!
//! The parquet crate panics on some damaged files; every call to it goes through [`guarded`].

use super::pages::Pages;
use crate::{
    data::{
        error::DataError,
        labels::{Labels, MAX_LABEL},
        source::LABEL_COLUMN,
    },
    guarded,
    text::excerpt,
};
use ::parquet::{
    basic::{ConvertedType, LogicalType, Type as Physical},
    column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader},
    data_type::{ByteArray, DataType},
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ParquetMetaData, ParquetMetaDataReader},
        serialized_reader::SerializedPageReader,
    },
    schema::types::ColumnDescriptor,
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Names of the image and label columns.
#[derive(Clone, Copy, Debug)]
pub struct ColumnNames<'a> {
    pub image: &'a str,
    /// None: the rows are unlabeled. The default, `label`, may be missing; an explicit name may not.
    pub label: Option<&'a str>,
}

/// One open file.
pub(super) struct ParquetFile {
    path: PathBuf,
    meta: ParquetMetaData,
    /// Column of encoded images.
    image: Option<usize>,
    /// Column of paths to images.
    paths: Option<usize>,
    label: LabelColumn,
}

/// The label column.
enum LabelColumn {
    /// Not requested.
    Unasked,
    At(usize),
    /// Unusable, with the reason.
    Unusable(String),
}

/// The stored values of a label column, None for null.
enum Stored {
    Numbers(Vec<Option<i64>>),
    Names(Vec<Option<String>>),
}

/// Calls `read` and converts its panics to errors.
fn guarded<T>(read: impl FnOnce() -> ParquetResult<T>) -> Result<T, String> {
    match guarded::call(read) {
        Ok(result) => result.map_err(|error| excerpt(&error.to_string())),
        Err(panicked) => Err(panicked.to_string()),
    }
}

impl ParquetFile {
    /// Reads the footer and finds the columns.
    pub fn open(path: &Path, columns: ColumnNames) -> Result<Self, DataError> {
        if !path.is_file() {
            return Err(DataError::Missing { path: path.into(), expected: "a parquet file".into() });
        }
        let fault = |reason: String| DataError::Table { path: path.into(), reason };
        let file = File::open(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        let meta = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&file)).map_err(|e| {
            fault(format!(
                "not a readable parquet file ({e}); if it was downloaded, delete it and fetch it again"
            ))
        })?;
        let (image, paths) = image_columns(&meta, columns.image)
            .map_err(|has| fault(format!("no column `{}` of encoded images; it has {has}", columns.image)))?;
        let label = label_column(&meta, columns.label).map_err(fault)?;
        let table = Self { path: path.into(), meta, image, paths, label };
        table.check(file.metadata().map_or(0, |meta| meta.len())).map_err(fault)?;
        Ok(table)
    }

    /// Checks the footer's counts for consistency with a file of `bytes`.
    fn check(&self, bytes: u64) -> Result<(), String> {
        let schema = self.meta.file_metadata().schema_descr().num_columns();
        let mut rows: i64 = 0;
        for group in self.meta.row_groups() {
            let used = [self.image, self.paths, self.label.at()].into_iter().flatten();
            let whole = group.num_columns() == schema
                && used.map(|i| group.column(i)).all(|column| column.num_values() == group.num_rows());
            if !whole || group.num_rows() < 0 {
                return Err("its footer contradicts itself about rows and columns; it is damaged".into());
            }
            rows = rows.saturating_add(group.num_rows());
        }
        if rows != self.rows() || rows.unsigned_abs() > bytes {
            return Err(format!(
                "its footer says {} rows, its parts {rows}, in {bytes} bytes; it is damaged",
                self.rows()
            ));
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Column of encoded images.
    pub fn image(&self) -> Option<usize> {
        self.image
    }

    /// Column of paths to images.
    pub fn path_column(&self) -> Option<usize> {
        self.paths
    }

    pub fn rows(&self) -> i64 {
        self.meta.file_metadata().num_rows()
    }

    pub fn groups(&self) -> usize {
        self.meta.num_row_groups()
    }

    pub fn group_rows(&self, group: usize) -> usize {
        self.meta.row_group(group).num_rows().max(0) as usize
    }

    /// Whether some rows of a group hold no image.
    pub fn has_empty_rows(&self, group: usize) -> bool {
        let nulls = |column| self.meta.row_group(group).column(column).statistics()?.null_count_opt();
        self.image.is_none_or(|column| nulls(column).is_some_and(|count| count > 0))
    }

    /// Uncompressed.
    pub fn image_bytes(&self) -> i64 {
        let sizes =
            |column| self.meta.row_groups().iter().map(move |g| g.column(column).uncompressed_size().max(0));
        self.image.map_or(0, |column| sizes(column).fold(0, i64::saturating_add))
    }

    /// Resolves a row's path.
    pub fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Reads the file that a row refers to.
    pub fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let file = self.beside(path);
        std::fs::read(&file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "the row holds the path `{}`, not the picture, and {} is not there; put it there, or write the table \
                 with the pictures in it",
                excerpt(path),
                file.display()
            ),
            _ => format!("{}, which the row names, cannot be read: {error}", file.display()),
        })
    }

    /// A reader at the first value of a column in a row group. Each reader opens the file: readers of one handle
    /// would share its cursor across threads.
    fn column(&self, group: usize, column: usize) -> ParquetResult<ColumnReader> {
        let chunk = self.meta.row_group(group).column(column);
        let file = Arc::new(File::open(&self.path)?);
        let pages = SerializedPageReader::new(file, chunk, self.group_rows(group), None)?;
        Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(Pages::new(pages, chunk))))
    }

    /// Every value of a binary column in a row group, None for null. Values share the memory of their pages.
    pub fn values(&self, group: usize, column: usize) -> Result<Vec<Option<ByteArray>>, String> {
        guarded(|| match self.column(group, column)? {
            ColumnReader::ByteArrayColumnReader(mut column) => read(&mut column, self.group_rows(group)),
            _ => Err(ParquetError::General("the column is not binary".into())),
        })
    }

    /// One value, skipping the pages before its own.
    pub fn value(&self, group: usize, column: usize, row: usize) -> Result<Option<ByteArray>, String> {
        guarded(|| match self.column(group, column)? {
            ColumnReader::ByteArrayColumnReader(mut column) => {
                column.skip_records(row)?;
                Ok(read(&mut column, 1)?.pop().flatten())
            }
            _ => Err(ParquetError::General("the column is not binary".into())),
        })
    }

    /// The labels in column `label`: a number or a name per row, with class names from the file's metadata. Unusable
    /// labels give an unlabeled set with a reason.
    ///
    /// # Errors
    /// A damaged column.
    pub fn labels(&self, label: &str) -> Result<Labels, DataError> {
        let reason = |reason: String| format!("{}: {reason}", self.path.display());
        let column = match &self.label {
            LabelColumn::At(column) => *column,
            LabelColumn::Unusable(why) if self.rows() > 0 => return Ok(Labels::missing(reason(why.clone()))),
            _ => return Ok(Labels::default()),
        };
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for group in 0..self.groups() {
            let stored = guarded(|| self.stored(group, column)).map_err(|e| DataError::Table {
                path: self.path.clone(),
                reason: format!("the labels cannot be read: {e}"),
            })?;
            match stored {
                Stored::Numbers(more) => numbers.extend(more),
                Stored::Names(more) => names.extend(more),
            }
        }
        let labels = if names.is_empty() { self.numbered(numbers, label) } else { self.named(names) };
        Ok(labels.unwrap_or_else(|why| Labels::missing(reason(why))))
    }

    fn named(&self, names: Vec<Option<String>>) -> Result<Labels, String> {
        Ok(Labels::named(&self.path, &whole(names)?))
    }

    fn numbered(&self, numbers: Vec<Option<i64>>, label: &str) -> Result<Labels, String> {
        let classes = self.described_classes(label);
        let numbers = class_numbers(&whole(numbers)?, classes.as_deref())?;
        Ok(match classes {
            Some(classes) => Labels::listed(&self.path, numbers, classes),
            None => Labels::numbered(&self.path, numbers),
        })
    }

    fn stored(&self, group: usize, column: usize) -> ParquetResult<Stored> {
        let rows = self.group_rows(group);
        Ok(match self.column(group, column)? {
            ColumnReader::Int64ColumnReader(mut c) => Stored::Numbers(read(&mut c, rows)?),
            ColumnReader::Int32ColumnReader(mut c) => Stored::Numbers(numbers(read(&mut c, rows)?)),
            ColumnReader::BoolColumnReader(mut c) => Stored::Numbers(numbers(read(&mut c, rows)?)),
            ColumnReader::ByteArrayColumnReader(mut c) => {
                let text = |value: ByteArray| value.as_utf8().map(str::to_owned);
                let values = read(&mut c, rows)?.into_iter();
                Stored::Names(values.map(|value| value.map(text).transpose()).collect::<ParquetResult<_>>()?)
            }
            _ => return Err(ParquetError::General("neither numbers nor names".into())),
        })
    }

    /// Class names from the `huggingface` metadata entry that the `datasets` library writes.
    fn described_classes(&self, label: &str) -> Option<Vec<String>> {
        let entries = self.meta.file_metadata().key_value_metadata()?;
        let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let names = json.pointer("/info/features")?.get(label)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

fn numbers<T: Into<i64>>(values: Vec<Option<T>>) -> Vec<Option<i64>> {
    values.into_iter().map(|value| value.map(Into::into)).collect()
}

/// Requires a label in every row. Errors: the first row without one.
fn whole<T>(labels: Vec<Option<T>>) -> Result<Vec<T>, String> {
    let (rows, missing) = (labels.len(), labels.iter().filter(|label| label.is_none()).count());
    if let Some(row) = labels.iter().position(Option::is_none) {
        return Err(format!(
            "{missing} of {rows} rows have no label, row {row} is the first; label every row, or write `label: null` \
             if they are unlabeled"
        ));
    }
    Ok(labels.into_iter().flatten().collect())
}

/// Validates the numbers as indices into `classes`, or below [`MAX_LABEL`] without names. Errors: the first invalid
/// one.
fn class_numbers(numbers: &[i64], classes: Option<&[String]>) -> Result<Vec<u32>, String> {
    let known = classes.map_or(i64::from(MAX_LABEL), |classes| classes.len() as i64);
    if let Some(row) = numbers.iter().position(|number| !(0..known).contains(number)) {
        let why = match classes {
            Some(classes) if numbers[row] >= 0 => {
                format!("none of the {} classes that the file names", classes.len())
            }
            None if numbers[row] >= 0 => "too large to be a class number".into(),
            _ => "not a class number".into(),
        };
        return Err(format!(
            "label {} in row {row} is {why}; write `label: null` if the rows are unlabeled",
            numbers[row]
        ));
    }
    Ok(numbers.iter().map(|number| *number as u32).collect())
}

/// The image and path columns, at least one of which must exist; else the names of the existing columns.
fn image_columns(meta: &ParquetMetaData, image: &str) -> Result<(Option<usize>, Option<usize>), String> {
    let bytes = |path: &[&str]| find(meta, path, &[Physical::BYTE_ARRAY]);
    match (bytes(&[image, "bytes"]), bytes(&[image, "path"]), bytes(&[image])) {
        (None, None, None) => Err(present(meta)),
        (None, None, Some(column)) if is_text(&meta.file_metadata().schema_descr().column(column)) => {
            Ok((None, Some(column)))
        }
        (None, None, plain) => Ok((plain, None)),
        (held, paths, _) => Ok((held, paths)),
    }
}

/// Finds the label column. Errors: a column named in the spec does not exist.
fn label_column(meta: &ParquetMetaData, label: Option<&str>) -> Result<LabelColumn, String> {
    let kinds = [Physical::BOOLEAN, Physical::INT32, Physical::INT64, Physical::BYTE_ARRAY];
    let Some(label) = label else { return Ok(LabelColumn::Unasked) };
    if let Some(column) = find(meta, &[label], &kinds) {
        return Ok(LabelColumn::At(column));
    }
    let why = format!(
        "no column `{label}` of class numbers or names; it has {}. Name the right one under `label:`, or write \
         `label: null` for unlabeled images",
        present(meta)
    );
    if label == LABEL_COLUMN || has_column(meta, label) { Ok(LabelColumn::Unusable(why)) } else { Err(why) }
}

impl LabelColumn {
    fn at(&self) -> Option<usize> {
        if let Self::At(column) = self { Some(*column) } else { None }
    }
}

/// Whether a column, or a group of them, has this name.
fn has_column(meta: &ParquetMetaData, name: &str) -> bool {
    let mut columns = meta.file_metadata().schema_descr().columns().iter();
    columns.any(|column| column.path().parts().first().is_some_and(|part| part == name))
}

fn is_text(column: &ColumnDescriptor) -> bool {
    column.converted_type() == ConvertedType::UTF8
        || matches!(column.logical_type_ref(), Some(LogicalType::String))
}

/// Index of the non-repeated column with this path and one of these types.
fn find(meta: &ParquetMetaData, path: &[&str], kinds: &[Physical]) -> Option<usize> {
    meta.file_metadata().schema_descr().columns().iter().position(|column| {
        column.path().parts() == path
            && column.max_rep_level() == 0
            && kinds.contains(&column.physical_type())
    })
}

/// The existing columns, for a message.
fn present(meta: &ParquetMetaData) -> String {
    let columns = meta.file_metadata().schema_descr().columns().iter();
    let names = columns.map(|c| format!("`{}` ({})", excerpt(&c.path().string()), c.physical_type()));
    names.collect::<Vec<_>>().join(", ")
}

/// Reads the next `rows` values of a non-repeated column, None for null.
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
