//! Pillow's `resize` with its `BILINEAR` filter, bit-identical: an antialiasing triangle filter whose support grows
//! with the downscaling factor; weights with 22 fractional bits; a horizontal pass rounded to bytes, then a vertical
//! pass (`src/libImaging/Resample.c`).

use super::dataset::RgbImage;

/// Fractional bits of a weight: 32 minus 8 bits of a sample and 2 bits of headroom.
const BITS: u32 = 32 - 8 - 2;
/// Bytes of a row processed at a time.
const BYTES: usize = 32;

/// Resizes to `(width, height)` pixels, neither 0.
pub(super) fn resized(image: &RgbImage, (width, height): (usize, usize)) -> RgbImage {
    let wide = (width != image.width).then(|| along_rows(image, width));
    if height != image.height {
        return along_columns(wide.as_ref().unwrap_or(image), height);
    }
    wide.unwrap_or_else(|| image.clone())
}

/// Filter taps of one output sample.
struct FilterTaps {
    start: usize,
    weights: Vec<i32>,
}

/// The filter taps of `to` output samples over `from` inputs.
fn windows(from: usize, to: usize) -> Vec<FilterTaps> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (0..to).map(|at| window((at as f64 + 0.5) * scale, support, from)).collect()
}

fn window(center: f64, support: f64, from: usize) -> FilterTaps {
    let start = ((center - support + 0.5) as i64).max(0) as usize;
    let end = ((center + support + 0.5) as i64).clamp(0, from as i64) as usize;
    let triangle = |at: usize| {
        let distance = ((at as f64 - center + 0.5) * (1.0 / support)).abs();
        if distance < 1.0 { 1.0 - distance } else { 0.0 }
    };
    let sum: f64 = (start..end).map(triangle).sum();
    let share = |at: usize| if sum == 0.0 { triangle(at) } else { triangle(at) / sum };
    let fixed = |at: usize| (0.5 + share(at) * f64::from(1u32 << BITS)) as i32;
    FilterTaps { start, weights: (start..end).map(fixed).collect() }
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (BITS - 1);

/// Multiply-add. Cannot overflow, since the weights of a sample sum to 1 and samples are bytes; wrapping arithmetic
/// lets the loops vectorize.
#[inline(always)]
fn added(sum: i32, weight: i32, sample: i32) -> i32 {
    sum.wrapping_add(weight.wrapping_mul(sample))
}

fn along_rows(image: &RgbImage, width: usize) -> RgbImage {
    let windows: Vec<Pairs> = windows(image.width, width).iter().map(Pairs::of).collect();
    let mut pixels = vec![0; 3 * width * image.height];
    // One extra pixel, so that the last one has a neighbor.
    let mut row = vec![0; 4 * (image.width + 1)];
    let rows = image.pixels.chunks_exact(3 * image.width).zip(pixels.chunks_exact_mut(3 * width));
    for (from, to) in rows {
        wide::row_of_pixels(&windows, from, &mut row, to);
    }
    RgbImage { width, height: image.height, pixels }
}

/// Horizontal filter taps, two pixels of four lanes at a time: one SIMD register.
struct Pairs {
    start: usize,
    weights: Vec<[i32; 8]>,
}

impl Pairs {
    fn of(window: &FilterTaps) -> Self {
        let pair = |two: &[i32]| {
            let (a, b) = (two[0], two.get(1).copied().unwrap_or(0));
            [a, a, a, a, b, b, b, b]
        };
        Self { start: window.start, weights: window.weights.chunks(2).map(pair).collect() }
    }
}

/// One output row from one input row; `row` is scratch space.
#[inline(always)]
fn row_of_pixels(windows: &[Pairs], from: &[u8], row: &mut [i32], to: &mut [u8]) {
    for (pixel, [r, g, b]) in row.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<3>().0) {
        *pixel = [i32::from(*r), i32::from(*g), i32::from(*b), 0];
    }
    for (window, to) in windows.iter().zip(to.as_chunks_mut::<3>().0) {
        let mut sums = [0; 8];
        for (weights, pixels) in window.weights.iter().zip(row[4 * window.start..].as_chunks::<8>().0) {
            sums = std::array::from_fn(|i| added(sums[i], weights[i], pixels[i]));
        }
        *to = std::array::from_fn(|c| byte(HALF.wrapping_add(sums[c]).wrapping_add(sums[c + 4])));
    }
}

