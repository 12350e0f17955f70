//! Which boxes a step learns from: some that show an object, the rest background (Girshick 2015, section 2.3).

use super::{DetectionSpec, ProposedSet};
use crate::{boxes::Rect, data::Batch, ops::roi_pool::Roi, rng::Rng};
use anyhow::{Result, ensure};
use rand::seq::SliceRandom;

/// A box and what it should be called.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// On the framed batch.
    pub roi: Roi,
    /// Class and object, on the framed picture; `None` for background.
    pub object: Option<(usize, Rect)>,
}

impl Example {
    /// 0 for background, class + 1 for an object.
    pub fn label(&self) -> u32 {
        self.object.map_or(0, |(class, _)| class as u32 + 1)
    }
}

/// A box of the training set with the object that it overlaps most.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    bounds: Rect,
    object: Option<(usize, Rect)>,
}

/// The candidates of every training picture, sorted out once.
pub struct Sampler {
    /// For each picture: boxes that show an object, boxes that show background.
    pictures: Vec<(Vec<Candidate>, Vec<Candidate>)>,
    rois: usize,
    foreground: usize,
}

impl Sampler {
    /// Sorts proposals and the objects themselves, difficult ones too, into foreground and background.
    ///
    /// # Errors
    /// Proposals for another number of pictures.
    pub fn new(spec: &DetectionSpec, train: &ProposedSet) -> Result<Self> {
        let (set, proposals) = (&train.set, &train.proposals);
        ensure!(
            proposals.len() == set.len(),
            "there are proposals for {} pictures, but {} training pictures",
            proposals.len(),
            set.len()
        );
        let sort = |image: usize| {
            let objects: Vec<(usize, Rect)> =
                set.objects(image).iter().map(|object| (object.class, object.bounds)).collect();
            let own = objects.iter().map(|(_, bounds)| bounds);
            let (mut foreground, mut background) = (vec![], vec![]);
            for &bounds in own.chain(&proposals[image]) {
                let (iou, object) = best(&bounds, &objects);
                if iou >= spec.foreground_iou.get() {
                    foreground.push(Candidate { bounds, object });
                } else if iou >= spec.background_iou.get() {
                    background.push(Candidate { bounds, object: None });
                }
            }
            (foreground, background)
        };
        let rois = spec.rois.get();
        let foreground = (spec.foreground.get() * rois as f64).round() as usize;
        Ok(Self { pictures: (0..set.len()).map(sort).collect(), rois, foreground })
    }

    /// Every box that shows an object, with that object, on the stored pictures and their mirror images: what the spread
    /// of the offsets is measured over.
    pub fn regressed(&self) -> impl Iterator<Item = (usize, Rect, Rect)> {
        let foreground = self.pictures.iter().flat_map(|(foreground, _)| foreground);
        foreground.filter_map(|c| c.object.map(|(class, object)| (class, c.bounds, object)))
    }

    /// Boxes for a framed batch, drawn without replacement; fewer than wanted where there are fewer.
    pub fn draw(&self, batch: &Batch, rng: &Rng) -> Vec<Example> {
        let mut examples = vec![];
        for (image, (&index, frame)) in batch.indices.iter().zip(&batch.frames).enumerate() {
            let (foreground, background) = &self.pictures[index];
            let mut rng = rng.at(0, image as u64);
            let shown = self.foreground.min(foreground.len());
            let foreground = picked(foreground, shown, &mut rng);
            let background = picked(background, self.rois - shown, &mut rng);
            examples.extend(foreground.into_iter().chain(background).map(|candidate| Example {
                roi: Roi { image, bounds: frame.place(&candidate.bounds) },
                object: candidate.object.map(|(class, object)| (class, frame.place(&object))),
            }));
        }
        examples
    }
}

/// The object that a box overlaps most, and by how much.
fn best(bounds: &Rect, objects: &[(usize, Rect)]) -> (f64, Option<(usize, Rect)>) {
    let overlaps = objects.iter().map(|object| (bounds.iou(&object.1), Some(*object)));
    overlaps.fold((0.0, None), |best, one| if one.0 > best.0 { one } else { best })
}

fn picked(from: &[Candidate], count: usize, rng: &mut impl rand::Rng) -> Vec<Candidate> {
    let mut order: Vec<usize> = (0..from.len()).collect();
    let (chosen, _) = order.partial_shuffle(rng, count.min(from.len()));
    chosen.iter().map(|&i| from[i]).collect()
}
