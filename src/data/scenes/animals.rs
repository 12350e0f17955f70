//! Fish (bands: orange and white; a stripe along the side: blue and yellow; plain scales: gold or silver), tiger
//! (stripes over orange), giraffe (brown patches on cream). Mirrored or not by the painter.

use super::noise::{cells, fractal, sine, step, value, zigzag};
use super::paint::{Dice, Rgb, mix, rgb, scale};
use super::surface::Surface;

/// A limb that tapers from one round end to the other.
struct Limb {
    from: [f32; 2],
    to: [f32; 2],
    radii: [f32; 2],
}

/// Position on a limb: along it (0 to 1), and the x and y of the normal.
struct Touch {
    along: f32,
    normal: [f32; 2],
}

const fn limb(from: [f32; 2], to: [f32; 2], radii: [f32; 2]) -> Limb {
    Limb { from, to, radii }
}

impl Limb {
    fn touch(&self, x: f32, y: f32) -> Option<Touch> {
        let (ax, ay) = (self.to[0] - self.from[0], self.to[1] - self.from[1]);
        let (px, py) = (x - self.from[0], y - self.from[1]);
        let along = ((px * ax + py * ay) / (ax * ax + ay * ay).max(1e-6)).clamp(0.0, 1.0);
        let radius = self.radii[0] + (self.radii[1] - self.radii[0]) * along;
        let (dx, dy) = (px - along * ax, py - along * ay);
        (dx * dx + dy * dy < radius * radius)
            .then(|| Touch { along, normal: [0.9 * dx / radius, 0.9 * dy / radius] })
    }
}

fn disc(x: f32, y: f32, cx: f32, cy: f32, r: f32) -> bool {
    (x - cx) * (x - cx) + (y - cy) * (y - cy) < r * r
}

#[derive(Clone, Copy)]
enum Pattern {
    Bands,
    Stripe,
    Plain,
}

pub struct Fish {
    pattern: Pattern,
    body: Rgb,
    fin: Rgb,
    depth: f32,
    seed: u32,
}

impl Fish {
    pub fn new(dice: &mut Dice) -> Self {
        let pattern = dice.pick(&[Pattern::Bands, Pattern::Stripe, Pattern::Plain]);
        let (body, fin) = match pattern {
            Pattern::Bands => (0xE5742A, 0xD9601F),
            Pattern::Stripe => (0x2F68B5, 0xE8C63A),
            Pattern::Plain => dice.pick(&[(0xDE9A3A, 0xC9762B), (0xA9B4BB, 0x77838C)]),
        };
        let depth = dice.between(0.38, 0.5);
        Self { pattern, body: dice.near(body, 0.03), fin: dice.near(fin, 0.03), depth, seed: dice.seed() }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        if disc(x, y, 0.52, -0.1, 0.085) {
            let pupil = disc(x, y, 0.535, -0.1, 0.05);
            return Some(Surface::flat(rgb(if pupil { 0x101014 } else { 0xF2EFE2 })));
        }
        let (u, v) = ((x - 0.12) / 0.78, y / (self.depth * (1.0 + 0.12 * x)));
        if u * u + v * v < 1.0 {
            return Some(Surface::round(self.skin(x, y), u * 0.85, v * 0.95, 0.4));
        }
        self.fins(x, y)
    }

    fn skin(&self, x: f32, y: f32) -> Rgb {
        let gill = step(0.04, 0.0, (x - 0.34 - 0.5 * y * y).abs());
        let (near, second, own) = cells(self.seed, x * 9.0, y * 9.0);
        let scales = 0.85 + 0.12 * own + 0.15 * step(0.0, 0.4, second - near);
        let base = match self.pattern {
            Pattern::Bands => {
                let wave = 0.5 * y * y + 0.04 * sine(y * 2.0);
                let near_band = (zigzag((x + wave) * 1.9 + 0.3) - 0.5) * 2.0;
                let white = step(0.35, 0.5, near_band);
                let edged = step(0.2, 0.3, near_band) - white;
                mix(mix(self.body, rgb(0xF3EFE6), white), rgb(0x1B1718), 0.9 * edged)
            }
            Pattern::Stripe => mix(self.body, self.fin, step(0.13, 0.09, (y + 0.02).abs())),
            Pattern::Plain => mix(self.body, rgb(0xF0E9D8), step(0.0, 0.4, y)),
        };
        scale(base, scales * (1.0 - 0.35 * gill))
    }

