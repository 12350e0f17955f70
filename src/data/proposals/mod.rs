//! Object proposals for every image of a set. Detectors of the R-CNN family classify them (Girshick et al. 2014).
//! They come from Selective Search ([`selective_search`]), from published MATLAB files, or from this crate's own
//! format ([`Proposals::read`]).
//!
//! Independent of classes and detectors; proposals are looked up by image identifier.

mod file; // our own format
pub mod matlab; // published files
pub mod picture; // draws boxes on an image
pub mod search; // searches a data set on all cores
pub mod selective_search;
pub mod spec; // spec of proposals

use crate::{boxes::Rect, text::excerpt};
use std::collections::HashMap;

/// Boxes by image in rank order, in stored-image coordinates.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposals {
    ids: Vec<String>,
    boxes: Vec<Vec<Rect>>,
    place: HashMap<String, usize>,
}

impl Proposals {
    /// Creates proposals from identifiers and boxes; an image may have none.
    ///
    /// # Errors
    /// A duplicate identifier; an inverted or non-finite box.
    pub fn new(pictures: Vec<(String, Vec<Rect>)>) -> Result<Self, String> {
        let mut place = HashMap::new();
        for (index, (id, boxes)) in pictures.iter().enumerate() {
            if place.insert(id.clone(), index).is_some() {
                return Err(format!("image `{}` is listed twice", excerpt(id)));
            }
            if let Some(wrong) = boxes.iter().find(|b| !(b.x1 <= b.x2 && b.y1 <= b.y2 && is_finite(b))) {
                return Err(format!("image `{}` has an invalid box: {wrong}", excerpt(id)));
            }
        }
        let (ids, boxes) = pictures.into_iter().unzip();
        Ok(Self { ids, boxes, place })
    }

    /// The boxes of an image; None for an unknown identifier.
    pub fn of(&self, id: &str) -> Option<&[Rect]> {
        self.place.get(id).and_then(|&index| self.boxes.get(index)).map(Vec::as_slice)
    }

    /// Identifiers and boxes, in data set order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Rect])> {
        self.ids.iter().map(String::as_str).zip(self.boxes.iter().map(Vec::as_slice))
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Total number of boxes.
    pub fn total(&self) -> usize {
        self.boxes.iter().map(Vec::len).sum()
    }

    /// Images without boxes.
    pub fn without_boxes(&self) -> Vec<&str> {
        self.iter().filter(|(_, boxes)| boxes.is_empty()).map(|(id, _)| id).collect()
    }
}

fn is_finite(b: &Rect) -> bool {
    [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_found_by_identifier() {
        let rect = Rect::new(1., 2., 3., 4.);
        let proposals = Proposals::new(vec![("b".into(), vec![rect]), ("a".into(), vec![])]).unwrap();
        assert_eq!(
            (proposals.of("b"), proposals.of("a"), proposals.of("c")),
            (Some(&[rect][..]), Some(&[][..]), None)
        );
        assert_eq!((proposals.len(), proposals.total(), proposals.without_boxes()), (2, 1, vec!["a"]));
    }

    #[test]
    fn what_is_no_box_is_refused() {
        let twice = Proposals::new(vec![("a".into(), vec![]), ("a".into(), vec![])]);
        assert!(twice.unwrap_err().contains("twice"));
        for wrong in
            [Rect::new(5., 0., 4., 9.), Rect::new(f32::NAN, 0., 4., 9.), Rect::new(0., 0., f32::INFINITY, 9.)]
        {
            assert!(Proposals::new(vec![("a".into(), vec![wrong])]).is_err(), "{wrong:?}");
        }
    }
}
