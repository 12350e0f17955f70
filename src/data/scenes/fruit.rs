//! Apple (red, green or both), lemon (yellow), strawberry (red with seeds).

use super::noise::{angle, cells, floor, fractal, fraction, lerp, sine, step, value, zigzag};
use super::paint::{Dice, Rgb, mix, rgb, scale};
use super::surface::Surface;

pub struct Apple {
    skin: Rgb,
    blush: Rgb,
    /// Edge of the blush, across the fruit; far outside for a single color.
    edge: f32,
    leaf: bool,
    seed: u32,
}

impl Apple {
    pub fn new(dice: &mut Dice) -> Self {
        let (skin, blush, edge) = match dice.pick(&[0, 0, 1, 1, 2]) {
            0 => (0xB81F24, 0xD8502F, dice.between(-0.4, 0.4)),
            1 => (0x8DB13A, 0xB7C65A, dice.between(-0.4, 0.4)),
            _ => (0xC4382B, 0xCDBB4E, dice.between(-0.3, 0.3)),
        };
        Self {
            skin: dice.near(skin, 0.03),
            blush: dice.near(blush, 0.03),
            edge,
            leaf: dice.chance(0.5),
            seed: dice.seed(),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        if y < -0.5 {
            let bend = x - 0.25 * (y + 0.55) * (y + 0.55);
            if bend.abs() < 0.055 && y > -1.05 {
                return Some(Surface::round(rgb(0x4A3520), bend / 0.06, 0.0, 0.0));
            }
            if self.leaf && leaflet(x - 0.32, y + 0.86) {
                return Some(Surface::flat(mix(rgb(0x3F7A2B), rgb(0x6FA447), step(0.0, 0.3, x - 0.3))));
            }
        }
        // Two lobes make the dimples; the lower half is narrower.
        let squeeze = x * (1.0 + 0.2 * y.max(0.0));
        let side = squeeze.abs() - 0.2;
        let (u, v) = (side / 0.72, y / 0.84);
        let inside = u * u + v * v;
        (inside < 1.0).then(|| {
            let dimple = step(0.45, 0.1, squeeze.abs() + (y + 0.68).abs());
            let streak = value(self.seed, x * 9.0 / (1.1 - 0.5 * y * y), y * 1.5) - 0.5;
            let over = step(-0.35, 0.35, x - self.edge + 0.6 * streak);
            let skin = scale(mix(self.skin, self.blush, over), 1.0 + 0.25 * streak);
            Surface::round(mix(skin, rgb(0x8C7A33), 0.6 * dimple), squeeze / 0.93, v * 0.95, 0.6)
        })
    }
}

/// A small pointed leaf along x, centered at the origin.
fn leaflet(x: f32, y: f32) -> bool {
    let t = x / 0.3;
    t.abs() < 1.0 && (y + 0.2 * x).abs() < 0.14 * (1.0 - t * t)
}

pub struct Lemon {
    skin: Rgb,
    width: f32,
    seed: u32,
}

impl Lemon {
    pub fn new(dice: &mut Dice) -> Self {
        Self { skin: dice.near(0xEBCB2E, 0.03), width: dice.between(0.58, 0.7), seed: dice.seed() }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        let (u, v) = (x / 0.86, y / self.width);
        let nub = lerp(0.2, 0.05, step(0.8, 1.08, x.abs()));
        let in_nub = x.abs() > 0.6 && x.abs() < 1.08 && y.abs() < nub;
        if u * u + v * v >= 1.0 && !in_nub {
            return None;
        }
        let (pore, _, _) = cells(self.seed, x * 9.0, y * 9.0);
        let tone = 0.94 + 0.1 * step(0.0, 0.4, pore) - 0.1 * step(0.85, 1.05, x.abs());
        let green = 0.25 * step(0.8, 1.05, x.abs()) + 0.12 * fractal(self.seed, x, y, 2);
        let color = scale(mix(self.skin, rgb(0xA9B33A), green), tone);
        Some(Surface::round(color, u * 0.93, v * 0.96, 0.35))
    }
}

pub struct Strawberry {
    flesh: Rgb,
    calyx: Rgb,
    seed: u32,
}

impl Strawberry {
    pub fn new(dice: &mut Dice) -> Self {
        Self { flesh: dice.near(0xCF2330, 0.03), calyx: dice.near(0x4E8F34, 0.03), seed: dice.seed() }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        if let Some(crown) = self.crown(x, y) {
            return Some(crown);
        }
        let t = (y + 0.62) / 1.6;
        if !(0.0..1.0).contains(&t) {
            return None;
        }
        // A circle's profile along a bent axis: round shoulders, pointed tip.
        let bent = 1.0 - (1.0 - t) * (1.0 - t);
        let width = 0.8 * (4.0 * bent * (1.0 - bent)).sqrt();
        (x.abs() < width).then(|| {
            let around = x / (0.25 + 0.75 * width);
            let row = floor(y * 4.6) as f32;
            let column = around * 3.2 + 0.5 * row;
            let dx = (fraction(column) - 0.5) * 1.1;
            let dy = y * 4.6 - row - 0.5;
            let away = (dx * dx + dy * dy * 0.55).sqrt();
            let pit = step(0.42, 0.2, away);
            let flesh =
                scale(self.flesh, 1.05 - 0.4 * pit + 0.15 * (value(self.seed, x * 3.0, y * 3.0) - 0.5));
            let color = mix(flesh, rgb(0xF0D077), step(0.24, 0.12, away));
            Surface::round(color, 0.95 * x / width.max(0.05), (t - 0.4) * 1.2, 0.4)
        })
    }

    fn crown(&self, x: f32, y: f32) -> Option<Surface> {
        let (u, v) = (x, (y + 0.64) * 1.9);
        let r = (u * u + v * v).sqrt();
        if x.abs() < 0.05 && (-1.0..-0.6).contains(&y) {
            return Some(Surface::flat(scale(self.calyx, 0.8)));
        }
        if r > 0.75 {
            return None;
        }
        let turn = angle(u, v);
        let spike = zigzag(turn * 8.0 + 0.5 + 0.1 * sine(turn * 3.0));
        (r < 0.22 + 0.5 * spike * spike).then(|| {
            let lit = 0.75 + 0.4 * spike * (1.0 - r);
            Surface::flat(scale(self.calyx, lit))
        })
    }
}
