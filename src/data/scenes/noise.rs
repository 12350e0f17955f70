//! Noise textures and elementary curves from additions, multiplications and square roots only. Those are exactly
//! specified by IEEE 754, so a scene has the same bytes on every machine. The platform's math library (sin, pow, exp)
//! is not used.

/// An integer hash of a lattice point.
pub fn hash(seed: u32, x: i32, y: i32) -> u32 {
    let mut h = seed ^ (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

/// `x` rounded down. Baseline x86-64 has no instruction for `f32::floor` and would call a function.
pub fn floor(x: f32) -> i32 {
    let toward_zero = x as i32;
    toward_zero - i32::from((toward_zero as f32) > x)
}

/// The fractional part of `x`, in [0, 1).
pub fn fraction(x: f32) -> f32 {
    x - floor(x) as f32
}

/// A hash of a lattice point as a number in [0, 1).
pub fn unit(seed: u32, x: i32, y: i32) -> f32 {
    (hash(seed, x, y) >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Value noise in [0, 1] with smooth interpolation on a unit lattice.
pub fn value(seed: u32, x: f32, y: f32) -> f32 {
    let (ix, iy) = (floor(x), floor(y));
    let (tx, ty) = (ease(x - ix as f32), ease(y - iy as f32));
    let top = lerp(unit(seed, ix, iy), unit(seed, ix + 1, iy), tx);
    let bottom = lerp(unit(seed, ix, iy + 1), unit(seed, ix + 1, iy + 1), tx);
    lerp(top, bottom, ty)
}

/// Fractal value noise in [0, 1]; each octave has twice the frequency and half the amplitude.
pub fn fractal(seed: u32, x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut total, mut weight, mut scale) = (0.0, 0.0, 1.0, 1.0);
    for octave in 0..octaves {
        sum += weight * value(seed.wrapping_add(octave * 0x51ED), x * scale, y * scale);
        total += weight;
        weight *= 0.5;
        scale *= 2.0;
    }
    sum / total
}

/// Cellular (Worley) noise: distances to the nearest and second nearest feature point, and a random number in [0, 1)
/// of the nearest.
pub fn cells(seed: u32, x: f32, y: f32) -> (f32, f32, f32) {
    let (cx, cy) = (floor(x), floor(y));
    let (mut first, mut second, mut owner) = (f32::MAX, f32::MAX, 0);
    for iy in cy - 1..=cy + 1 {
        for ix in cx - 1..=cx + 1 {
            let h = hash(seed, ix, iy);
            let px = ix as f32 + 0.15 + 0.7 * ((h & 0xFFFF) as f32 / 65_536.0);
            let py = iy as f32 + 0.15 + 0.7 * ((h >> 16) as f32 / 65_536.0);
            let d = (px - x) * (px - x) + (py - y) * (py - y);
            if d < first {
                (second, first, owner) = (first, d, h);
            } else if d < second {
                second = d;
            }
        }
    }
    let own = (owner.wrapping_mul(0x2C1B_3C6D) >> 8) as f32 * (1.0 / 16_777_216.0);
    (first.sqrt(), second.sqrt(), own)
}

pub fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Smoothstep: 0 below `low`, 1 above `high`.
pub fn step(low: f32, high: f32, x: f32) -> f32 {
    ease(((x - low) / (high - low)).clamp(0.0, 1.0))
}

/// sin(2πt), to about 0.001.
pub fn sine(turns: f32) -> f32 {
    let x = fraction(turns) - 0.5;
    let parabola = -8.0 * x * (1.0 - 2.0 * x.abs());
    parabola * (0.775 + 0.225 * parabola.abs())
}

/// The direction of `(x, y)` in turns, in [0, 1), to about 0.001.
pub fn angle(x: f32, y: f32) -> f32 {
    let (ax, ay) = (x.abs(), y.abs());
    let z = if ax > ay { ay / ax } else { ax / ay.max(1e-9) };
    let octant = z * (0.125 + 0.0435 * (1.0 - z));
    let quadrant = if ax > ay { octant } else { 0.25 - octant };
    let half = if x < 0.0 { 0.5 - quadrant } else { quadrant };
    if y < 0.0 { (1.0 - half).min(0.999_999_9) } else { half }
}

/// A triangle wave: 0 at integers, 1 halfway between.
pub fn zigzag(t: f32) -> f32 {
    1.0 - (2.0 * fraction(t) - 1.0).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    #[test]
    fn curves_follow_the_library_functions() {
        for i in -200..200 {
            let t = i as f32 * 0.013;
            assert_eq!(floor(t) as f32, t.floor(), "floor({t})");
            assert_eq!(floor(i as f32), i);
            assert!((sine(t) - (t * TAU).sin()).abs() < 2e-3, "sine({t})");
            let (x, y) = ((t * TAU).cos(), (t * TAU).sin());
            let error = angle(x, y) - t.rem_euclid(1.0);
            assert!((error - error.round()).abs() < 1.5e-3, "angle({x}, {y})");
        }
    }

    #[test]
    fn noise_stays_in_range_and_is_continuous() {
        for i in 0..2000 {
            let x = i as f32 * 0.037 - 30.0;
            let here = fractal(9, x, x * 0.7, 3);
            assert!((0.0..=1.0).contains(&here));
            assert!((here - fractal(9, x + 1e-3, x * 0.7, 3)).abs() < 0.02);
            let (first, second, own) = cells(9, x, x * 0.3);
            assert!(first <= second && first < 1.3 && (0.0..1.0).contains(&own));
        }
    }
}
