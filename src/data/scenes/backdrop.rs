//! Backgrounds: sky, foliage or a wall above grass, sand, water, boards or paving. Image coordinates run from -1 to
//! 1, y downwards. The background is independent of the subject's class.

use super::noise::{cells, floor, fractal, sine, step, unit, value, zigzag};
use super::paint::{Dice, Rgb, mix, rgb, scale};

enum Upper {
    Sky { zenith: Rgb, haze: Rgb, cloud: f32 },
    Foliage { leaf: Rgb, trunk: f32, width: f32 },
    Bricks { clay: Rgb, mortar: Rgb },
    Plaster { paint: Rgb, stripes: f32 },
}

enum Lower {
    Grass(Rgb),
    Sand(Rgb),
    Water(Rgb),
    Boards(Rgb),
    Paving(Rgb),
}

pub struct Backdrop {
    upper: Upper,
    lower: Lower,
    /// y of the horizon; below -1 the ground fills the image (top view).
    horizon: f32,
    seed: u32,
    octaves: u32,
}

impl Backdrop {
    /// `octaves`: levels of fine texture, more for larger pictures.
    pub fn new(dice: &mut Dice, octaves: u32) -> Self {
        let (upper, lower) = match dice.pick(&[0, 1, 2, 3, 4, 5]) {
            0 => (sky(dice), Lower::Grass(dice.near(0x5E9138, 0.03))),
            1 => (sky(dice), Lower::Sand(dice.near(0xD9BC88, 0.02))),
            2 => (sky(dice), Lower::Water(dice.near(0x2F7FA0, 0.03))),
            3 => (foliage(dice), Lower::Grass(dice.near(0x527F33, 0.03))),
            4 => (bricks(dice), Lower::Paving(dice.near(0x8B8A87, 0.015))),
            _ => (plaster(dice), Lower::Boards(dice.near(0x9C6B3F, 0.03))),
        };
        let horizon = if dice.chance(0.2) { -2.0 } else { dice.between(-0.4, 0.35) };
        Self { upper, lower, horizon, seed: dice.seed(), octaves }
    }

    pub fn horizon(&self) -> f32 {
        self.horizon
    }

    pub fn color(&self, x: f32, y: f32) -> Rgb {
        if y < self.horizon { self.above(x, y) } else { self.below(x, y) }
    }

    fn above(&self, x: f32, y: f32) -> Rgb {
        let seed = self.seed;
        match self.upper {
            Upper::Sky { zenith, haze, cloud } => {
                let t = ((y + 1.0) / (self.horizon + 1.0)).clamp(0.0, 1.0);
                let clear = mix(zenith, haze, t * (0.4 + 0.6 * t));
                let mass = fractal(seed, x * 1.6, y * 3.4, self.octaves.max(3));
                let lit = mix(rgb(0xC4CBD6), rgb(0xFDFDFB), step(0.45, 0.75, mass));
                mix(clear, lit, step(cloud, cloud + 0.16, mass) * (1.0 - 0.4 * t))
            }
            Upper::Foliage { leaf, trunk, width } => {
                if (x - trunk + 0.05 * sine(y * 0.3)).abs() < width {
                    return bark(seed, x, y, (x - trunk) / width);
                }
                leaves(seed, leaf, x, y, self.octaves)
            }
            Upper::Bricks { clay, mortar } => {
                brickwork(seed, clay, mortar, x * 2.1, (y - self.horizon) * 4.4)
            }
            Upper::Plaster { paint, stripes } => {
                let band = if zigzag(x * stripes) > 0.5 { 1.0 } else { 0.93 };
                scale(paint, band * (0.93 + 0.1 * fractal(seed, x * 2.0, y * 2.0, 2)))
            }
        }
    }

    fn below(&self, x: f32, y: f32) -> Rgb {
        let (u, v, near) = self.ground_coordinates(x, y);
        let seed = self.seed.wrapping_add(77);
        match self.lower {
            Lower::Grass(color) => grass(seed, color, u, v, near, self.octaves),
            Lower::Sand(color) => {
                let ripple = sine(v * 1.1 + 0.9 * value(seed, u * 0.7, v * 0.5));
                let grain = fractal(seed, u * 5.0, v * 5.0, self.octaves) - 0.5;
                scale(color, 0.95 + near * (0.05 * ripple + 0.22 * grain))
            }
            Lower::Water(color) => {
                let swell = sine(v * 1.7 + 1.5 * value(seed, u * 0.9, v * 0.9));
                let chop = value(seed, u * 2.2, v * 4.5) - 0.5;
                let height = 0.5 + 0.33 * swell + 0.5 * chop;
                let body = mix(scale(color, 0.72), mix(color, rgb(0x9CD0DA), 0.55), height);
                mix(rgb(0xA9CBD8), mix(body, rgb(0xF2FAFA), step(0.88, 1.0, height)), 0.45 + 0.55 * near)
            }
            Lower::Boards(color) => boards(seed, color, u, v),
            Lower::Paving(color) => {
                let row = floor(v * 0.8);
                let along = u * 0.6 + 0.5 * row as f32;
                let seam = zigzag(v * 0.8).min(zigzag(along));
                let slab = unit(seed, floor(along), row);
                let grain = fractal(seed, u * 4.0, v * 4.0, self.octaves);
                scale(color, (0.82 + 0.12 * slab + 0.16 * grain) * (1.0 - 0.3 * near * step(0.1, 0.02, seam)))
            }
        }
    }

