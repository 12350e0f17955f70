//! Placement of the shapes in an image, and their visibility.

use super::shape::{CLASSES, SceneShape};
use crate::{
    boxes::Rect,
    data::{
        annotated::Object,
        scenes::paint::{Dice, Rgb},
    },
};

/// Number of shapes per image, drawn uniformly.
const COUNTS: [usize; 6] = [1, 2, 2, 3, 3, 4];
/// Positions tried for a shape before it may overlap others.
const TRIES: usize = 6;
/// Largest overlap, as a fraction of the smaller box.
const CROWDED: f64 = 0.25;
/// A shape with a smaller visible fraction is removed.
const HIDDEN: f64 = 0.15;
/// An object with a smaller visible fraction is difficult.
const DIFFICULT: f64 = 0.4;
/// An object with a smaller visible fraction is occluded.
const OCCLUDED: f64 = 0.95;

/// The shapes of one image from back to front, and their object annotations.
#[derive(Clone, Debug)]
pub struct SceneLayout {
    shapes: Vec<SceneShape>,
    /// one per shape
    objects: Vec<Object>,
}

/// Pixel counts of one shape.
#[derive(Clone, Copy)]
struct Visibility {
    /// pixels inside the outline
    own: usize,
    /// pixels not covered by a later shape
    visible: usize,
    /// first and last column and row of the visible pixels
    columns: (usize, usize),
    rows: (usize, usize),
}

impl SceneLayout {
    /// `first` is the class of the back shape; the others are random.
    pub fn new(first: usize, size: usize, dice: &mut Dice) -> Self {
        let mut shapes: Vec<SceneShape> = vec![];
        for number in 0..dice.pick(&COUNTS) {
            let class = if number == 0 { first } else { (dice.seed() % CLASSES.len() as u32) as usize };
            shapes.push(placed(class, &shapes, dice));
        }
        let visible: Vec<bool> = survey(&shapes, size).iter().map(|seen| seen.share() >= HIDDEN).collect();
        let mut keep = visible.into_iter();
        shapes.retain(|_| keep.next().unwrap_or(false));
        // removing shapes may uncover the remaining ones
        let objects =
            survey(&shapes, size).iter().zip(&shapes).map(|(seen, shape)| seen.object(shape)).collect();
        Self { shapes, objects }
    }

    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The color of the foremost shape at a point.
    pub fn color(&self, x: f32, y: f32) -> Option<Rgb> {
        self.shapes.iter().rev().find_map(|shape| shape.color(x, y))
    }

    /// `(size, size)`: the class plus one of the foremost shape at the center of each pixel, or 0.
    pub fn labels(&self, size: usize) -> Vec<u8> {
        let class = |owner: Option<usize>| owner.map_or(0, |shape| self.shapes[shape].class() as u8 + 1);
        centers(size).map(|(x, y)| class(foremost(&self.shapes, x, y))).collect()
    }
}

/// A randomly placed shape, away from the others if a few tries succeed.
fn placed(class: usize, others: &[SceneShape], dice: &mut Dice) -> SceneShape {
    let mut shape = SceneShape::new(class, dice);
    for _ in 1..TRIES {
        if others.iter().all(|other| common(&shape.extent(), &other.extent()) < CROWDED) {
            break;
        }
        shape = SceneShape::new(class, dice);
    }
    shape
}

/// Intersection of two squares, as a fraction of the smaller one.
fn common(a: &Rect, b: &Rect) -> f64 {
    let side = |low: f32, high: f32| f64::from((high - low).max(0.0));
    let inner = side(a.x1.max(b.x1), a.x2.min(b.x2)) * side(a.y1.max(b.y1), a.y2.min(b.y2));
    let area = |r: &Rect| side(r.x1, r.x2) * side(r.y1, r.y2);
    inner / area(a).min(area(b))
}

/// Centers of pixels in coordinates from −1 to 1, row by row.
fn centers(size: usize) -> impl Iterator<Item = (f32, f32)> {
    let place = move |at: usize| -1.0 + 2.0 / size as f32 * (at as f32 + 0.5);
    (0..size * size).map(move |at| (place(at % size), place(at / size)))
}

fn foremost(shapes: &[SceneShape], x: f32, y: f32) -> Option<usize> {
    shapes.iter().rposition(|shape| shape.covers(x, y))
}

/// Counts the pixels of each shape.
fn survey(shapes: &[SceneShape], size: usize) -> Vec<Visibility> {
    let mut seen = vec![Visibility { own: 0, visible: 0, columns: (size, 0), rows: (size, 0) }; shapes.len()];
    for (at, (x, y)) in centers(size).enumerate() {
        let mut covered = false;
        for (shape, seen) in shapes.iter().zip(&mut seen).rev() {
            if shape.covers(x, y) {
                seen.count(at % size, at / size, !covered);
                covered = true;
            }
        }
    }
    seen
}

impl Visibility {
    fn count(&mut self, column: usize, row: usize, visible: bool) {
        self.own += 1;
        if visible {
            let widen = |(low, high): (usize, usize), at: usize| (low.min(at), high.max(at));
            self.visible += 1;
            self.columns = widen(self.columns, column);
            self.rows = widen(self.rows, row);
        }
    }

    /// The visible fraction; 0 for an empty shape.
    fn share(&self) -> f64 {
        self.visible as f64 / self.own.max(1) as f64
    }

    fn object(&self, shape: &SceneShape) -> Object {
        let ((left, right), (top, bottom)) = (self.columns, self.rows);
        let frame = shape.extent();
        Object {
            class: shape.class(),
            bounds: Rect::new(left as f32, top as f32, right as f32, bottom as f32),
            difficult: self.share() < DIFFICULT,
            truncated: frame.x1.min(frame.y1) < -1.0 || frame.x2.max(frame.y2) > 1.0,
            occluded: self.share() < OCCLUDED,
        }
    }
}
