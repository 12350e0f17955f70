//! A table of words and figures with its renderings.

use super::grid::{self, csv_line};

/// Column names and rows of as many cells. The first column is text; figures follow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sheet {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    /// Figures with an ASCII minus, for machines.
    pub fn csv(&self) -> String {
        let plain = |cell: &String| cell.replace('−', "-");
        let line = |row: &Vec<String>| csv_line(&row.iter().map(plain).collect::<Vec<_>>());
        self.grid().iter().map(line).collect()
    }

    pub fn markdown(&self) -> String {
        grid::markdown(&self.grid())
    }

    /// Aligned columns for a terminal.
    pub fn text(&self) -> String {
        grid::text(&self.grid())
    }

    fn grid(&self) -> Vec<Vec<String>> {
        let header = self.columns.iter().map(|name| name.to_string()).collect();
        std::iter::once(header).chain(self.rows.iter().cloned()).collect()
    }
}
