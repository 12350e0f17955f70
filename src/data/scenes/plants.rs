//! Leaf (green, or autumn colors with blotches) and flower (many hues; yellow ones have a brown center).

use super::noise::{angle, fractal, sine, step, value, zigzag};
use super::paint::{Dice, Rgb, hue, mix, rgb, scale};
use super::surface::Surface;

pub struct Leaf {
    blade: Rgb,
    /// Color of blotches from the rim inwards; autumn leaves only.
    blotch: Option<Rgb>,
    width: f32,
    veins: f32,
    teeth: f32,
    seed: u32,
}

impl Leaf {
    pub fn new(dice: &mut Dice) -> Self {
        let autumn = dice.chance(0.25);
        let blade = if autumn { dice.pick(&[0xC98A2B, 0xB9532A, 0xC9A637]) } else { 0x4A8A35 };
        let blotch = autumn.then(|| dice.near(0x7A3B20, 0.03));
        Self {
            blade: dice.near(blade, 0.04),
            blotch,
            width: dice.between(0.42, 0.62),
            veins: dice.between(3.0, 4.5),
            teeth: dice.between(0.0, 0.05),
            seed: dice.seed(),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        if (0.6..1.0).contains(&y) && (x - 0.25 * (y - 0.6) * (y - 0.6)).abs() < 0.045 {
            return Some(Surface::flat(scale(self.blade, 0.75)));
        }
        // Widest below the middle, pointed above.
        let t = (y + 0.97) / 1.72;
        if !(0.0..1.0).contains(&t) {
            return None;
        }
        let half = self.width * 2.6 * t * (1.0 - t) * (0.8 + 0.75 * t) + self.teeth * (zigzag(y * 7.0) - 0.5);
        (x.abs() < half).then(|| {
            let rim = x.abs() / half.max(0.01);
            let side = zigzag(y * self.veins + x.abs() * 2.6);
            let vein = step(0.8, 1.0, side).max(step(0.05, 0.02, x.abs()) * 1.1).min(1.0);
            let mottle = fractal(self.seed, x * 3.0, y * 3.0, 3);
            let mut color = scale(self.blade, 0.8 + 0.3 * mottle + 0.12 * side);
            if let Some(blotch) = self.blotch {
                color = mix(color, blotch, step(0.75, 1.15, rim * 0.7 + 0.75 * mottle));
            }
            let fold = if x < 0.0 { 0.22 } else { -0.28 };
            let lit = Surface::round(mix(color, mix(color, rgb(0xE8EDB0), 0.6), vein), fold, 0.0, 0.15);
            Surface { normal: [lit.normal[0], 0.25 * (side - 0.5), lit.normal[2]], ..lit }
        })
    }
}

pub struct Flower {
    petal: Rgb,
    eye: Rgb,
    petals: f32,
    /// Depth of the gaps between petals, 0 to 1.
    gap: f32,
    eye_radius: f32,
    seed: u32,
}

impl Flower {
    pub fn new(dice: &mut Dice) -> Self {
        let (petal, eye) = match dice.pick(&[0, 1, 2, 3, 4, 5]) {
            0 => (rgb(0xF2F0E8), 0xE3B021),
            1 => (hue(dice.between(0.9, 0.95), 0.5, 0.92), 0xE3B021),
            2 => (hue(dice.between(0.97, 1.01), 0.82, 0.83), 0x3A2A22),
            3 => (hue(dice.between(0.73, 0.8), 0.52, 0.78), 0xE7C54A),
            4 => (hue(dice.between(0.61, 0.66), 0.6, 0.83), 0xF0DC7A),
            _ => (hue(dice.between(0.125, 0.15), 0.85, 0.95), 0x5A371C),
        };
        Self {
            petal,
            eye: dice.near(eye, 0.02),
            petals: dice.pick(&[5.0, 6.0, 8.0, 11.0]),
            gap: dice.between(0.35, 0.65),
            eye_radius: dice.between(0.17, 0.26),
            seed: dice.seed(),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        let cy = y + 0.3;
        let r = (x * x + cy * cy).sqrt();
        let head = if r < 0.72 { self.head(x, cy, r) } else { None };
        head.or_else(|| stalk(x, y))
    }

    fn head(&self, x: f32, y: f32, r: f32) -> Option<Surface> {
        if r < self.eye_radius {
            let grain = value(self.seed, x * 22.0, y * 22.0);
            let k = 0.9 / self.eye_radius;
            return Some(Surface::round(scale(self.eye, 0.7 + 0.5 * grain), x * k, y * k, 0.0));
        }
        let turn = angle(x, y) * self.petals;
        let middle = zigzag(turn);
        let outline = 0.72 * (1.0 - self.gap * (1.0 - middle) * (1.0 - middle));
        (r < outline).then(|| {
            let ray = sine(turn * 3.0) * 0.05;
            let depth = 0.62 + 0.38 * step(self.eye_radius, 0.55, r);
            let between = 0.72 + 0.28 * step(0.0, 0.35, middle);
            Surface::flat(scale(self.petal, (depth * between + ray).min(1.08)))
        })
    }
}

fn stalk(x: f32, y: f32) -> Option<Surface> {
    let bend = x - 0.12 * (y - 0.2) * (y - 0.2);
    if (0.0..1.0).contains(&y) && bend.abs() < 0.05 {
        return Some(Surface::round(rgb(0x4F8135), bend / 0.055, 0.0, 0.0));
    }
    let t = (x.abs() - 0.05) / 0.5;
    let rise = y - 0.72 + 0.5 * x.abs();
    let blade = (0.0..1.0).contains(&t) && rise.abs() < 0.5 * t * (1.0 - t);
    blade.then(|| Surface::flat(mix(rgb(0x3E7A2E), rgb(0x74A64A), step(-0.1, 0.1, rise))))
}
