//! sRGB (8 bit) ↔ CIE Lab, D65, 2° observer. Matches scikit-image's `rgb2lab` and `lab2rgb` on floats, with the same
//! matrix, white point and rounded CIE constants (0.008856, 7.787).
//!
//! The forward direction runs on every training pixel: linearization is a 256-entry table, and the cube root a
//! bit-level initial guess refined in f64 without division, accurate to 1e-9. The inverse is for output images.
//!
//! Not supported: other white points, observers or RGB spaces; chromatic adaptation; gradients.

use crate::op::{compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::LazyLock;

/// Linear sRGB → XYZ, as in scikit-image.
const XYZ_FROM_RGB: [[f64; 3]; 3] =
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]];
/// D65, 2° observer.
const WHITE: [f64; 3] = [0.95047, 1.0, 1.08883];
/// Below this, the cube root is replaced by a linear function …
const LINEAR_BELOW: f64 = 0.008856;
/// … and below this, its inverse, as in scikit-image.
const INVERSE_LINEAR_BELOW: f64 = 0.2068966;
const SLOPE: f64 = 7.787;
const OFFSET: f64 = 16.0 / 116.0;

/// Pixels converted together, so that the cube roots vectorize.
const BLOCK: usize = 8;
/// Pixels per thread-pool task.
const TASK: usize = 4096;
/// Size of the lookup table from linear intensity to byte.
const COARSE: usize = 4096;

/// Precomputed tables.
struct Tables {
    /// Linear intensity of a byte.
    linear: [f64; 256],
    /// White-relative XYZ from linear RGB, and back.
    forward: [[f64; 3]; 3],
    backward: [[f64; 3]; 3],
    /// `edges[i]`: the lowest linear intensity whose nearest byte is `i`.
    edges: [f64; 257],
    /// The byte at the lower end of each interval of [0, 1].
    coarse: Vec<u8>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut forward = XYZ_FROM_RGB;
    for (row, white) in forward.iter_mut().zip(WHITE) {
        row.iter_mut().for_each(|v| *v /= white);
    }
    let edges: [f64; 257] = std::array::from_fn(|i| linearize((i as f64 - 0.5) / 255.0));
    let byte = |v: f64| edges[1..256].iter().filter(|e| v >= **e).count() as u8;
    Tables {
        linear: std::array::from_fn(|i| linearize(i as f64 / 255.0)),
        forward,
        backward: inverse(&forward),
        edges,
        coarse: (0..=COARSE).map(|i| byte(i as f64 / COARSE as f64)).collect(),
    }
});

/// The sRGB transfer curve, from a fraction of full scale to linear intensity.
fn linearize(v: f64) -> f64 {
    if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 }
}

fn inverse(m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let minor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / determinant))
}

fn product(m: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|r| m[r][0] * v[0] + m[r][1] * v[1] + m[r][2] * v[2])
}

/// Cube root of a normal number near 1, relative error below 1e-9: an initial guess of t^(-1/3) from the exponent
/// bits (within 4 %), two third-order iterations, then t·(t^(-1/3))².
#[inline(always)]
fn cube_root(t: f64) -> f64 {
    let guess = f32::from_bits(0x54A2_1D2A_u32.wrapping_sub((t as f32).to_bits() / 3));
    let mut r = f64::from(guess);
    for _ in 0..2 {
        let rest = 1.0 - t * r * r * r;
        r *= 1.0 + rest * (1.0 / 3.0 + rest * (2.0 / 9.0));
    }
    t * r * r
}

/// CIE's f(t) for a white-relative tristimulus value.
#[inline(always)]
fn response(t: f64) -> f64 {
    let (root, line) = (cube_root(t), SLOPE * t + OFFSET);
    if t > LINEAR_BELOW { root } else { line }
}

#[inline(always)]
fn opponent(f: [f64; 3]) -> [f64; 3] {
    [116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])]
}

/// [`srgb8_to_lab`] in f64.
pub(super) fn srgb8_to_lab_f64(rgb: [u8; 3]) -> [f64; 3] {
    let tables = &*TABLES;
    opponent(product(&tables.forward, rgb.map(|v| tables.linear[usize::from(v)])).map(response))
}

/// One pixel. L in [0, 100], a in [-86.2, 98.3], b in [-107.9, 94.5].
pub fn srgb8_to_lab(rgb: [u8; 3]) -> [f32; 3] {
    srgb8_to_lab_f64(rgb).map(|v| v as f32)
}

/// L of the sRGB gray with this channel value in 0…255, which may be fractional.
pub fn gray_lightness(value: f64) -> f32 {
    // White is Y = 1, and Y's row of the matrix sums to 1.
    (116.0 * response(linearize(value / 255.0)) - 16.0) as f32
}

