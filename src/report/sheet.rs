//! A plain table of words and figures, as CSV, Markdown and aligned text.

use super::table::csv_line;

/// Column names and rows of as many cells. The first column is text; figures follow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sheet {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    /// Figures with an ASCII minus, for machines.
    pub fn csv(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|name| name.to_string()).collect();
        let plain = |cell: &String| cell.replace('−', "-");
        let rows = self.rows.iter().map(|row| csv_line(&row.iter().map(plain).collect::<Vec<_>>()));
        std::iter::once(csv_line(&header)).chain(rows).collect()
    }

    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = line(self.columns.iter().map(|name| name.to_string()).collect());
        out += &format!("|:---|{}\n", "---:|".repeat(self.columns.len().saturating_sub(1)));
        for row in &self.rows {
            out += &line(row.iter().map(|cell| cell.replace('|', "\\|")).collect());
        }
        out
    }

    /// Aligned columns for a terminal.
    pub fn text(&self) -> String {
        let header = self.columns.iter().map(|name| name.to_string()).collect();
        let grid: Vec<Vec<String>> = std::iter::once(header).chain(self.rows.iter().cloned()).collect();
        let cells = |column: usize| grid.iter().filter_map(move |row| row.get(column));
        let width = |column: usize| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let line = |row: &Vec<String>| {
            let padded = row.iter().enumerate().map(|(column, cell)| match (column, width(column)) {
                (0, width) => format!("{cell:<width$}"),
                (_, width) => format!("{cell:>width$}"),
            });
            format!("{}\n", padded.collect::<Vec<_>>().join("   ").trim_end())
        };
        grid.iter().map(line).collect()
    }
}
