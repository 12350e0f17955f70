//! Parquet tables in the Hugging Face layout: an image column, either a struct `{bytes, path}`, plain binary or text
//! (paths), and a label column of integers, booleans (0 and 1) or names. Rows keep their order, file after file.
//! Labels that cannot be used leave the rows unlabeled: only who needs labels is told why.
//!
//! A row that holds no picture but the path of one (as tables of image folders do) is read from that file; a path that
//! is not absolute starts at the table's folder.
//!
//! Memory: labels are read when the table is opened. The encoded images are read a row group at a time on first
//! use and kept as long as all of them together fit in 1 GiB (uncompressed); a larger table is never held: each
//! image is read from its own page, at the cost of that page's decompression.

mod pages; // pages of a column, checked
mod table; // one file: footer, columns

use super::{
    dataset::{Dataset, RgbImage},
    decode::decode,
    error::DataError,
    labels::{Labels, Relabel},
    source::LABEL_COLUMN,
};
use ::parquet::data_type::ByteArray;
use sha2::{Digest, Sha256};
use std::{path::Path, sync::OnceLock};
pub use table::Columns;
use table::Table;

/// Encoded images are kept in memory when all of them together take no more than this.
const KEPT: i64 = 1 << 30;
/// A file up to this size is hashed whole for the fingerprint.
const HASHED: u64 = 64 << 20;

/// Images in the rows of one or more parquet files.
pub struct Parquet {
    tables: Vec<Table>,
    groups: Vec<Group>,
    rows: usize,
    labels: Labels,
    keep: bool,
}

/// The columns that tables of images usually have: the image's, as this one calls it (`image`, `img`), and `label`,
/// which may be missing.
///
/// # Errors
/// A missing or broken file, no column of images.
pub fn usual_columns(path: &Path) -> Result<(String, String), DataError> {
    let has = |image| Table::open(path, Columns { image, label: None });
    let image = if has("image").is_err() && has("img").is_ok() { "img" } else { "image" };
    has(image)?;
    Ok((image.into(), LABEL_COLUMN.into()))
}

/// Values of one column in a row group, None for null; or why they cannot be read.
type Values = OnceLock<Result<Vec<Option<ByteArray>>, String>>;

/// One row group: where it lies and, once they were asked for, its encoded images and paths.
struct Group {
    table: usize,
    group: usize,
    /// index in the data set of its first row
    first: usize,
    /// row in its file of its first row, for names
    row_in_file: usize,
    images: Values,
    paths: Values,
}

