//! Regions that are cut out of pictures for inpainting.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Side of a cell of noise as a share of the picture: 10,000 / 600 pixels of 128.
const CELL: f64 = 10_000.0 / 600.0 / 128.0;
/// Noise below this is cut out.
const THRESHOLD: f64 = 0.25;
/// Smallest and largest share of the picture that is cut out.
const SHARES: (f64, f64) = (0.2, 0.3);
/// Draws of a region before one outside of these shares is taken.
const ATTEMPTS: usize = 1000;
/// Constant of the bicubic kernel.
const SHARPNESS: f64 = -0.5;

/// A random region of a square picture of `side` pixels, as in the released code of context encoders (Pathak,
/// Krähenbühl, Donahue, Darrell and Efros 2016): uniform noise, enlarged by bicubic interpolation, is cut off at a quarter,
/// so that between 20 and 30 % of the picture are cut out. The noise is that of a large pattern; here a new one is drawn
/// each time. By rows; true is cut out.
pub fn random_region(side: usize, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let mut region = vec![];
    for _ in 0..ATTEMPTS {
        region = enlarged_noise(side, rng).into_iter().map(|value| value < THRESHOLD).collect();
        let share = region.iter().filter(|cut| **cut).count() as f64 / region.len().max(1) as f64;
        if (SHARES.0..=SHARES.1).contains(&share) {
            break;
        }
    }
    region
}

/// A part of an enlarged pattern of uniform noise.
fn enlarged_noise(side: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let cell = CELL * side as f64;
    // three more cells for the kernel, one for the offset
    let cells = (side as f64 / cell).ceil() as usize + 4;
    let noise: Vec<f64> = (0..cells * cells).map(|_| rng.random()).collect();
    let mut axis = || {
        let offset = rng.random::<f64>();
        (0..side).map(|i| taps(offset + (i as f64 + 0.5) / cell)).collect::<Vec<_>>()
    };
    let (rows, columns) = (axis(), axis());
    let along = |row: usize, (first, weights): &(usize, [f64; 4])| -> f64 {
        noise[row * cells + first..].iter().zip(weights).map(|(value, weight)| value * weight).sum()
    };
    let lines: Vec<Vec<f64>> =
        (0..cells).map(|row| columns.iter().map(|taps| along(row, taps)).collect()).collect();
    let value = |(first, weights): &(usize, [f64; 4]), column: usize| -> f64 {
        lines[*first..].iter().zip(weights).map(|(line, weight)| line[column] * weight).sum()
    };
    rows.iter().flat_map(|row| (0..side).map(move |column| (row, column))).map(|(r, c)| value(r, c)).collect()
}

/// The first of four samples around a place and their weights; sample 1 is at place 0.
fn taps(at: f64) -> (usize, [f64; 4]) {
    let first = at.floor();
    let part = at - first;
    (first as usize, [part + 1.0, part, 1.0 - part, 2.0 - part].map(cubic))
}

/// The bicubic kernel (Keys 1981).
fn cubic(x: f64) -> f64 {
    match x {
        x if x <= 1.0 => ((SHARPNESS + 2.0) * x - (SHARPNESS + 3.0)) * x * x + 1.0,
        x => SHARPNESS * (((x - 5.0) * x + 8.0) * x - 4.0),
    }
}

/// The central square of half the side.
pub fn central_region(side: usize) -> Vec<bool> {
    square(side, side / 4)
}

/// A square whose border is `margin` pixels from that of the picture.
pub fn square(side: usize, margin: usize) -> Vec<bool> {
    let inside = margin..side - margin;
    (0..side * side).map(|i| inside.contains(&(i / side)) && inside.contains(&(i % side))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_quarter_is_cut_out_in_blobs_anywhere() {
        let side = 64;
        let mut ever = vec![0; side * side];
        for i in 0..200 {
            let region = random_region(side, &mut Rng::new(1).at(0, i));
            assert_eq!(region.len(), side * side);
            let share = region.iter().filter(|cut| **cut).count() as f64 / 4096.0;
            assert!((0.2..=0.3).contains(&share), "{share}");
            // neighbors are alike but at the outlines, which single noise would be everywhere
            let edges = (0..4096).filter(|i| i % side > 0 && region[*i] != region[*i - 1]).count();
            assert!((40..500).contains(&edges), "{edges}");
            region.iter().zip(&mut ever).for_each(|(cut, count)| *count += i32::from(*cut));
        }
        assert!(
            ever.iter().all(|count| (10..100).contains(count)),
            "{:?}",
            (ever.iter().min(), ever.iter().max())
        );
    }

    #[test]
    fn kernels_sum_to_one_and_read_samples_at_their_places() {
        for at in [0.0, 0.3, 2.9] {
            assert!((taps(at).1.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(taps(2.0), (2, [0.0, 1.0, 0.0, 0.0]));
    }

    #[test]
    fn the_center_is_half_as_wide() {
        let region = central_region(8);
        assert_eq!(region.iter().filter(|cut| **cut).count(), 16);
        assert!(region[2 * 8 + 2] && region[5 * 8 + 5] && !region[8 + 4] && !region[6 * 8 + 4]);
    }
}
