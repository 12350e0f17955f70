//! Runs Selective Search over a set on all cores, with a progress bar. Partial results are saved, so that an
//! interrupted search resumes.

use super::{Proposals, selective_search::SelectiveSearch};
use crate::{
    boxes::Rect,
    data::{dataset::RgbImage, error::DataError},
    progress::Progress,
};
use rayon::prelude::*;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Images between two saves of the partial results.
const CHUNK: usize = 256;

/// Result of a search.
#[derive(Debug)]
pub struct SearchResult {
    /// Proposals of every readable image, in data set order.
    pub proposals: Proposals,
    /// Unreadable images: identifier and reason.
    pub left_out: Vec<(String, String)>,
    /// Total CPU time over all cores, and the number of images searched.
    pub busy: Duration,
    pub searched: usize,
}

/// Searches the images `ids`, where `image(i)` loads `ids[i]`. The result does not depend on the number of threads.
/// If `partial` names a file, partial results are loaded from it and saved to it until the search ends.
///
/// # Errors
/// A partial file that cannot be written, a duplicate identifier. Unreadable images are part of the result.
pub fn search(
    settings: &SelectiveSearch,
    ids: &[String],
    image: impl Fn(usize) -> Result<RgbImage, DataError> + Sync,
    partial: Option<&Path>,
) -> Result<SearchResult, DataError> {
    let kept = partial.filter(|path| path.exists()).and_then(|path| Proposals::read(path).ok());
    let progress = Progress::new(ids.len(), "searching for proposals");
    let mut found: Vec<(String, Vec<Rect>)> = vec![];
    let (mut left_out, mut busy, mut searched) = (vec![], Duration::ZERO, 0);
    for (chunk, first) in ids.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let one = |(offset, id): (usize, &String)| {
            let known = kept.as_ref().and_then(|kept| kept.of(id));
            let began = Instant::now();
            let boxes =
                known.map_or_else(|| propose(settings, id, &image, first + offset), |b| Ok(b.to_vec()));
            progress.add(1);
            (id.clone(), boxes, known.is_none().then(|| began.elapsed()))
        };
        for (id, boxes, time) in chunk.par_iter().enumerate().map(one).collect::<Vec<_>>() {
            searched += usize::from(time.is_some());
            busy += time.unwrap_or_default();
            match boxes {
                Ok(boxes) => found.push((id, boxes)),
                Err(error) => left_out.push((id, error.to_string())),
            }
        }
        if let Some(path) = partial.filter(|_| found.len() < ids.len() && searched > 0) {
            proposals(found.clone())?.write(path, "a search that was not finished")?;
        }
    }
    drop(progress);
    Ok(SearchResult { proposals: proposals(found)?, left_out, busy, searched })
}

fn propose(
    settings: &SelectiveSearch,
    id: &str,
    image: &impl Fn(usize) -> Result<RgbImage, DataError>,
    index: usize,
) -> Result<Vec<Rect>, DataError> {
    let fault = |reason: String| DataError::Image { name: id.into(), reason };
    settings.propose(&image(index)?, id).map_err(|e| fault(e.to_string()))
}

fn proposals(found: Vec<(String, Vec<Rect>)>) -> Result<Proposals, DataError> {
    Proposals::new(found).map_err(DataError::Spec)
}
