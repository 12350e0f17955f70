//! Sampling of foreground and background boxes for a training step (Girshick 2015, section 2.3).

use super::{DetectionSpec, ProposedSet};
use crate::{boxes::Rect, data::Batch, ops::roi_pool::Roi, rng::Rng};
use anyhow::{Result, ensure};
use rand::seq::SliceRandom;

/// A training box with its target.
#[derive(Clone, Copy, Debug)]
pub struct RoiTarget {
    /// Box in the coordinates of the transformed batch.
    pub roi: Roi,
    /// Class and ground-truth box in the coordinates of the transformed picture; `None` for background.
    pub object: Option<(usize, Rect)>,
}

impl RoiTarget {
    /// 0 for background, class + 1 for an object.
    pub fn label(&self) -> u32 {
        self.object.map_or(0, |(class, _)| class as u32 + 1)
    }
}

/// A proposal of the training set with the object that it overlaps most.
#[derive(Clone, Copy, Debug)]
struct LabeledProposal {
    bounds: Rect,
    object: Option<(usize, Rect)>,
}

/// Draws minibatches from the candidates of every training picture, which are classified once.
pub struct Sampler {
    /// Foreground and background candidates of each picture.
    pictures: Vec<(Vec<LabeledProposal>, Vec<LabeledProposal>)>,
    rois: usize,
    foreground: usize,
}

impl Sampler {
    /// Splits proposals and ground-truth boxes (including difficult ones) into foreground and background.
    ///
    /// # Errors
    /// A different number of proposal lists than pictures.
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
                let (iou, object) = max_overlap(&bounds, &objects);
                if iou >= spec.foreground_iou.get() {
                    foreground.push(LabeledProposal { bounds, object });
                } else if iou >= spec.background_iou.get() {
                    background.push(LabeledProposal { bounds, object: None });
                }
            }
            (foreground, background)
        };
        let rois = spec.rois.get();
        let foreground = (spec.foreground.get() * rois as f64).round() as usize;
        Ok(Self { pictures: (0..set.len()).map(sort).collect(), rois, foreground })
    }

    /// Every foreground box with its object, in stored-picture coordinates: the sample for the offset statistics.
    pub fn foreground_pairs(&self) -> impl Iterator<Item = (usize, Rect, Rect)> {
        let foreground = self.pictures.iter().flat_map(|(foreground, _)| foreground);
        foreground.filter_map(|c| c.object.map(|(class, object)| (class, c.bounds, object)))
    }

    /// Draws boxes for a batch without replacement; fewer than requested if a picture has fewer.
    pub fn draw(&self, batch: &Batch, rng: &Rng) -> Vec<RoiTarget> {
        let mut examples = vec![];
        for (image, (&index, frame)) in batch.indices.iter().zip(&batch.frames).enumerate() {
            let (foreground, background) = &self.pictures[index];
            let mut rng = rng.at(0, image as u64);
            let shown = self.foreground.min(foreground.len());
            let foreground = sample(foreground, shown, &mut rng);
            let background = sample(background, self.rois - shown, &mut rng);
            examples.extend(foreground.into_iter().chain(background).map(|candidate| RoiTarget {
                roi: Roi { image, bounds: frame.place(&candidate.bounds) },
                object: candidate.object.map(|(class, object)| (class, frame.place(&object))),
            }));
        }
        examples
    }
}

/// The object with the largest overlap, and that overlap.
fn max_overlap(bounds: &Rect, objects: &[(usize, Rect)]) -> (f64, Option<(usize, Rect)>) {
    let overlaps = objects.iter().map(|object| (bounds.iou(&object.1), Some(*object)));
    overlaps.fold((0.0, None), |max_overlap, one| if one.0 > max_overlap.0 { one } else { max_overlap })
}

fn sample(from: &[LabeledProposal], count: usize, rng: &mut impl rand::Rng) -> Vec<LabeledProposal> {
    let mut order: Vec<usize> = (0..from.len()).collect();
    let (chosen, _) = order.partial_shuffle(rng, count.min(from.len()));
    chosen.iter().map(|&i| from[i]).collect()
}
