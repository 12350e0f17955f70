//! What all tables of the reports are in the end: cells of text, written as aligned columns, as Markdown and as CSV.

use crate::metrics::accuracy::MeanStd;

/// Named columns and rows of cells. The first column names the rows, figures follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// What the figures are, in one line above; empty for none.
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// What stands below; two spaces at the end of a line keep it apart from the next in Markdown.
    pub notes: String,
}

impl Table {
    /// A table without title and notes.
    pub fn new<C: Into<String>>(
        columns: impl IntoIterator<Item = C>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { columns, rows: rows.into_iter().collect(), ..Self::default() }
    }

    /// Aligned for a terminal: the first column to the left, the others to the right.
    pub fn text(&self) -> String {
        let count = self.lines().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.lines()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..count).map(width).collect();
        let line = |line: &Vec<String>| {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("   ").trim_end().to_string() + "\n"
        };
        self.framed(self.lines().map(line).collect(), &self.notes.replace("  \n", "\n"))
    }

    /// The same as Markdown.
    pub fn markdown(&self) -> String {
        self.framed(self.piped(":---", "---:"), &self.notes)
    }

    /// The same with every column to the left, as words want it.
    pub fn markdown_of_words(&self) -> String {
        self.framed(self.piped("---", "---"), &self.notes)
    }

    /// Columns and rows as comma-separated values, quoted after RFC 4180, with plain line ends.
    pub fn csv(&self) -> String {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        self.lines().map(|line| line.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n").collect()
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.columns).chain(&self.rows)
    }

    fn framed(&self, body: String, notes: &str) -> String {
        let above = if self.title.is_empty() { String::new() } else { format!("{}\n\n", self.title) };
        above + &body + notes
    }

    /// Markdown with these rules below the names of the first column and of the others.
    fn piped(&self, first: &str, others: &str) -> String {
        let plain = |cell: &String| cell.replace('|', "\\|").replace('\n', " ");
        let line =
            |line: &Vec<String>| format!("| {} |\n", line.iter().map(plain).collect::<Vec<_>>().join(" | "));
        let rule =
            format!("|{first}|{}\n", format!("{others}|").repeat(self.columns.len().saturating_sub(1)));
        line(&self.columns) + &rule + &self.rows.iter().map(line).collect::<String>()
    }
}

/// What figures over these seeds are: `mean ± std over 3 seeds (0, 1, 2)`.
pub(super) fn spread(seeds: &[u64]) -> String {
    let list: Vec<_> = seeds.iter().map(u64::to_string).collect();
    match list.as_slice() {
        [one] => format!("one seed ({one})"),
        many => format!("mean ± std over {} seeds ({})", many.len(), many.join(", ")),
    }
}

/// A cell over `seeds` seeds; one over fewer says so.
pub(super) fn over_seeds(cell: Option<&MeanStd>, seeds: usize) -> String {
    match cell {
        None => "–".into(),
        Some(cell) if cell.n < seeds => format!("{cell} (n = {})", cell.n),
        Some(cell) => cell.to_string(),
    }
}

/// The same in three columns of a sheet: mean, standard deviation and number of seeds; empty where unknown.
pub(super) fn in_columns(cell: Option<&MeanStd>) -> [String; 3] {
    let Some(cell) = cell else { return Default::default() };
    let std = cell.std.map_or(String::new(), |std| format!("{std:.4}"));
    [format!("{:.4}", cell.mean), std, cell.n.to_string()]
}

/// The names of those columns.
pub(super) fn column_names(title: &str) -> [String; 3] {
    ["mean", "std", "n"].map(|part| format!("{title} {part}"))
}