fn along_columns(image: &RgbImage, height: usize) -> RgbImage {
    let row = 3 * image.width;
    let mut pixels = vec![0; row * height];
    for (to, window) in pixels.chunks_exact_mut(row).zip(windows(image.height, height)) {
        let from = &image.pixels[window.start * row..][..window.weights.len() * row];
        wide::row_of_rows(&window.weights, from, to);
    }
    RgbImage { width: image.width, height, pixels }
}

/// One output row from its input rows.
#[inline(always)]
fn row_of_rows(weights: &[i32], from: &[u8], to: &mut [u8]) {
    let row = to.len();
    for (block, to) in to.chunks_mut(BYTES).enumerate() {
        let mut sums = [HALF; BYTES];
        for (weight, from) in weights.iter().zip(from.chunks_exact(row)) {
            let from = &from[block * BYTES..][..to.len()];
            if let Some(from) = from.first_chunk::<BYTES>() {
                sums.iter_mut()
                    .zip(from)
                    .for_each(|(sum, sample)| *sum = added(*sum, *weight, (*sample).into()));
            } else {
                sums.iter_mut()
                    .zip(from)
                    .for_each(|(sum, sample)| *sum = added(*sum, *weight, (*sample).into()));
            }
        }
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = byte(sum));
    }
}

/// The two loops, compiled for AVX2 where available.
mod wide {
    use super::Pairs;

    pub(super) fn row_of_pixels(windows: &[Pairs], from: &[u8], row: &mut [i32], to: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { row_of_pixels_avx2(windows, from, row, to) };
        }
        super::row_of_pixels(windows, from, row, to);
    }

    pub(super) fn row_of_rows(weights: &[i32], from: &[u8], to: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { row_of_rows_avx2(weights, from, to) };
        }
        super::row_of_rows(weights, from, to);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn row_of_pixels_avx2(windows: &[Pairs], from: &[u8], row: &mut [i32], to: &mut [u8]) {
        super::row_of_pixels(windows, from, row, to);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn row_of_rows_avx2(weights: &[i32], from: &[u8], to: &mut [u8]) {
        super::row_of_rows(weights, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scripts/oracles/resize.py`, by Pillow 12.2.0.
    #[test]
    fn every_level_is_pillows() {
        let oracle: serde_json::Value =
            serde_json::from_str(include_str!("../../scripts/oracles/resize.json")).unwrap();
        let bytes = |text: &serde_json::Value| -> Vec<u8> {
            let digits = text.as_str().unwrap().as_bytes().chunks(2);
            digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
        };
        let cases = oracle["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 9);
        for case in cases {
            let [size, to]: [(usize, usize); 2] =
                ["size", "to"].map(|key| serde_json::from_value(case[key].clone()).unwrap());
            let image = RgbImage { width: size.0, height: size.1, pixels: bytes(&case["pixels"]) };
            let ours = resized(&image, to);
            assert_eq!((ours.width, ours.height), to);
            assert_eq!(ours.pixels, bytes(&case["resized"]), "{size:?} to {to:?}");
        }
    }

    /// Processors without AVX2 come to the same.
    #[test]
    fn both_kinds_of_loops_agree() {
        let pixels: Vec<u8> = (0..3 * 61 * 47).map(|i| (i * i % 251) as u8).collect();
        let image = RgbImage { width: 61, height: 47, pixels };
        let pairs: Vec<Pairs> = windows(61, 29).iter().map(Pairs::of).collect();
        let mut row = vec![0; 4 * 62];
        let mut rows = vec![vec![0; 3 * 29]; 2];
        row_of_pixels(&pairs, &image.pixels[..3 * 61], &mut row, &mut rows[0]);
        wide::row_of_pixels(&pairs, &image.pixels[..3 * 61], &mut row, &mut rows[1]);
        assert_eq!(rows[0], rows[1]);
        let mut rows = vec![vec![0; 3 * 61]; 2];
        let window = &windows(47, 20)[3];
        let from = &image.pixels[3 * 61 * window.start..];
        row_of_rows(&window.weights, from, &mut rows[0]);
        wide::row_of_rows(&window.weights, from, &mut rows[1]);
        assert_eq!(rows[0], rows[1]);
        assert!(rows[0].iter().any(|v| *v > 0));
    }
}