    fn fins(&self, x: f32, y: f32) -> Option<Surface> {
        let back = -0.5 - x;
        let tail = (0.0..0.5).contains(&back) && y.abs() < 0.1 + 0.85 * back && back < 0.38 + 0.35 * y.abs();
        let dorsal = (-0.35..0.4).contains(&x) && y < 0.0 && y > -self.depth - 0.24 + 0.5 * (x - 0.05).abs();
        let belly = (-0.15..0.2).contains(&x) && y > 0.0 && y < self.depth + 0.16 - 0.6 * (x + 0.1).abs();
        (tail || dorsal || belly).then(|| {
            let rays = zigzag(if tail { y * 7.0 / (0.3 + back) } else { x * 10.0 + y * 3.0 });
            Surface::flat(scale(self.fin, 0.72 + 0.38 * rays))
        })
    }
}

const TIGER_TAIL: [Limb; 2] = [
    limb([-0.66, -0.2], [-0.95, -0.05], [0.075, 0.065]),
    limb([-0.95, -0.05], [-1.08, -0.42], [0.065, 0.055]),
];
const TIGER_BODY: Limb = limb([-0.48, -0.08], [0.42, -0.12], [0.31, 0.34]);
const TIGER_HEAD: Limb = limb([0.72, -0.34], [0.8, -0.3], [0.27, 0.24]);
const TIGER_LEGS: [f32; 4] = [-0.62, 0.36, -0.38, 0.58];

pub struct Tiger {
    coat: Rgb,
    stripes: f32,
    gait: f32,
    seed: u32,
}

