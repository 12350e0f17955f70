//! Validates the pages of a column: rejects headers that claim more values than the bytes can hold. The reader
//! allocates what the header claims, and running out of memory aborts the process.

use ::parquet::{
    basic::Encoding,
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{metadata::ColumnChunkMetaData, reader::ChunkReader, serialized_reader::SerializedPageReader},
};

/// Smallest dictionary value in bytes: an int32, or the length of a string.
const SMALLEST: usize = 4;

/// Encodings whose streams start with a value count that the reader trusts when it allocates.
const COUNTED: [Encoding; 3] =
    [Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY];

/// A page reader that validates pages.
pub(super) struct Pages<R: ChunkReader> {
    inner: SerializedPageReader<R>,
    encodings: Vec<Encoding>,
}

impl<R: ChunkReader> Pages<R> {
    /// Wraps the reader of `column`.
    pub fn new(inner: SerializedPageReader<R>, column: &ColumnChunkMetaData) -> Self {
        Self { inner, encodings: column.encodings().collect() }
    }

    fn checked(&self, page: Option<Page>) -> Result<Option<Page>> {
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn check(&self, page: &Page) -> Result<()> {
        let (values, bytes) = (page.num_values() as usize, page.buffer().len());
        match page {
            Page::DictionaryPage { .. } if values > bytes / SMALLEST => Err(ParquetError::General(format!(
                "a dictionary of {values} values in {bytes} bytes; the file is damaged"
            ))),
            Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. }
                if COUNTED.contains(encoding) && !self.encodings.contains(encoding) =>
            {
                Err(ParquetError::General(format!(
                    "a page in the encoding {encoding}, which the footer does not list; the file is damaged"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl<R: ChunkReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        self.checked(page)
    }
    fn supports_deferred_dictionary(&self) -> bool {
        self.inner.supports_deferred_dictionary()
    }
    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        let page = self.inner.take_deferred_dictionary()?;
        self.checked(page)
    }
    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }
    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }
    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}
