//! Renders a subject on a background with lighting and occlusion, then simulates a camera: exposure, contrast, white
//! balance and sensor noise vary per image, so that mean lightness carries little class information.

use super::backdrop::{Backdrop, bark};
use super::noise::{floor, hash, sine, step, unit};
use super::paint::{Dice, Rgb, mix, rgb, scale};
use super::subject::Subject;
use super::surface::Surface;

/// Samples per pixel, along each side.
const SAMPLES: usize = 2;

/// One scene, defined at every point of the square from (-1, -1) to (1, 1), y downwards.
pub struct Scene {
    backdrop: Backdrop,
    subject: Subject,
    pose: Pose,
    light: [f32; 3],
    cover: Cover,
    camera: Camera,
}

struct Pose {
    center: [f32; 2],
    /// Matrix from image to subject coordinates, by rows.
    inverse: [[f32; 2]; 2],
    size: f32,
    foot: f32,
}

/// Occluder in front of the subject.
enum Cover {
    Nothing,
    Blades { color: Rgb, height: f32, seed: u32 },
    Branch { from: [f32; 2], along: [f32; 2], width: f32, seed: u32 },
}

struct Camera {
    gain: f32,
    contrast: f32,
    balance: Rgb,
    noise: f32,
    seed: u32,
}

impl Scene {
    /// A random scene of class `label`; `size` in pixels determines the texture detail.
    pub fn new(label: usize, size: usize, dice: &mut Dice) -> Self {
        let octaves = if size < 48 { 1 } else { 3 };
        let subject = Subject::new(label, dice);
        let pose = Pose::new(&subject, dice);
        let backdrop = Backdrop::new(dice, octaves);
        let side = dice.between(-0.6, 0.6);
        let length = (side * side + 0.5 * 0.5 + 0.65 * 0.65).sqrt();
        let light = [side / length, -0.5 / length, 0.65 / length];
        Self { backdrop, subject, pose, light, cover: Cover::new(dice), camera: Camera::new(dice) }
    }

    /// 8-bit RGB, row by row, `3·size²` bytes.
    pub fn photograph(&self, size: usize) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(3 * size * size);
        for row in 0..size {
            for column in 0..size {
                let seen = self.pixel(row, column, 2.0 / size as f32);
                pixels.extend(self.camera.develop(seen, row, column));
            }
        }
        pixels
    }

    /// The mean over the samples of one pixel. The background is sampled once per sample row: its edges are mostly
    /// horizontal, and it dominates the cost.
    fn pixel(&self, row: usize, column: usize, width: f32) -> Rgb {
        let mut sum = [0.0; 3];
        for j in 0..SAMPLES {
            let y = -1.0 + width * (row as f32 + (j as f32 + 0.5) / SAMPLES as f32);
            let mut behind = None;
            for i in 0..SAMPLES {
                let x = -1.0 + width * (column as f32 + (i as f32 + 0.5) / SAMPLES as f32);
                let middle = -1.0 + width * (column as f32 + 0.5);
                let color =
                    self.front(x, y).unwrap_or_else(|| *behind.get_or_insert_with(|| self.ground(middle, y)));
                sum = [sum[0] + color[0], sum[1] + color[1], sum[2] + color[2]];
            }
        }
        scale(sum, 1.0 / (SAMPLES * SAMPLES) as f32)
    }

    /// Color of the occluder or the subject at this point, if any.
    fn front(&self, x: f32, y: f32) -> Option<Rgb> {
        self.cover.at(x, y).or_else(|| {
            let (u, v) = self.pose.locate(x, y);
            let surface = if u * u + v * v < 1.5 { self.subject.at(u, v) } else { None };
            surface.map(|surface| self.lit(&surface))
        })
    }

    /// The background with the subject's shadow.
    fn ground(&self, x: f32, y: f32) -> Rgb {
        let shade = if y > self.backdrop.horizon() { self.pose.shadow(x, y) } else { 0.0 };
        scale(self.backdrop.color(x, y), 1.0 - 0.5 * shade)
    }

    fn lit(&self, surface: &Surface) -> Rgb {
        let [u, v, z] = surface.normal;
        // The inverse rotates and scales; its transpose times the size rotates the normal back to image space.
        let m = &self.pose.inverse;
        let nx = (m[0][0] * u + m[1][0] * v) * self.pose.size;
        let ny = (m[0][1] * u + m[1][1] * v) * self.pose.size;
        let facing = (nx * self.light[0] + ny * self.light[1] + z * self.light[2]).max(0.0);
        let body = scale(surface.color, 0.48 + 0.62 * facing);
        let mirror = 2.0 * facing * z - self.light[2];
        mix(body, [1.0, 0.99, 0.96], surface.gloss * 0.75 * step(0.86, 1.0, mirror))
    }
}