impl Parquet {
    /// Opens the files in the given order.
    ///
    /// # Errors
    /// A missing or broken file, no column of images, a label column that is named and not there (naming those that
    /// are), no rows at all.
    pub fn open(paths: &[impl AsRef<Path>], columns: Columns) -> Result<Self, DataError> {
        let open = |path: &_| Table::open(AsRef::<Path>::as_ref(path), columns);
        let tables = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (groups, rows) = layout(&tables);
        if rows == 0 {
            let path = paths.first().map(|path| path.as_ref().to_path_buf()).unwrap_or_default();
            return Err(DataError::Empty { path, expected: "rows with an image each".into() });
        }
        let labels = match columns.label {
            Some(label) => tables.iter().map(|table| table.labels(label)).collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        Ok(Self { tables, groups, rows, labels: Labels::joined(labels), keep: false }.keep_up_to(KEPT))
    }

    /// Keeps encoded images only if all of them together take no more than `bytes` (default 1 GiB).
    pub fn keep_up_to(mut self, bytes: i64) -> Self {
        self.keep = self.tables.iter().map(Table::image_bytes).fold(0, i64::saturating_add) <= bytes;
        self
    }

    fn group_of(&self, index: usize) -> &Group {
        &self.groups[self.groups.partition_point(|group| group.first <= index) - 1]
    }

    /// The encoded image that the row itself holds.
    fn held(&self, group: &Group, row: usize) -> Result<Option<ByteArray>, String> {
        let table = &self.tables[group.table];
        match table.image() {
            None => Ok(None),
            Some(column) if !self.keep => table.value(group.group, column, row),
            Some(column) => at(&group.images, row, || table.values(group.group, column)),
        }
    }

    /// What the row has in the column of paths.
    fn path(&self, group: &Group, row: usize) -> Result<Option<ByteArray>, String> {
        let table = &self.tables[group.table];
        let Some(column) = table.path_column() else { return Ok(None) };
        at(&group.paths, row, || table.values(group.group, column))
    }

    fn encoded(&self, index: usize) -> Result<ByteArray, String> {
        let group = self.group_of(index);
        let row = index - group.first;
        if let Some(bytes) = self.held(group, row)? {
            return Ok(bytes);
        }
        let named = self.path(group, row)?.ok_or("the row holds no image")?;
        match as_path(named.data()) {
            Some(path) => self.tables[group.table].file(path).map(ByteArray::from),
            None => Ok(named),
        }
    }

    /// Paths and sizes of the files that rows name because they hold no picture themselves.
    fn hash_files(&self, hash: &mut Sha256) {
        for group in self.groups.iter().filter(|group| self.tables[group.table].has_empty_rows(group.group)) {
            let rows = self.tables[group.table].group_rows(group.group);
            for row in (0..rows).filter(|row| matches!(self.held(group, *row), Ok(None))) {
                let Ok(Some(named)) = self.path(group, row) else { continue };
                let Some(path) = as_path(named.data()) else { continue };
                let size = std::fs::metadata(self.tables[group.table].beside(path)).map_or(0, |m| m.len());
                hash.update(format!("{path}\n{size}\n"));
            }
        }
    }
}

/// One of the values, which are read on first use.
fn at(
    values: &Values,
    row: usize,
    read: impl FnOnce() -> Result<Vec<Option<ByteArray>>, String>,
) -> Result<Option<ByteArray>, String> {
    let values = values.get_or_init(read).as_ref();
    values.map(|values| values.get(row).cloned().flatten()).map_err(Clone::clone)
}

/// A text that can be a path; columns of text have been used for encoded pictures too.
fn as_path(bytes: &[u8]) -> Option<&str> {
    const LONGEST: usize = 4096;
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.len() <= LONGEST && !text.contains(char::is_control)).then_some(text)
}

/// The row groups of all tables in order, and the number of rows.
fn layout(tables: &[Table]) -> (Vec<Group>, usize) {
    let mut groups = Vec::new();
    let mut first = 0;
    for (table, t) in tables.iter().enumerate() {
        let start = first;
        for group in 0..t.groups() {
            let (images, paths) = Default::default();
            groups.push(Group { table, group, first, row_in_file: first - start, images, paths });
            first += t.group_rows(group);
        }
    }
    (groups, first)
}

impl Relabel for Parquet {
    fn labels(&mut self) -> &mut Labels {
        &mut self.labels
    }
}

impl Dataset for Parquet {
    fn len(&self) -> usize {
        self.rows
    }
    fn classes(&self) -> &[String] {
        self.labels.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }
    fn why_unlabeled(&self) -> Option<&str> {
        self.labels.why_missing()
    }
    fn name(&self, index: usize) -> String {
        let group = self.group_of(index);
        let row = group.row_in_file + index - group.first;
        format!("{} row {row}", self.tables[group.table].path().display())
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let fault = |reason: String| DataError::Image { name: self.name(index), reason };
        decode(self.encoded(index).map_err(fault)?.data()).map_err(|e| fault(e.to_string()))
    }
    /// Over file sizes, row counts, labels and class names, the bytes of files up to 64 MiB, and paths and sizes of
    /// picture files that the rows name.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("parquet {} {}\n", self.rows, self.classes().join("\n")));
        for table in &self.tables {
            let path: &Path = table.path();
            let size = std::fs::metadata(path).map_or(0, |m| m.len());
            hash.update(format!("{size} {}\n", table.rows()));
            if size <= HASHED {
                hash.update(std::fs::read(path).unwrap_or_default());
            }
        }
        self.hash_files(&mut hash);
        self.labels.numbers().iter().for_each(|label| hash.update(label.to_le_bytes()));
        format!("{:x}", hash.finalize())
    }
}