impl Tiger {
    pub fn new(dice: &mut Dice) -> Self {
        Self {
            coat: dice.near(0xDB8A33, 0.03),
            stripes: dice.between(2.6, 3.6),
            gait: dice.between(-0.12, 0.12),
            seed: dice.seed(),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        if let Some(face) = self.face(x, y) {
            return Some(face);
        }
        if let Some(touch) = TIGER_BODY.touch(x, y) {
            let base = mix(self.coat, rgb(0xF0E4CE), step(0.08, 0.2, y));
            return Some(self.furred(base, self.stripe(x, y * 0.4, self.stripes), &touch));
        }
        for (i, hip) in TIGER_LEGS.iter().enumerate() {
            let stride = if i % 2 == 0 { self.gait } else { -self.gait };
            let leg = limb([*hip, 0.1], [hip + stride, 0.64], [0.15, 0.095]);
            if let Some(touch) = leg.touch(x, y) {
                let base =
                    scale(mix(self.coat, rgb(0xF0E4CE), 0.25 * touch.along), if i < 2 { 1.0 } else { 0.72 });
                return Some(self.furred(base, self.stripe(y, x * 0.4, self.stripes), &touch));
            }
        }
        TIGER_TAIL.iter().find_map(|part| {
            part.touch(x, y).map(|touch| self.furred(self.coat, self.stripe(x + y, 0.0, 4.0), &touch))
        })
    }

    fn face(&self, x: f32, y: f32) -> Option<Surface> {
        if disc(x, y, 0.84, -0.4, 0.045) || disc(x, y, 1.03, -0.29, 0.055) {
            return Some(Surface::flat(rgb(0x1A1613)));
        }
        if let Some(touch) = TIGER_HEAD.touch(x, y) {
            let muzzle = step(0.2, 0.14, ((x - 0.95) * (x - 0.95) + (y + 0.2) * (y + 0.2)).sqrt());
            let base = mix(self.coat, rgb(0xF4ECDC), muzzle);
            let ink = self.stripe(x * 0.5 - y * 0.9, y, 4.0) * step(0.85, 0.7, x) * (1.0 - muzzle);
            return Some(self.furred(base, ink, &touch));
        }
        let ear = disc(x, y, 0.58, -0.58, 0.12) || disc(x, y, 0.84, -0.6, 0.11);
        ear.then(|| Surface::flat(scale(self.coat, 0.8)))
    }

    /// Stripe intensity: wavy, tapering stripes across `s`.
    fn stripe(&self, s: f32, t: f32, density: f32) -> f32 {
        let waver = 0.5 * fractal(self.seed, s * 2.0, t * 5.0 + 3.0, 2);
        let width = 0.5 + 0.3 * value(self.seed, s * density * 0.7, t * 6.0);
        step(width - 0.1, width + 0.1, zigzag(s * density + waver))
    }

    fn furred(&self, base: Rgb, ink: f32, touch: &Touch) -> Surface {
        let [nx, ny] = touch.normal;
        Surface::round(mix(base, rgb(0x1D1714), 0.93 * ink), nx, ny, 0.0)
    }
}

const GIRAFFE_BODY: Limb = limb([-0.42, 0.02], [0.1, -0.1], [0.2, 0.24]);
const GIRAFFE_HEAD: Limb = limb([0.52, -0.86], [0.78, -0.76], [0.12, 0.075]);
const GIRAFFE_LEGS: [f32; 4] = [-0.5, 0.2, -0.34, 0.06];

pub struct Giraffe {
    patch: Rgb,
    ground: Rgb,
    size: f32,
    lean: f32,
    seed: u32,
}

impl Giraffe {
    pub fn new(dice: &mut Dice) -> Self {
        Self {
            patch: dice.near(0x8E5527, 0.03),
            ground: dice.near(0xE6CD9B, 0.02),
            size: dice.between(5.0, 6.5),
            lean: dice.between(-0.08, 0.08),
            seed: dice.seed(),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        if let Some(head) = self.head(x, y) {
            return Some(head);
        }
        let neck = limb([0.18, -0.12], [0.5, -0.82], [0.17, 0.095]);
        if let Some(touch) = neck.touch(x, y).or_else(|| GIRAFFE_BODY.touch(x, y)) {
            return Some(self.coat(x, y, 1.0, &touch));
        }
        for (i, hip) in GIRAFFE_LEGS.iter().enumerate() {
            let stride = if i % 2 == 0 { self.lean } else { -self.lean };
            let leg = limb([*hip, 0.05], [hip + stride, 0.92], [0.095, 0.055]);
            if let Some(touch) = leg.touch(x, y) {
                return Some(self.coat(x, y, if i < 2 { 1.0 } else { 0.72 }, &touch));
            }
        }
        let tail = limb([-0.6, -0.05], [-0.72, 0.4], [0.035, 0.03]);
        tail.touch(x, y).map(|touch| {
            let color = if touch.along > 0.75 { rgb(0x3A2A1E) } else { self.ground };
            Surface::round(color, touch.normal[0], 0.0, 0.0)
        })
    }

    fn head(&self, x: f32, y: f32) -> Option<Surface> {
        if disc(x, y, 0.6, -0.88, 0.035) || disc(x, y, 0.5, -1.06, 0.04) {
            return Some(Surface::flat(rgb(0x241A14)));
        }
        if let Some(touch) = GIRAFFE_HEAD.touch(x, y) {
            let base = mix(self.ground, rgb(0x9A7350), touch.along);
            return Some(Surface::round(base, touch.normal[0], touch.normal[1], 0.0));
        }
        let horn = (x - 0.5).abs() < 0.025 && (-1.06..-0.9).contains(&y);
        let ear = disc(x, y, 0.38, -0.93, 0.07);
        (horn || ear).then(|| Surface::flat(scale(self.ground, 0.85)))
    }

    fn coat(&self, x: f32, y: f32, lit: f32, touch: &Touch) -> Surface {
        let (near, second, own) = cells(self.seed, x * self.size, y * self.size);
        let inside = step(0.08, 0.22, second - near) * step(0.95, 0.6, y);
        let color = mix(self.ground, scale(self.patch, 0.85 + 0.3 * own), inside);
        Surface::round(scale(color, lit), touch.normal[0], touch.normal[1], 0.0)
    }
}
