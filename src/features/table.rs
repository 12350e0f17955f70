//! A parquet table of features: the column `path`, and a list of floats for each layer.

use crate::npy::RowReader;
use anyhow::{Context, Result};
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, FloatType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Values of a row group: 64 MiB of f32.
const GROUP: usize = 1 << 24;

/// Writes the rows of `matrices`, one for each of `layers`, beside their `paths`, a row group at a time.
///
/// # Errors
/// A matrix that cannot be read; a file that cannot be written.
pub(super) fn write(path: &Path, paths: &[&Path], layers: &[String], matrices: &[PathBuf]) -> Result<()> {
    let columns: Vec<String> = layers
        .iter()
        .map(|layer| {
            format!("required group {layer} (LIST) {{ repeated group list {{ required float element; }} }}")
        })
        .collect();
    let schema = format!("message features {{ required binary path (UTF8); {} }}", columns.join(" "));
    let schema = Arc::new(parse_message_type(&schema)?);
    // Floats rarely repeat.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .build();
    let mut readers = matrices.iter().map(|path| RowReader::open(path)).collect::<Result<Vec<_>>>()?;
    let width: usize = readers.iter().map(RowReader::width).sum();
    let mut writer = SerializedFileWriter::new(File::create(path)?, schema, properties.into())?;
    for group in paths.chunks((GROUP / width.max(1)).max(1)) {
        let mut rows = writer.next_row_group()?;
        let mut column = rows.next_column()?.context("no column of paths")?;
        let names: Vec<ByteArray> =
            group.iter().map(|path| path.display().to_string().as_str().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&names, None, None)?;
        column.close()?;
        for reader in &mut readers {
            let values = reader.next_rows(group.len())?;
            let starts = (0..values.len()).map(|i| i16::from(i % reader.width() != 0)).collect::<Vec<_>>();
            let mut column = rows.next_column()?.context("no column of a layer")?;
            column.typed::<FloatType>().write_batch(&values, Some(&vec![1; values.len()]), Some(&starts))?;
            column.close()?;
        }
        rows.close()?;
    }
    writer.close()?;
    Ok(())
}
