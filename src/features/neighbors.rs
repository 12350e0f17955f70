//! The pictures whose features are most similar to those of some queries, by cosine, as a sheet and as a list. Matrices are
//! read in blocks of rows, so that they need not fit in memory.

use crate::{
    colorize::montage::scaled_down,
    data::{dataset::RgbImage, decode::decode},
    npy::RowReader,
    probe::{
        features::Features,
        knn::{Neighbor, nearest},
        products::Products,
    },
    rng::Rng,
    train::panel::{RgbTile, panel},
};
use anyhow::{Context, Result};
use rand::seq::index::sample;
use rayon::prelude::*;
use std::{fs, path::Path};

/// Values of a block of rows: 64 MiB of f32.
const BLOCK: usize = 1 << 24;
/// Longest side of a picture in the sheet, in pixels.
const TILE: usize = 128;

/// Which neighbors of which pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborOptions {
    /// Neighbors of each query.
    pub count: usize,
    /// Number of queries, drawn at random.
    pub queries: usize,
    pub seed: u64,
}

/// A query and its neighbors with their similarities, most similar first; rows of a matrix.
pub(super) type QueryNeighbors = (usize, Vec<Neighbor>);

/// The neighbors of randomly drawn rows of a matrix of `rows` rows.
pub(super) fn find(matrix: &Path, rows: usize, how: &NeighborOptions) -> Result<Vec<QueryNeighbors>> {
    let rng = &mut Rng::new(how.seed).split("queries").at(0, 0);
    let mut queries = sample(rng, rows, how.queries.min(rows)).into_vec();
    queries.sort_unstable();
    Ok(queries.iter().copied().zip(most_similar(matrix, &queries, how.count)?).collect())
}

/// For each of `queries`, rows of a matrix in ascending order, the `count` other rows with the largest cosine, most similar
/// first; of equal ones the lower row goes first. Rows of zeros are similar to none.
///
/// # Errors
/// A file that is no matrix of f32; values that are not finite.
pub fn most_similar(matrix: &Path, queries: &[usize], count: usize) -> Result<Vec<Vec<Neighbor>>> {
    let asked = rows_of(matrix, queries)?.normalized(0.0);
    let mut best: Vec<Vec<Neighbor>> = vec![vec![]; queries.len()];
    let mut first = 0;
    each_block(matrix, |block| {
        let products = Products::of(&asked, &block.normalized(0.0))?;
        best.par_iter_mut().zip(queries).enumerate().for_each(|(i, (best, query))| {
            let found = nearest(products.row(i), count + 1).into_iter();
            best.extend(found.map(|(row, cosine)| (first + row, cosine)).filter(|(row, _)| row != query));
            best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            best.truncate(count);
        });
        first += block.len();
        Ok(())
    })?;
    Ok(best)
}

/// These rows of a matrix, in ascending order.
fn rows_of(matrix: &Path, rows: &[usize]) -> Result<Features> {
    let (mut values, mut first, mut width) = (vec![], 0, 0);
    each_block(matrix, |block| {
        let inside = rows.iter().filter(|row| (first..first + block.len()).contains(row));
        inside.for_each(|row| values.extend(block.row(row - first)));
        (first, width) = (first + block.len(), block.width());
        Ok(())
    })?;
    Features::new(values, width)
}

fn each_block(matrix: &Path, mut take: impl FnMut(Features) -> Result<()>) -> Result<()> {
    let mut reader = RowReader::open(matrix).with_context(|| format!("cannot read {}", matrix.display()))?;
    let rows = (BLOCK / reader.width().max(1)).max(1);
    loop {
        let values = reader.next_rows(rows)?;
        if values.is_empty() {
            return Ok(());
        }
        take(Features::new(values, reader.width())?)?;
    }
}

/// A row for each query: the picture and its neighbors.
pub(super) fn sheet(found: &[QueryNeighbors], paths: &[&Path], count: usize) -> Result<RgbTile> {
    let row = |(query, neighbors): &QueryNeighbors| -> Result<Vec<RgbTile>> {
        let rows = [*query].into_iter().chain(neighbors.iter().map(|(row, _)| *row));
        rows.map(|row| tile(paths[row])).collect()
    };
    let rows = found.par_iter().map(row).collect::<Result<Vec<_>>>()?;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let titles: Vec<String> =
        (0..=count).map(|at| if at == 0 { "query".into() } else { at.to_string() }).collect();
    let titles: Vec<&str> = titles.iter().take(columns).map(String::as_str).collect();
    panel(&rows, &titles, 1)
}

fn tile(path: &Path) -> Result<RgbTile> {
    let read = || -> Result<RgbImage> { scaled_down(&decode(&fs::read(path)?)?, TILE) };
    let RgbImage { width, height, pixels } =
        read().with_context(|| format!("cannot read {}", path.display()))?;
    Ok((width, height, pixels))
}

/// A line for each neighbor: query, rank, neighbor, cosine.
pub(super) fn write_list(path: &Path, found: &[QueryNeighbors], paths: &[&Path]) -> Result<()> {
    let quoted = |row: usize| format!("\"{}\"", paths[row].display().to_string().replace('"', "\"\""));
    let mut text = String::from("query,rank,neighbor,cosine\n");
    for (query, neighbors) in found {
        for (rank, (row, cosine)) in neighbors.iter().enumerate() {
            text += &format!("{},{},{},{cosine:.6}\n", quoted(*query), rank + 1, quoted(*row));
        }
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy;

    #[test]
    fn neighbors_are_others_by_cosine_and_ties_by_row() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let rows = [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 0.0], [1.0, 1.0], [2.0, 0.0f32]];
        npy::write(&mut file.reopen()?, &[6, 2], &rows.concat())?;
        let found = most_similar(file.path(), &[0, 1, 3], 2)?;
        let rows = |at: usize| found[at].iter().map(|(row, _)| *row).collect::<Vec<_>>();
        assert_eq!([rows(0), rows(1)], [[2, 5], [4, 0]]);
        assert!(found[2].iter().all(|(_, cosine)| *cosine == 0.0));
        assert!((found[1][0].1 - 0.5f64.sqrt()).abs() < 1e-6 && found[0][0].1 == 1.0);
        assert_eq!(most_similar(file.path(), &[5], 9)?[0].len(), 5);
        Ok(())
    }
}
