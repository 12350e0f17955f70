//! The subject of a scene, which determines the class.
//!
//! A subject is defined in its own coordinates: about one unit in every direction, y downwards, upright. It returns
//! the surface at a point, if any; the renderer rotates, scales, lights and occludes it.

use super::animals::{Fish, Giraffe, Tiger};
use super::fruit::{Apple, Lemon, Strawberry};
use super::objects::{Ball, House};
use super::paint::Dice;
use super::plants::{Flower, Leaf};
use super::surface::Surface;

/// Class names; the position is the label.
pub const CLASSES: [&str; 10] =
    ["apple", "lemon", "strawberry", "leaf", "flower", "fish", "tiger", "giraffe", "ball", "house"];

pub enum Subject {
    Apple(Apple),
    Lemon(Lemon),
    Strawberry(Strawberry),
    Leaf(Leaf),
    Flower(Flower),
    Fish(Fish),
    Tiger(Tiger),
    Giraffe(Giraffe),
    Ball(Ball),
    House(House),
}

impl Subject {
    /// A random instance of class `label` (modulo their number).
    pub fn new(label: usize, dice: &mut Dice) -> Self {
        match label % CLASSES.len() {
            0 => Self::Apple(Apple::new(dice)),
            1 => Self::Lemon(Lemon::new(dice)),
            2 => Self::Strawberry(Strawberry::new(dice)),
            3 => Self::Leaf(Leaf::new(dice)),
            4 => Self::Flower(Flower::new(dice)),
            5 => Self::Fish(Fish::new(dice)),
            6 => Self::Tiger(Tiger::new(dice)),
            7 => Self::Giraffe(Giraffe::new(dice)),
            8 => Self::Ball(Ball::new(dice)),
            _ => Self::House(House::new(dice)),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        match self {
            Self::Apple(it) => it.at(x, y),
            Self::Lemon(it) => it.at(x, y),
            Self::Strawberry(it) => it.at(x, y),
            Self::Leaf(it) => it.at(x, y),
            Self::Flower(it) => it.at(x, y),
            Self::Fish(it) => it.at(x, y),
            Self::Tiger(it) => it.at(x, y),
            Self::Giraffe(it) => it.at(x, y),
            Self::Ball(it) => it.at(x, y),
            Self::House(it) => it.at(x, y),
        }
    }

    /// Largest rotation either way, in turns.
    pub fn lean(&self) -> f32 {
        match self {
            Self::Lemon(_) | Self::Leaf(_) | Self::Ball(_) => 0.5,
            Self::Apple(_) | Self::Strawberry(_) => 0.12,
            Self::Flower(_) | Self::Fish(_) => 0.07,
            Self::Tiger(_) | Self::Giraffe(_) | Self::House(_) => 0.025,
        }
    }

    /// y of the lowest point when upright, for the shadow.
    pub fn foot(&self) -> f32 {
        match self {
            Self::Apple(_) | Self::Ball(_) => 0.85,
            Self::Lemon(_) => 0.68,
            Self::Fish(_) => 0.5,
            Self::Tiger(_) => 0.72,
            _ => 0.97,
        }
    }
}
