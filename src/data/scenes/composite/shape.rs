//! The shapes of composite scenes: an outline and a lightness pattern per class. Outlines are thick enough for
//! networks that segment at reduced resolution.
//!
//! A shape is defined in its own coordinates within the unit circle, y downwards; the image runs from −1 to 1.

use crate::{
    boxes::Rect,
    data::scenes::{
        noise::{angle, floor, lerp, sine, step, zigzag},
        paint::{Dice, Rgb, hue},
    },
};

/// Class names; the position is the class.
pub const CLASSES: [&str; 6] = ["disc", "square", "triangle", "ring", "cross", "star"];

/// Range of the circumscribed radius, for an image from −1 to 1.
const RADIUS: (f32, f32) = (0.25, 0.52);
/// Largest rotation either way, in turns.
const LEAN: f32 = 0.06;

#[derive(Clone, Copy, Debug)]
enum Outline {
    Disc,
    Square,
    Triangle,
    Ring,
    Cross,
    Star,
}

const OUTLINES: [Outline; 6] =
    [Outline::Disc, Outline::Square, Outline::Triangle, Outline::Ring, Outline::Cross, Outline::Star];

/// One shape in an image.
#[derive(Clone, Debug)]
pub struct SceneShape {
    class: usize,
    outline: Outline,
    center: [f32; 2],
    radius: f32,
    /// sine and cosine of the rotation
    turn: [f32; 2],
    /// normalized to luma 1
    tint: Rgb,
    /// brightness factor
    gain: f32,
}

impl SceneShape {
    /// A randomly placed shape of class `class` (modulo their number); at most a fifth of its width is outside the
    /// image.
    pub fn new(class: usize, dice: &mut Dice) -> Self {
        let class = class % CLASSES.len();
        let radius = dice.between(RADIUS.0, RADIUS.1);
        let reach = 1.0 - 0.6 * radius;
        let lean = dice.between(-LEAN, LEAN);
        // two hues per class, so that the color is ambiguous
        let turns = class as f32 / CLASSES.len() as f32 + dice.pick(&[0.0, 0.45]) + dice.between(-0.03, 0.03);
        let color = hue(turns, dice.between(0.35, 0.55), 1.0);
        Self {
            class,
            outline: OUTLINES[class],
            center: [dice.between(-reach, reach), dice.between(-reach, reach)],
            radius,
            turn: [sine(lean), sine(lean + 0.25)],
            tint: color.map(|v| v / luma(color)),
            gain: dice.between(0.9, 1.1),
        }
    }

    pub fn class(&self) -> usize {
        self.class
    }

    /// Bounding square of the circumscribed circle.
    pub fn extent(&self) -> Rect {
        let ([x, y], r) = (self.center, self.radius);
        Rect::new(x - r, y - r, x + r, y + r)
    }

    pub fn covers(&self, x: f32, y: f32) -> bool {
        let (u, v) = self.own(x, y);
        u * u + v * v < 1.0 && self.outline.covers(u, v)
    }

    /// Color at a point, if the shape covers it.
    pub fn color(&self, x: f32, y: f32) -> Option<Rgb> {
        self.covers(x, y).then(|| {
            let (u, v) = self.own(x, y);
            let lightness = self.outline.lightness(u, v) * self.gain;
            self.tint.map(|v| (v * lightness).min(1.0))
        })
    }

    fn own(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = ((x - self.center[0]) / self.radius, (y - self.center[1]) / self.radius);
        let [s, c] = self.turn;
        (c * dx + s * dy, c * dy - s * dx)
    }
}

fn luma([r, g, b]: Rgb) -> f32 {
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

impl Outline {
    fn covers(self, u: f32, v: f32) -> bool {
        let r2 = u * u + v * v;
        match self {
            Self::Disc => r2 < 0.95 * 0.95,
            Self::Square => u.abs().max(v.abs()) < 0.7,
            Self::Triangle => (-0.95..0.6).contains(&v) && u.abs() < 0.5 * (v + 0.95),
            Self::Ring => (0.36 * 0.36..0.95 * 0.95).contains(&r2),
            Self::Cross => u.abs().min(v.abs()) < 0.34 && u.abs().max(v.abs()) < 0.9,
            Self::Star => {
                let point = 1.0 - zigzag(5.0 * angle(u, v) + 0.25);
                r2.sqrt() < lerp(0.48, 0.98, point * point)
            }
        }
    }

    /// From 0 to 1.
    fn lightness(self, u: f32, v: f32) -> f32 {
        let r = (u * u + v * v).sqrt();
        match self {
            Self::Disc => lerp(0.95, 0.3, step(0.1, 1.0, r)),
            Self::Square => {
                if (floor((u + 0.7) / 0.35) + floor((v + 0.7) / 0.35)) % 2 == 0 {
                    0.9
                } else {
                    0.25
                }
            }
            Self::Triangle => lerp(0.3, 0.85, step(0.35, 0.65, zigzag(v * 2.6))),
            Self::Ring => 0.92,
            Self::Cross => 0.14,
            Self::Star => lerp(0.95, 0.12, step(0.2, 0.4, r)),
        }
    }
}
