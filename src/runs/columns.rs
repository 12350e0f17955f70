//! A table for a terminal: aligned columns, of which those on the right are left out where the width does not suffice. The
//! last column is never left out or cut.

use console::measure_text_width as width_of;

/// Space between two columns.
const GAP: usize = 2;

/// Titles and rows of equal length.
pub(super) struct Columns {
    pub titles: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Columns {
    /// The lines, at most `width` characters wide if that is given and the last column allows it, and the titles of the
    /// columns that were left out.
    pub fn fitted(&self, width: Option<usize>) -> (Vec<String>, Vec<&'static str>) {
        let widths: Vec<usize> = (0..self.titles.len()).map(|column| self.width(column)).collect();
        let last = self.titles.len().saturating_sub(1);
        let mut shown: Vec<usize> = (0..self.titles.len()).collect();
        let total = |shown: &[usize]| {
            shown.iter().map(|column| widths[*column]).sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        while shown.len() > 1 && width.is_some_and(|width| total(&shown) > width) {
            shown.remove(shown.len() - 2);
        }
        let line = |cells: Vec<&str>| {
            let cells = shown.iter().map(|column| padded(cells[*column], widths[*column]));
            cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_string()
        };
        let head = line(self.titles.clone());
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        let lines = std::iter::once(head).chain(rows).collect();
        let hidden = (0..last).filter(|column| !shown.contains(column)).map(|column| self.titles[column]);
        (lines, hidden.collect())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| width_of(&row[column]));
        cells.chain([width_of(self.titles[column])]).max().unwrap_or(0)
    }
}

fn padded(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(width_of(cell))))
}

/// Width of the terminal that stdout is; None without one.
pub fn terminal_width() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_from_the_right_and_the_last_one_stays_whole() {
        let row = |cells: [&str; 4]| cells.map(String::from).to_vec();
        let table = Columns {
            titles: vec!["stage", "kind", "size", "directory"],
            rows: vec![
                row(["probe", "linear_probe", "1.0 kB", "runs/a/probe"]),
                row(["p", "knn", "2 B", "b"]),
            ],
        };
        let (lines, hidden) = table.fitted(None);
        assert_eq!(lines[0], "stage  kind          size    directory");
        assert_eq!(lines[2], "p      knn           2 B     b");
        assert!(hidden.is_empty());
        let (lines, hidden) = table.fitted(Some(34));
        assert_eq!((lines[1].as_str(), hidden), ("probe  linear_probe  runs/a/probe", vec!["size"]));
        let (lines, hidden) = table.fitted(Some(3));
        assert_eq!((lines[1].as_str(), hidden.len()), ("runs/a/probe", 3));
    }
}
