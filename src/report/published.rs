//! Published results, compiled in from `configs/published.yaml`: values from the literature for the benchmarks of the
//! tables, each row with its source, shown below the measured rows.
//!
//! They are not directly comparable: data, schedules and rescaling differ, as the footnotes say.

use super::table::RowGroup;
use anyhow::{Result, anyhow};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

const TEXT: &str = include_str!("../../configs/published.yaml");

static PUBLISHED: LazyLock<Result<Published, String>> = LazyLock::new(|| parse(TEXT));

/// The contents of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// References by key.
    pub sources: BTreeMap<String, String>,
    pub tables: Vec<PublishedTable>,
}

/// Benchmark of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// Colors of ImageNet's validation pictures.
    Colorization,
    /// Time of a picture and size of a network.
    Runtime,
    /// VOC 2007 classification and detection, VOC 2012 segmentation.
    Pascal,
    ImagenetLinear,
    #[serde(rename = "places205_linear")]
    PlacesLinear,
    ImagenetNonlinear,
    /// Trials in which participants took the photograph for the fake.
    RealVersusFake,
}

/// Published results of one benchmark.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedTable {
    pub benchmark: Benchmark,
    /// One-line description of the values.
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<PublishedRow>,
}

/// Published results of one method.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRow {
    pub method: String,
    /// One per column, in percent but for [`Benchmark::Runtime`]; None if not published.
    pub values: Vec<Option<f64>>,
    /// Keys of [`Published::sources`].
    pub sources: Vec<String>,
    #[serde(default)]
    pub note: Option<String>,
    /// False if the values were recalled from memory and not checked against the source.
    #[serde(default = "firm")]
    pub firm: bool,
}

fn firm() -> bool {
    true
}

/// The compiled-in file.
///
/// # Errors
/// An invalid file: an unknown key, a row of the wrong length, an unlisted source.
pub fn published() -> Result<&'static Published> {
    PUBLISHED.as_ref().map_err(|error| anyhow!("configs/published.yaml: {error}"))
}

fn parse(text: &str) -> Result<Published, String> {
    let published: Published = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    for table in &published.tables {
        for row in &table.rows {
            let (values, columns) = (row.values.len(), table.columns.len());
            if values != columns {
                return Err(format!("{}: {values} values for {columns} columns", row.method));
            }
            if row.sources.is_empty() {
                return Err(format!("{}: no source", row.method));
            }
            if let Some(source) = row.sources.iter().find(|key| !published.sources.contains_key(*key)) {
                return Err(format!("{}: the source `{source}` is not listed", row.method));
            }
        }
    }
    Ok(published)
}

impl Published {
    /// The results of a benchmark.
    pub fn table(&self, benchmark: Benchmark) -> Option<&PublishedTable> {
        self.tables.iter().find(|table| table.benchmark == benchmark)
    }
}

/// Published rows, arranged in the columns of a measured table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PublishedBlock {
    pub title: String,
    /// Method, values, footnote index.
    pub figures: Vec<(String, Vec<Option<f64>>, usize)>,
    pub footnotes: Vec<String>,
    /// Number of footnotes of the preceding blocks.
    pub above: usize,
}

impl PublishedBlock {
    /// The rows of a benchmark that have a value in any of `columns`, given by the benchmark's column names; a None
    /// column has no published values. None if no row remains.
    pub fn of(benchmark: Benchmark, columns: &[Option<&str>]) -> Result<Option<Self>> {
        let published = published()?;
        let Some(table) = published.table(benchmark) else { return Ok(None) };
        let place = |name: &str| table.columns.iter().position(|column| column == name);
        let places: Vec<Option<usize>> = columns.iter().map(|name| name.and_then(place)).collect();
        let mut block = Self { title: table.title.clone(), ..Self::default() };
        for row in &table.rows {
            let values: Vec<_> =
                places.iter().map(|p| p.and_then(|p| row.values.get(p).copied().flatten())).collect();
            if values.iter().any(Option::is_some) {
                let footnote = block.footnote(row, &published.sources);
                block.figures.push((row.method.clone(), values, footnote));
            }
        }
        Ok((!block.figures.is_empty()).then_some(block))
    }

    /// Index of the footnote with a row's source; identical footnotes are shared.
    fn footnote(&mut self, row: &PublishedRow, sources: &BTreeMap<String, String>) -> usize {
        let sources: Vec<&str> =
            row.sources.iter().filter_map(|key| sources.get(key).map(String::as_str)).collect();
        let parts = [Some(sources.join("; ")), row.note.clone(), (!row.firm).then(|| UNSURE.into())];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" – ");
        let known = self.footnotes.iter().position(|known| *known == text);
        known.unwrap_or_else(|| {
            self.footnotes.push(text);
            self.footnotes.len() - 1
        })
    }

    fn number(&self, footnote: usize) -> usize {
        self.above + footnote + 1
    }

    /// Table rows below the measured ones: `method [footnote]` and values.
    pub fn rows(&self) -> RowGroup {
        let row = |(method, values, footnote): &(String, Vec<Option<f64>>, usize)| {
            let cells = values.iter().map(|v| v.map_or("–".into(), |v| format!("{v:.1}")));
            std::iter::once(format!("{method} [{}]", self.number(*footnote))).chain(cells).collect()
        };
        RowGroup { heading: "published".into(), rows: self.figures.iter().map(row).collect() }
    }

    /// Title and footnotes. Lines end in two spaces, a line break in Markdown.
    pub fn notes(&self) -> String {
        let footnotes =
            self.footnotes.iter().enumerate().map(|(i, text)| format!("[{}] {text}", self.number(i)));
        let lines = std::iter::once(format!("{NOTES} {}", self.title)).chain(footnotes);
        lines.collect::<Vec<_>>().join("  \n") + "\n"
    }
}