/// Converts one pixel back, clipped to the gamut: the byte triple and whether it was clipped.
///
/// A channel counts as clipped if its value is more than half a byte outside 0…255, so colors that came from bytes
/// never are. NaN gives 0 and counts as clipped.
pub fn lab_to_srgb8(lab: [f32; 3]) -> ([u8; 3], bool) {
    let tables = &*TABLES;
    let [lightness, a, b] = lab.map(f64::from);
    let y = (lightness + 16.0) / 116.0;
    let xyz = [y + a / 500.0, y, y - b / 200.0]
        .map(|f| if f > INVERSE_LINEAR_BELOW { f * f * f } else { (f - OFFSET) / SLOPE });
    let linear = product(&tables.backward, xyz);
    let inside = linear.iter().all(|v| *v >= tables.edges[0] && *v < tables.edges[256]);
    (linear.map(|v| nearest_byte(tables, v)), !inside)
}

/// The byte whose sRGB value is nearest to a linear intensity. The transfer curve is monotone, so a search over the
/// midpoints between bytes replaces the power function.
fn nearest_byte(tables: &Tables, linear: f64) -> u8 {
    // `as` sends not-a-number to 0
    let part = (linear.clamp(0.0, 1.0) * COARSE as f64) as usize;
    let mut byte = tables.coarse[part];
    while byte < u8::MAX && linear >= tables.edges[usize::from(byte) + 1] {
        byte += 1;
    }
    byte
}

/// At most [`BLOCK`] pixels.
fn convert_block(tables: &Tables, rgb: &[[u8; 3]], lab: &mut [[f32; 3]]) {
    let mut f = [[0f64; BLOCK]; 3];
    for (i, pixel) in rgb.iter().enumerate() {
        let xyz = product(&tables.forward, pixel.map(|v| tables.linear[usize::from(v)]));
        for (row, value) in f.iter_mut().zip(xyz) {
            row[i] = value;
        }
    }
    f.iter_mut().for_each(|row| row.iter_mut().for_each(|v| *v = response(*v)));
    for (i, out) in lab.iter_mut().enumerate() {
        *out = opponent([f[0][i], f[1][i], f[2][i]]).map(|v| v as f32);
    }
}

/// Converts packed pixels to Lab on the calling thread, up to the length of the shorter slice.
pub fn convert(rgb: &[[u8; 3]], lab: &mut [[f32; 3]]) {
    let tables = &*TABLES;
    for (from, to) in rgb.chunks(BLOCK).zip(lab.chunks_mut(BLOCK)) {
        convert_block(tables, from, to);
    }
}

/// Converts a batch on its device: u8 RGB `(B, H, W, 3)` → f32 Lab `(B, H, W, 3)`. No gradient.
///
/// Fails when the last axis is not 3 or the bytes are not u8.
pub fn rgb_to_lab(rgb: &Tensor) -> Result<Tensor> {
    check("rgb_to_lab", rgb, DType::U8)?;
    compute(
        "rgb_to_lab",
        [rgb],
        |[rgb]| {
            let bytes = rgb.elements::<u8>()?;
            let mut lab = vec![0f32; bytes.len()];
            let ((rgb_pixels, _), (out, _)) = (bytes.as_chunks::<3>(), lab.as_chunks_mut::<3>());
            let tasks = out.par_chunks_mut(TASK).zip(rgb_pixels.par_chunks(TASK));
            tasks.for_each(|(to, from)| convert(from, to));
            Ok(output(lab, rgb.shape()))
        },
        #[cfg(feature = "cuda")]
        lab_on_gpu,
    )
}

#[cfg(feature = "cuda")]
fn lab_on_gpu([rgb]: [CudaInput; 1]) -> Result<CudaOutput> {
    let (device, n) = (rgb.device(), rgb.shape().elem_count() / 3);
    let (out, lab) = alloc_uninit(device, rgb.shape(), DType::F32)?;
    let mut matrix = [0.0; 9];
    matrix.copy_from_slice(TABLES.forward.as_flattened());
    let args = [Arg::Pointer(rgb.address()?), Arg::Pointer(lab), Arg::Matrix(matrix), Arg::count(n)];
    launch(device, modules::COLOR, "rgb_to_lab", Grid::tabled(n), &args)?;
    Ok((out, rgb.shape().clone()))
}

/// f32 Lab `(B, H, W, 3)` → u8 RGB `(B, H, W, 3)` on the same device, clipped to the gamut. Computed on the CPU. No
/// gradient. Fails if the last axis is not 3.
pub fn lab_to_rgb(lab: &Tensor) -> Result<Tensor> {
    let pixels = pixels_of("lab_to_rgb", lab)?;
    let bytes: Vec<u8> = pixels.par_iter().flat_map_iter(|p| lab_to_srgb8(*p).0).collect();
    Tensor::from_vec(bytes, lab.shape(), &Device::Cpu)?.to_device(lab.device())
}

/// Number of pixels of f32 Lab `(B, H, W, 3)` outside the sRGB gamut, which [`lab_to_rgb`] clips.
pub fn count_clipped(lab: &Tensor) -> Result<usize> {
    let pixels = pixels_of("count_clipped", lab)?;
    Ok(pixels.par_iter().filter(|p| lab_to_srgb8(**p).1).count())
}

