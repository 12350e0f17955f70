//! Parquet tables in the Hugging Face layout: an image column, either a struct `{bytes, path}`, plain binary or text
//! (paths), and a label column of integers, booleans (0 and 1) or names. Rows keep their order, file after file. With
//! unusable labels the rows are unlabeled, and only stages that need labels report why.
//!
//! A row that holds a path instead of an image (as in tables of image folders) is read from that file; a relative
//! path is relative to the table's folder.
//!
//! Memory: labels are read when the table is opened. Encoded images are read one row group at a time on first use and
//! kept if all of them fit in 1 GiB (uncompressed). A larger table is not cached: each image is read from its own
//! page, at the cost of decompressing that page.

mod pages; // validated pages of a column
mod table; // one parquet file

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
pub use table::ColumnNames;
use table::ParquetFile;

/// Encoded images are cached if their total size is at most this.
const KEPT: i64 = 1 << 30;
/// Files up to this size are hashed in full for the fingerprint.
const HASHED: u64 = 64 << 20;

/// Images in the rows of one or more parquet files.
pub struct Parquet {
    tables: Vec<ParquetFile>,
    groups: Vec<RowGroup>,
    rows: usize,
    labels: Labels,
    keep: bool,
}

/// The conventional column names: `image` or `img`, whichever exists, and `label`, which may be missing.
///
/// # Errors
/// A missing or broken file, no column of images.
pub fn usual_columns(path: &Path) -> Result<(String, String), DataError> {
    let has = |image| ParquetFile::open(path, ColumnNames { image, label: None });
    let image = if has("image").is_err() && has("img").is_ok() { "img" } else { "image" };
    has(image)?;
    Ok((image.into(), LABEL_COLUMN.into()))
}

/// Lazily read values of one column in a row group (None for null), or the read error.
type ColumnCache = OnceLock<Result<Vec<Option<ByteArray>>, String>>;

/// One row group: its location and its lazily read images and paths.
struct RowGroup {
    table: usize,
    group: usize,
    /// index in the data set of its first row
    first: usize,
    /// row in its file of its first row, for names
    row_in_file: usize,
    images: ColumnCache,
    paths: ColumnCache,
}

impl Parquet {
    /// Opens the files in the given order.
    ///
    /// # Errors
    /// A missing or broken file, no column of images, a label column that is named and not there (naming those that
    /// are), no rows at all.
    pub fn open(paths: &[impl AsRef<Path>], columns: ColumnNames) -> Result<Self, DataError> {
        let open = |path: &_| ParquetFile::open(AsRef::<Path>::as_ref(path), columns);
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

    /// Caches encoded images only if their total size is at most `bytes` (default 1 GiB).
    pub fn keep_up_to(mut self, bytes: i64) -> Self {
        self.keep = self.tables.iter().map(ParquetFile::image_bytes).fold(0, i64::saturating_add) <= bytes;
        self
    }

    fn group_of(&self, index: usize) -> &RowGroup {
        &self.groups[self.groups.partition_point(|group| group.first <= index) - 1]
    }

    /// The encoded image embedded in the row.
    fn held(&self, group: &RowGroup, row: usize) -> Result<Option<ByteArray>, String> {
        let table = &self.tables[group.table];
        match table.image() {
            None => Ok(None),
            Some(column) if !self.keep => table.value(group.group, column, row),
            Some(column) => at(&group.images, row, || table.values(group.group, column)),
        }
    }

    /// The row's value in the path column.
    fn path(&self, group: &RowGroup, row: usize) -> Result<Option<ByteArray>, String> {
        let table = &self.tables[group.table];
        let Some(column) = table.path_column() else { return Ok(None) };
        at(&group.paths, row, || table.values(group.group, column))
    }

    fn value(&self, index: usize) -> Result<ByteArray, String> {
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

    /// Hashes the paths and sizes of the files that rows refer to.
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

/// The value of a row; the column is read on first use.
fn at(
    values: &ColumnCache,
    row: usize,
    read: impl FnOnce() -> Result<Vec<Option<ByteArray>>, String>,
) -> Result<Option<ByteArray>, String> {
    let values = values.get_or_init(read).as_ref();
    values.map(|values| values.get(row).cloned().flatten()).map_err(Clone::clone)
}

/// The bytes as a path, if they can be one; text columns have also been used for encoded images.
fn as_path(bytes: &[u8]) -> Option<&str> {
    const LONGEST: usize = 4096;
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.len() <= LONGEST && !text.contains(char::is_control)).then_some(text)
}

/// The row groups of all tables in order, and the number of rows.
fn layout(tables: &[ParquetFile]) -> (Vec<RowGroup>, usize) {
    let mut groups = Vec::new();
    let mut first = 0;
    for (table, t) in tables.iter().enumerate() {
        let start = first;
        for group in 0..t.groups() {
            let (images, paths) = Default::default();
            groups.push(RowGroup { table, group, first, row_in_file: first - start, images, paths });
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
        decode(self.value(index).map_err(fault)?.data()).map_err(|e| fault(e.to_string()))
    }
    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        let fault = |reason| DataError::Image { name: self.name(index), reason };
        self.value(index).map(|bytes| Some(bytes.data().to_vec())).map_err(fault)
    }
    /// Covers file sizes, row counts, labels and class names, the bytes of files up to 64 MiB, and the paths and
    /// sizes of referenced image files.
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