/// Whether published results are in the text of a table.
pub fn is_in(text: &str) -> bool {
    text.contains(NOTES)
}

/// First word of the notes on published results.
const NOTES: &str = "Published:";
const UNSURE: &str = "not read in the source again";

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(table: &'a PublishedTable, method: &str) -> &'a PublishedRow {
        table.rows.iter().find(|row| row.method == method).unwrap()
    }

    #[test]
    fn the_file_says_what_the_papers_say() {
        let published = published().unwrap();
        let table = |benchmark| published.table(benchmark).unwrap();
        let pascal = table(Benchmark::Pascal);
        assert_eq!(pascal.columns, ["fc8", "fc6-8", "all", "Det.", "Seg."]);
        let expected = [52.4, 61.5, 65.6, 46.9, 35.6].map(Some);
        assert_eq!(row(pascal, "Colorization (color)").values, expected);
        assert_eq!(row(pascal, "Gaussian").values, [None, None, Some(53.3), Some(43.4), Some(19.8)]);
        assert!(!row(pascal, "Noroozi and Favaro").firm && row(pascal, "k-means").firm);
        let linear = table(Benchmark::ImagenetLinear);
        assert_eq!(row(linear, "Colorization").values, [13.1, 24.8, 31.0, 32.6, 31.8].map(Some));
        assert_eq!(row(linear, "ab→L (reg)").values, [11.5, 19.4, 23.5, 23.9, 21.7].map(Some));
        let places = table(Benchmark::PlacesLinear);
        assert_eq!(row(places, "Places labels").values[4], Some(44.6));
        let nonlinear = table(Benchmark::ImagenetNonlinear);
        assert_eq!(row(nonlinear, "Colorization").values, [None, None, None, Some(40.7), Some(35.2)]);
        let realism = table(Benchmark::RealVersusFake);
        assert_eq!(row(realism, "Colorization on SUN").values, [Some(17.2)]);
        assert!(!row(realism, "Colorization (full)").firm && row(realism, "Ground truth").firm);
        let rows: Vec<usize> = published.tables.iter().map(|table| table.rows.len()).collect();
        assert_eq!(rows, [9, 5, 24, 17, 14, 11, 10]);
        let runtime = table(Benchmark::Runtime);
        assert_eq!(row(runtime, "Cheng et al.").values, [Some(4900.0), None]);
    }

    /// Rows that were only recalled from memory must be marked as such.
    #[test]
    fn recalled_rows_are_not_firm() {
        let rows = |table: &'static PublishedTable| table.rows.iter().map(|row| (table.benchmark, row));
        for (benchmark, row) in published().unwrap().tables.iter().flat_map(rows) {
            assert_eq!(row.firm, row.sources != ["recalled"], "{}", row.method);
            let percent = row.values.iter().flatten().all(|v| (5.0..=100.0).contains(v));
            assert!(percent || benchmark == Benchmark::Runtime, "{}", row.method);
        }
    }

    #[test]
    fn a_block_has_the_rows_that_say_something_and_their_sources() {
        let block = PublishedBlock::of(Benchmark::Pascal, &[Some("Seg."), None]).unwrap().unwrap();
        assert!(block.figures.iter().all(|(_, values, _)| values[0].is_some() && values[1].is_none()));
        let (_, _, footnote) =
            block.figures.iter().find(|(method, ..)| method.starts_with("Noroozi")).unwrap();
        assert!(block.footnotes[*footnote].ends_with(UNSURE));
        assert_eq!((block.rows().heading.as_str(), block.rows().rows[0].len()), ("published", 3));
        assert!(block.notes().contains("[1] Zhang, Isola and Efros"));
        assert_eq!(PublishedBlock::of(Benchmark::Pascal, &[None]).unwrap(), None);
    }

    #[test]
    fn a_row_of_another_length_is_refused_by_name() {
        let text = TEXT.replace("[76.8, 78.9, 79.9, 56.8, 48.0]", "[76.8]");
        assert_eq!(parse(&text).unwrap_err(), "ImageNet labels: 1 values for 5 columns");
        let text = TEXT.replacen("sources: [bigan]", "sources: [bigan2]", 1);
        assert!(parse(&text).unwrap_err().contains("`bigan2` is not listed"));
    }
}