    /// Ground texture coordinates in perspective, and a fade for texture too fine to resolve near the horizon.
    fn ground_coordinates(&self, x: f32, y: f32) -> (f32, f32, f32) {
        if self.horizon < -1.0 {
            return (x * 2.0, y * 2.0, 1.0);
        }
        let drop = y - self.horizon;
        let distance = 1.0 / (drop + 0.22);
        (x * distance * 1.6, distance * 4.0, step(0.0, 0.35, drop))
    }
}

fn sky(dice: &mut Dice) -> Upper {
    let blue = dice.pick(&[0x3F7FCB, 0x4F93D8, 0x2F6DB8, 0x6BA4DB]);
    Upper::Sky {
        zenith: dice.near(blue, 0.02),
        haze: dice.near(0xC5DDEE, 0.02),
        cloud: dice.between(0.42, 0.8),
    }
}

fn foliage(dice: &mut Dice) -> Upper {
    let trunk = dice.between(-1.3, 1.3);
    Upper::Foliage { leaf: dice.near(0x4C7A2E, 0.04), trunk, width: dice.between(0.12, 0.26) }
}

fn bricks(dice: &mut Dice) -> Upper {
    Upper::Bricks { clay: dice.near(0xA5533B, 0.03), mortar: dice.near(0xC2B8A8, 0.02) }
}

fn plaster(dice: &mut Dice) -> Upper {
    let paint = dice.pick(&[0xD9CDB4, 0xB9C9CE, 0xC8B7C4, 0xBFCBB0, 0xD8B9A2]);
    Upper::Plaster { paint: dice.near(paint, 0.03), stripes: dice.pick(&[0.0, 0.0, 3.0, 5.0]) }
}

/// Running bond: each row is shifted by half a brick, and each brick has its own shade. A brick is 1 × 1.
pub fn brickwork(seed: u32, clay: Rgb, mortar: Rgb, u: f32, v: f32) -> Rgb {
    let row = floor(v);
    let along = u + 0.5 * row as f32;
    let own = unit(seed, floor(along), row);
    let other = unit(seed ^ 0xB51C, floor(along), row);
    let joint = (zigzag(along) * 2.0).min(zigzag(v));
    let shade = scale(mix(clay, rgb(0xC07A4A), 0.3 * other), 0.78 + 0.36 * own);
    let rough = 0.92 + 0.16 * value(seed, u * 6.0, v * 3.0);
    mix(mortar, scale(shade, rough), step(0.12, 0.3, joint))
}

/// Bark with lengthwise furrows and round shading; `across` runs from -1 to 1 over the trunk's width.
pub fn bark(seed: u32, x: f32, y: f32, across: f32) -> Rgb {
    let furrow = value(seed ^ 0xBA2C, x * 16.0, y * 2.5);
    let knots = value(seed, x * 5.0, y * 5.0);
    let round = 1.0 - 0.5 * across * across;
    scale(mix(rgb(0x4A3524), rgb(0x9A7857), 0.75 * furrow + 0.25 * knots), round)
}

/// Foliage: each noise cell is a slanted leaf with random lighting, over dark gaps.
pub fn leaves(seed: u32, color: Rgb, x: f32, y: f32, octaves: u32) -> Rgb {
    let (near, second, own) = cells(seed, x * 7.0 + y * 3.0, y * 8.0 - x * 2.0);
    let gap = step(0.0, 0.3, second - near) * step(0.75, 0.4, near);
    let mass = fractal(seed ^ 0x1EAF, x * 1.8, y * 1.8, octaves.max(2));
    let lit = (0.55 + 0.75 * own * own) * (1.1 - 0.5 * near) * (0.35 + 1.15 * mass);
    let leaf = scale(mix(color, rgb(0xA5B64C), 0.5 * own), lit);
    mix(scale(color, 0.3 + 0.25 * mass), leaf, 0.3 + 0.7 * gap)
}

fn grass(seed: u32, color: Rgb, u: f32, v: f32, near: f32, octaves: u32) -> Rgb {
    let blades = value(seed, u * 7.0, v * 1.8) - 0.5;
    let fine = fractal(seed ^ 0x6A55, u * 9.0, v * 3.0, octaves) - 0.5;
    let patches = value(seed, u * 0.6, v * 0.4);
    let shade = 0.85 + near * (0.55 * blades + 0.35 * fine) + 0.25 * patches;
    scale(mix(color, rgb(0x9FA64B), 0.3 * patches), shade)
}

fn boards(seed: u32, color: Rgb, u: f32, v: f32) -> Rgb {
    let plank = floor(v * 0.75);
    let own = unit(seed, plank, 3);
    let seam = zigzag(v * 0.75);
    let along = u * 0.5 + 9.0 * own;
    let rings = sine(v * 2.4 + 2.0 * value(seed, along, v * 1.2));
    let grain = value(seed ^ 0xB0A2, along * 2.0, v * 9.0) - 0.5;
    scale(color, (0.8 + 0.3 * own + 0.1 * rings + 0.22 * grain) * (0.55 + 0.45 * step(0.0, 0.09, seam)))
}
