//! Ball (panels of any color) and house (brick, boards or paint of any color).

use super::backdrop::brickwork;
use super::noise::{angle, floor, sine, step, unit, value, zigzag};
use super::paint::{Dice, Rgb, hue, mix, rgb, scale};
use super::surface::Surface;

pub struct Ball {
    panels: [Rgb; 2],
    count: f32,
    /// Position of the pole inside the disc.
    pole: [f32; 2],
}

impl Ball {
    pub fn new(dice: &mut Dice) -> Self {
        let turn = dice.between(0.0, 1.0);
        let first = hue(turn, dice.between(0.65, 0.9), dice.between(0.7, 0.95));
        let second = if dice.chance(0.6) { rgb(0xF1F0EC) } else { hue(turn + 0.45, 0.75, 0.85) };
        let pole = [dice.between(-0.5, 0.5), dice.between(-0.5, 0.5)];
        Self { panels: [first, second], count: dice.pick(&[2.0, 3.0, 4.0]), pole }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        let (u, v) = (x / 0.85, y / 0.85);
        let r = u * u + v * v;
        (r < 1.0).then(|| {
            // Longitude about the pole, distorted towards the rim so that panel borders bend like meridians.
            let (px, py) = (u - self.pole[0] * (1.0 - r), v - self.pole[1] * (1.0 - r));
            let panel = zigzag(angle(px, py) * self.count) - 0.5;
            let cap = step(0.2, 0.15, (px * px + py * py).sqrt());
            let color = mix(self.panels[0], self.panels[1], step(-0.06, 0.06, panel));
            let seam = 1.0 - 0.25 * step(0.07, 0.0, panel.abs());
            Surface::round(scale(mix(color, rgb(0xF4F2EA), cap), seam), u, v, 0.55)
        })
    }
}

enum Walls {
    Bricks,
    Boards,
    Paint,
}

pub struct House {
    walls: Walls,
    wall: Rgb,
    roof: Rgb,
    door: Rgb,
    door_left: bool,
    chimney: f32,
    seed: u32,
}

impl House {
    pub fn new(dice: &mut Dice) -> Self {
        let (walls, wall) = match dice.pick(&[0, 1, 2]) {
            0 => (Walls::Bricks, dice.near(0xA9553C, 0.03)),
            1 => (Walls::Boards, dice.near(0x8A5C38, 0.03)),
            _ => (Walls::Paint, hue(dice.between(0.0, 1.0), dice.between(0.1, 0.45), 0.9)),
        };
        let roof = dice.pick(&[0x8A3D2C, 0x5B5F68, 0x6B4A35]);
        Self {
            walls,
            wall,
            roof: dice.near(roof, 0.03),
            door: hue(dice.between(0.0, 1.0), 0.55, dice.between(0.3, 0.6)),
            door_left: dice.chance(0.5),
            chimney: dice.pick(&[-0.45, 0.45]),
            seed: dice.seed(),
        }
    }

    pub fn at(&self, x: f32, y: f32) -> Option<Surface> {
        let eave = 1.0 - (y + 0.85) / 0.8;
        if (-0.85..-0.05).contains(&y) && x.abs() < 0.96 * (1.0 - eave) {
            return Some(self.tiles(x, y));
        }
        if (-0.92..-0.3).contains(&y) && (x - self.chimney).abs() < 0.1 {
            let clay = brickwork(self.seed, rgb(0x96503C), rgb(0xB5A898), x * 8.0, y * 12.0);
            return Some(Surface::flat(clay));
        }
        ((-0.05..0.97).contains(&y) && x.abs() < 0.8).then(|| self.front(x, y))
    }

    fn tiles(&self, x: f32, y: f32) -> Surface {
        let row = floor(y * 8.0);
        let own = unit(self.seed, floor(x * 6.0 + 0.5 * row as f32), row);
        let lap = zigzag(y * 8.0 * 0.5);
        let color = scale(self.roof, 0.72 + 0.3 * own + 0.16 * lap);
        Surface { color, normal: [0.0, -0.5, 0.866], gloss: 0.0 }
    }

    fn front(&self, x: f32, y: f32) -> Surface {
        let x = if self.door_left { x } else { -x };
        let (dx, dy) = (x + 0.38, y - 0.62);
        if dx.abs() < 0.19 && dy > -0.34 {
            let knob = (dx - 0.12) * (dx - 0.12) + (dy - 0.05) * (dy - 0.05) < 0.001;
            let panel = 0.85 + 0.15 * step(0.1, 0.3, zigzag(dx * 5.0 + 0.5));
            return Surface::flat(if knob { rgb(0xE0C060) } else { scale(self.door, panel) });
        }
        let (wx, wy) = ((x - 0.32).abs(), (y - 0.4).abs());
        if wx < 0.29 && wy < 0.25 {
            let glass = wx < 0.24 && wy < 0.2 && wx > 0.03 && wy > 0.03;
            let sheen = mix(rgb(0x5C86A8), rgb(0xBCD8EA), step(0.5, 0.3, y + 0.4 * x - 0.1));
            let color = if glass { sheen } else { rgb(0xEFEBE0) };
            return Surface { color, normal: [0.0, 0.0, 1.0], gloss: 0.0 };
        }
        let under_roof = 0.7 + 0.3 * step(-0.05, 0.12, y);
        Surface::flat(scale(self.cladding(x, y), under_roof))
    }

    fn cladding(&self, x: f32, y: f32) -> Rgb {
        match self.walls {
            Walls::Bricks => brickwork(self.seed, self.wall, rgb(0xC9BEAE), x * 4.0, y * 9.0),
            Walls::Boards => {
                let board = floor(y * 6.0);
                let own = unit(self.seed, board, 1);
                let grain = value(self.seed, x * 3.0, y * 40.0);
                scale(
                    self.wall,
                    (0.8 + 0.2 * own + 0.2 * grain) * (0.6 + 0.4 * step(0.0, 0.3, zigzag(y * 6.0))),
                )
            }
            Walls::Paint => {
                scale(self.wall, 0.94 + 0.06 * value(self.seed, x * 4.0, y * 4.0) + 0.02 * sine(y))
            }
        }
    }
}