impl Pose {
    fn new(subject: &Subject, dice: &mut Dice) -> Self {
        let size = dice.between(0.56, 0.92);
        let reach = 0.42 * (1.15 - size) + 0.08;
        let center = [dice.between(-reach, reach), dice.between(-reach, reach) + 0.04];
        let lean = subject.lean();
        let turn = dice.between(-lean, lean);
        let mirror = if dice.chance(0.5) { -1.0 } else { 1.0 };
        let (s, c) = (sine(turn), sine(turn + 0.25));
        let inverse = [[mirror * c / size, mirror * s / size], [-s / size, c / size]];
        Self { center, inverse, size, foot: subject.foot() }
    }

    fn locate(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.center[0], y - self.center[1]);
        let m = &self.inverse;
        (m[0][0] * dx + m[0][1] * dy, m[1][0] * dx + m[1][1] * dy)
    }

    /// Soft elliptical shadow under the subject, 0 to 1.
    fn shadow(&self, x: f32, y: f32) -> f32 {
        let u = (x - self.center[0]) / (0.85 * self.size);
        let v = (y - self.center[1] - self.foot * self.size) / (0.2 * self.size);
        step(1.0, 0.3, u * u + v * v)
    }
}

impl Cover {
    fn new(dice: &mut Dice) -> Self {
        let kind = dice.between(0.0, 1.0);
        if kind < 0.7 {
            return Self::Nothing;
        }
        if kind < 0.85 {
            let color = dice.near(0x4E7E33, 0.04);
            return Self::Blades { color, height: dice.between(0.35, 0.8), seed: dice.seed() };
        }
        let from = [dice.between(-1.0, 1.0), -1.1];
        let along = [dice.between(-0.9, 0.9), 1.0];
        Self::Branch { from, along, width: dice.between(0.05, 0.1), seed: dice.seed() }
    }

    fn at(&self, x: f32, y: f32) -> Option<Rgb> {
        match *self {
            Self::Nothing => None,
            Self::Blades { color, height, seed } => blade(color, height, seed, x, y),
            Self::Branch { from, along, width, seed } => {
                let drop = y - from[1];
                let across = (x - from[0] - along[0] * drop + 0.06 * sine(drop * 0.6)) / width;
                (across.abs() < 1.0).then(|| bark(seed, across * 0.1, drop, across))
            }
        }
    }
}

/// Blades of grass in front, rising from the lower edge.
fn blade(color: Rgb, height: f32, seed: u32, x: f32, y: f32) -> Option<Rgb> {
    let rise = 1.0 - y;
    if rise > height {
        return None;
    }
    let column = floor(x * 5.0);
    (column - 1..=column + 1).find_map(|i| {
        let top = height * (0.35 + 0.65 * unit(seed, i, 0));
        let lean = 0.5 * (unit(seed, i, 1) - 0.5);
        let middle = (i as f32 + 0.2 + 0.6 * unit(seed, i, 2)) / 5.0 + lean * rise * rise;
        let half = 0.055 * (1.0 - rise / top);
        ((x - middle).abs() < half).then(|| {
            let rib = 0.85 + 0.3 * step(-half, half, x - middle);
            scale(mix(color, rgb(0x9BB455), 0.5 * rise / top), rib * (0.7 + 0.4 * unit(seed, i, 3)))
        })
    })
}

impl Camera {
    fn new(dice: &mut Dice) -> Self {
        let warmth = dice.between(-0.04, 0.04);
        Self {
            gain: dice.between(0.62, 1.2),
            contrast: dice.between(0.8, 1.2),
            balance: [1.0 + warmth, 1.0, 1.0 - warmth],
            noise: dice.between(0.004, 0.018),
            seed: dice.seed(),
        }
    }

    /// Applies exposure, contrast and white balance, then noise: luma noise per pixel, chroma noise per 2 × 2 block,
    /// as with chroma subsampling.
    fn develop(&self, seen: Rgb, row: usize, column: usize) -> [u8; 3] {
        let grain = self.noise * bell(hash(self.seed, column as i32, row as i32));
        let block = hash(self.seed ^ 0xC0, (column / 2) as i32, (row / 2) as i32);
        let warm = 0.5 * self.noise * bell(block);
        let cold = 0.5 * self.noise * bell(block.wrapping_mul(0x9E37_79B1));
        let noise = [grain + warm, grain, grain + cold];
        std::array::from_fn(|i| {
            let exposed = ((seen[i] - 0.5) * self.contrast + 0.5) * self.gain * self.balance[i];
            let noisy = exposed + noise[i];
            (noisy.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
        })
    }
}

/// The sum of the four bytes of `h`, centered, with unit variance: close to a normal deviate.
fn bell(h: u32) -> f32 {
    let sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
    (sum as f32 - 510.0) * (1.0 / 147.8)
}
