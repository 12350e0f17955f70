//! Tables of the page. They are readable and complete as they are; the page's script makes their columns sortable.

use crate::report::table::TextTable;
use maud::{Markup, html};

/// Most characters of a cell on one line.
const NARROW: usize = 24;

/// A report's table with its title above and its notes below, which do not scroll with it.
pub(super) fn table(table: &TextTable) -> Markup {
    let TextTable { title, columns, rows, groups, notes } = table;
    let notes: Vec<&str> = notes.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    html! {
        figure.table {
            figcaption { (title) }
            div.scroll role="region" tabindex="0" aria-label=(title) {
                table {
                    thead { tr { @for column in columns { th class=[class(column)] scope="col" { (column) } } } }
                    tbody { @for row in rows { (cells(row)) } }
                    @for group in groups {
                        tbody {
                            tr.heading { th scope="rowgroup" colspan=(columns.len()) { (group.heading) } }
                            @for row in &group.rows { (cells(row)) }
                        }
                    }
                }
            }
            @if !notes.is_empty() {
                p.notes { @for (at, line) in notes.iter().enumerate() { @if at > 0 { br; } (line) } }
            }
        }
    }
}

/// The class of a cell that is broken into lines.
pub(super) fn class(cell: &str) -> Option<&'static str> {
    (cell.chars().count() > NARROW).then_some("wide")
}

fn cells(row: &[String]) -> Markup {
    html! {
        tr {
            @for (at, cell) in row.iter().enumerate() {
                @if at == 0 { th class=[class(cell)] scope="row" { (cell) } } @else { td class=[class(cell)] { (cell) } }
            }
        }
    }
}
