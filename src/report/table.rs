//! Output of all report tables: text cells, written as aligned columns, Markdown and CSV.

use crate::metrics::accuracy::MeanStd;
use std::borrow::Cow;

/// Named columns and rows of cells. The first column labels the rows, values follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TextTable {
    /// One-line title above the table; may be empty.
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Rows of other origin, below the rest.
    pub groups: Vec<RowGroup>,
    /// Text below the table. Two spaces at the end of a line make a line break in Markdown.
    pub notes: String,
}

/// Rows below a heading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RowGroup {
    pub heading: String,
    pub rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table without title and notes.
    pub fn new<C: Into<String>>(
        columns: impl IntoIterator<Item = C>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { columns, rows: rows.into_iter().collect(), ..Self::default() }
    }

    /// Aligned for a terminal: the first column left, the others right.
    pub fn text(&self) -> String {
        let count = self.lines().map(|line| line.len()).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines()
                .filter_map(|line| line.get(column).map(|cell| cell.chars().count()))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..count).map(width).collect();
        let line = |line: Cow<[String]>| {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("   ").trim_end().to_string() + "\n"
        };
        self.with_title_and_notes(self.lines().map(line).collect(), &self.notes.replace("  \n", "\n"))
    }

    /// Markdown.
    pub fn markdown(&self) -> String {
        self.with_title_and_notes(self.markdown_table(":---", "---:"), &self.notes)
    }

    /// Markdown with all columns left-aligned, for text.
    pub fn markdown_left_aligned(&self) -> String {
        self.with_title_and_notes(self.markdown_table("---", "---"), &self.notes)
    }

    /// Columns and rows as CSV, quoted according to RFC 4180, with `\n` line ends.
    pub fn csv(&self) -> String {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        self.lines().map(|line| line.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect()
    }

    /// The columns' names, the rows, and each group below a line with its heading.
    fn lines(&self) -> impl Iterator<Item = Cow<'_, [String]>> {
        let heading = |group: &RowGroup| {
            let blank = vec![String::new(); self.columns.len().saturating_sub(1)];
            Cow::Owned([vec![group.heading.clone()], blank].concat())
        };
        let of_group = move |group| std::iter::once(heading(group)).chain(group.rows.iter().map(Cow::from));
        let own = std::iter::once(&self.columns).chain(&self.rows).map(Cow::from);
        own.chain(self.groups.iter().flat_map(of_group))
    }

    fn with_title_and_notes(&self, body: String, notes: &str) -> String {
        let above = if self.title.is_empty() { String::new() } else { format!("{}\n\n", self.title) };
        above + &body + notes
    }

    /// Markdown with the given alignment rules for the first and the other columns.
    fn markdown_table(&self, first: &str, others: &str) -> String {
        let plain = |cell: &String| cell.replace('|', "\\|").replace('\n', " ");
        let line =
            |line: Cow<[String]>| format!("| {} |\n", line.iter().map(plain).collect::<Vec<_>>().join(" | "));
        let rule =
            format!("|{first}|{}\n", format!("{others}|").repeat(self.columns.len().saturating_sub(1)));
        let mut lines = self.lines().map(line);
        lines.next().unwrap_or_default() + &rule + &lines.collect::<String>()
    }
}

/// Describes values over seeds: `mean ± std over 3 seeds (0, 1, 2)`.
pub(crate) fn spread(seeds: &[u64]) -> String {
    let list: Vec<_> = seeds.iter().map(u64::to_string).collect();
    match list.as_slice() {
        [one] => format!("one seed ({one})"),
        many => format!("mean ± std over {} seeds ({})", many.len(), many.join(", ")),
    }
}

/// Formats a cell; one with fewer than `seeds` seeds is marked.
pub(crate) fn cell_text(cell: Option<&MeanStd>, seeds: usize) -> String {
    match cell {
        None => "–".into(),
        Some(cell) if cell.n < seeds => format!("{cell} (n = {})", cell.n),
        Some(cell) => cell.to_string(),
    }
}

/// The cell in three CSV columns: mean, standard deviation, number of seeds; empty if unknown.
pub(crate) fn csv_cells(cell: Option<&MeanStd>) -> [String; 3] {
    let Some(cell) = cell else { return Default::default() };
    let std = cell.std.map_or(String::new(), |std| format!("{std:.4}"));
    [format!("{:.4}", cell.mean), std, cell.n.to_string()]
}

/// Names of those columns.
pub(crate) fn csv_names(title: &str) -> [String; 3] {
    ["mean", "std", "n"].map(|part| format!("{title} {part}"))
}