fn pixels_of(op: &str, lab: &Tensor) -> Result<Vec<[f32; 3]>> {
    check(op, lab, DType::F32)?;
    let values = lab.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.as_chunks::<3>().0.to_vec())
}

fn check(op: &str, pixels: &Tensor, dtype: DType) -> Result<()> {
    if pixels.dtype() != dtype || pixels.dims().last() != Some(&3) {
        bail!("{op}: expected {dtype:?} (B, H, W, 3), got {:?} {:?}", pixels.dtype(), pixels.shape())
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cube_root_is_exact_enough() {
        let worst = (0..200_000).map(|i| 0.008 + i as f64 * 6e-6).map(|t| cube_root(t) / t.cbrt() - 1.0);
        let worst = crate::extremes::largest(worst);
        assert!(worst < 1e-9, "{worst:e}");
    }

    #[test]
    fn grays_have_the_lightness_of_their_triple() {
        for v in 0..=255u8 {
            assert!((gray_lightness(f64::from(v)) - srgb8_to_lab([v; 3])[0]).abs() < 1e-5, "{v}");
        }
    }

    #[test]
    fn every_byte_triple_comes_back() {
        let wrong: usize = (0..=255u8)
            .into_par_iter()
            .map(|r| {
                let rows = (0..=255u8).flat_map(|g| (0..=255u8).map(move |b| [r, g, b]));
                rows.filter(|rgb| lab_to_srgb8(srgb8_to_lab(*rgb)) != (*rgb, false)).count()
            })
            .sum();
        assert_eq!(wrong, 0);
    }

    #[test]
    fn the_byte_is_the_rounded_power() {
        let curve = |v: f64| if v > 0.0031308 { 1.055 * v.powf(1.0 / 2.4) - 0.055 } else { 12.92 * v };
        for i in 0..100_000 {
            let linear = (i as f64 + 0.37) / 100_000.0;
            assert_eq!(nearest_byte(&TABLES, linear), (255.0 * curve(linear)).round() as u8, "{linear}");
        }
        assert_eq!((nearest_byte(&TABLES, -3.0), nearest_byte(&TABLES, 3.0)), (0, 255));
    }

    #[test]
    fn colors_outside_the_gamut_are_reported() {
        assert!(!lab_to_srgb8([100.0, 0.0, 0.0]).1);
        assert_eq!(lab_to_srgb8([50.0, 120.0, 0.0]).0[1], 0);
        assert!(lab_to_srgb8([50.0, 120.0, 0.0]).1);
        assert!(lab_to_srgb8([f32::NAN, 0.0, 0.0]).1);
        let lab = Tensor::new(&[[[[50f32, 0.0, 0.0], [50.0, 120.0, 0.0]]]], &Device::Cpu).unwrap();
        assert_eq!(count_clipped(&lab).unwrap(), 1);
    }

    #[test]
    fn a_batch_equals_its_pixels() {
        // 3 × 29 × 61 pixels: no multiple of a block or of a task; read through a transposed view
        let bytes: Vec<u8> = (0..3 * 29 * 61 * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let rgb = Tensor::from_vec(bytes, (3, 29, 61, 3), &Device::Cpu).unwrap().transpose(1, 2).unwrap();
        let lab = rgb_to_lab(&rgb).unwrap();
        assert_eq!(lab.dims(), &[3, 61, 29, 3]);
        let bytes = rgb.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        let values = lab.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (from, to) in bytes.as_chunks::<3>().0.iter().zip(values.as_chunks::<3>().0) {
            assert_eq!(srgb8_to_lab(*from), *to);
        }
        let back = lab_to_rgb(&lab).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_eq!(back, bytes);
    }

    #[test]
    fn wrong_tensors_are_named() {
        let zeros = |dtype| Tensor::zeros((1, 2, 2, 4), dtype, &Device::Cpu).unwrap();
        let message = rgb_to_lab(&zeros(DType::U8)).unwrap_err().to_string();
        assert!(message.contains("rgb_to_lab") && message.contains("[1, 2, 2, 4]"), "{message}");
        assert!(lab_to_rgb(&zeros(DType::F32)).is_err());
        let floats = Tensor::zeros((1, 2, 2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(rgb_to_lab(&floats).is_err());
    }

    proptest! {
        // Four of five colors of the box are out of gamut.
        #![proptest_config(ProptestConfig { max_global_rejects: 1 << 16, ..ProptestConfig::default() })]
        /// In gamut, going through bytes moves a color by no more than the bytes are coarse.
        #[test]
        fn lab_survives_bytes(l in 0f32..100.0, a in -87f32..99.0, b in -108f32..95.0) {
            let (rgb, clipped) = lab_to_srgb8([l, a, b]);
            prop_assume!(!clipped);
            let back = srgb8_to_lab(rgb);
            for (before, after) in [l, a, b].into_iter().zip(back) {
                prop_assert!((before - after).abs() < 1.5, "{:?} {:?}", [l, a, b], back);
            }
        }
    }
}
