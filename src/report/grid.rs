//! Cells of text as aligned columns, Markdown and CSV. The first row names the columns, the first column the rows.

/// Aligned for a terminal: the first column to the left, the others to the right.
pub(super) fn text(grid: &[Vec<String>]) -> String {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let wide =
        |column: usize| grid.iter().filter_map(move |row| row.get(column)).map(|cell| cell.chars().count());
    let widths: Vec<_> = (0..columns).map(|column| wide(column).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in grid {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        out += cells.collect::<Vec<_>>().join("   ").trim_end();
        out.push('\n');
    }
    out
}

/// A Markdown table, aligned like [`text`].
pub(super) fn markdown(grid: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (i, row) in grid.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        out += &format!("| {} |\n", cells.join(" | "));
        if i == 0 {
            out += &format!("|:---|{}\n", "---:|".repeat(row.len().saturating_sub(1)));
        }
    }
    out
}

/// RFC 4180 quoting, with plain line ends.
pub(super) fn csv_line(fields: &[String]) -> String {
    let quoted = fields.iter().map(|field| {
        let special = field.contains([',', '"', '\n', '\r']);
        if special { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}
