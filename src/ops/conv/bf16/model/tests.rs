use super::*;
use crate::skipping;
use std::path::{Path, PathBuf};

fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

fn bits(x: u32) -> f32 {
    f32::from_bits(x)
}

/// Pairs of bf16 of the given numbers, each times one.
fn times_one(pairs: &[[f32; 2]]) -> impl Iterator<Item = ([u16; 2], [u16; 2])> {
    pairs.iter().map(|pair| (pair.map(narrow), [0x3f80; 2]))
}

#[test]
fn even_and_odd_terms_are_chains_of_their_own() {
    // 2^24 + 1 would be rounded to 2^24.
    let sum = accumulate(0.0, times_one(&[[power(24), 1.0], [-power(24), 0.0]]));
    assert_eq!(sum, 1.0);
}

#[test]
fn the_chains_are_added_to_each_other_before_the_sum() {
    // 2^24 + 1 + 1, one after the other, would stay 2^24.
    let sum = accumulate(power(24), times_one(&[[1.0, 1.0]]));
    assert_eq!(sum, power(24) + 2.0);
    let cancelled = accumulate(power(24), times_one(&[[-power(24), 1.0], [1.0, 0.0]]));
    assert_eq!(cancelled, 2.0, "even: -2^24 + 1, odd: 1");
}

#[test]
fn the_second_of_a_pair_is_first_in_a_lane() {
    let one = narrow(1.0);
    assert_eq!(lane(power(24), [narrow(-power(24)), one], [one; 2]), 0.0);
    assert_eq!(lane(power(24), [one, narrow(-power(24))], [one; 2]), 1.0);
}

#[test]
fn tininess_is_judged_after_rounding_to_24_bits() {
    let least = f32::MIN_POSITIVE;
    for sign in [1.0, -1.0] {
        let kept = fma(-sign * power(-75), power(-76), sign * least);
        assert_eq!(kept.to_bits(), (sign * least).to_bits(), "2^-126 - 2^-151");
        let flushed = fma(-sign * power(-75), power(-75), sign * least);
        assert_eq!(flushed.to_bits(), (sign * 0.0).to_bits(), "2^-126 - 2^-150");
    }
    assert_eq!(fma(power(-63), power(-63), 0.0), least);
    assert_eq!(add(least, -power(-125)), -least);
    assert_eq!(add(1.5 * least, -least).to_bits(), 0);
}

#[test]
fn denormal_operands_are_zeros_of_their_sign() {
    let denormal = bits(0x0040_0000);
    assert_eq!(fma(denormal, power(100), 0.0).to_bits(), 0);
    assert_eq!(fma(-denormal, power(100), -0.0).to_bits(), 0x8000_0000);
    assert_eq!(add(denormal, denormal).to_bits(), 0);
    assert_eq!(fma(denormal, f32::INFINITY, 1.0).to_bits(), 0xffc0_0000, "0 · inf");
}

#[test]
fn of_several_nans_the_first_is_returned_quiet() {
    let (a, b, c) = (bits(0xff80_0001), bits(0x7f90_0002), bits(0x7fe0_0003));
    assert_eq!(fma(a, b, c).to_bits(), 0xffc0_0001);
    assert_eq!(fma(0.0, b, c).to_bits(), 0x7fd0_0002);
    assert_eq!(fma(f32::INFINITY, 0.0, c).to_bits(), 0x7fe0_0003, "rather than the one of inf · 0");
    assert_eq!(fma(f32::INFINITY, 1.0, f32::NEG_INFINITY).to_bits(), 0xffc0_0000);
    assert_eq!(add(a, b).to_bits(), 0xffc0_0001);
    let pairs = [([0x7f81, 0x7f82], [0x3f80; 2])];
    assert_eq!(accumulate(0.0, pairs.into_iter()).to_bits(), 0x7fc1_0000, "even before odd");
    assert_eq!(accumulate(c, pairs.into_iter()).to_bits(), 0x7fe0_0003, "the sum before both");
}

#[test]
fn a_tile_pairs_rows_with_columns() {
    let (mut a, mut b, mut c) = ([0; 512], [0; 512], [0.5; 256]);
    a[3 * 32 + 9] = narrow(2.0);
    a[3 * 32 + 8] = narrow(5.0);
    b[4 * 32 + 2 * 7 + 1] = narrow(10.0);
    multiply_tile(&mut c, &a, &b);
    let expected: [f32; 256] = std::array::from_fn(|i| if i == 3 * 16 + 7 { 20.5 } else { 0.5 });
    assert_eq!(c, expected);
}

#[test]
fn narrowing_rounds_to_nearest_even() {
    let rows = [
        (0x3f80_8000, 0x3f80, "tie to even, down"),
        (0x3f81_8000, 0x3f82, "tie to even, up"),
        (0x3f80_8001, 0x3f81, "above a tie"),
        (0xbf80_7fff, 0xbf80, "below a tie"),
        (0x7f7f_7fff, 0x7f7f, "largest finite"),
        (0x7f7f_8000, 0x7f80, "overflow"),
        (0xff7f_ffff, 0xff80, "negative overflow"),
        (0x7f80_0000, 0x7f80, "infinity"),
        (0x7f80_0001, 0x7fc0, "NaN whose payload is cut off"),
        (0xffa1_2345, 0xffe1, "negative NaN with payload"),
        (0x007f_ffff, 0x0000, "denormal that would round to a normal number"),
        (0x8000_0001, 0x8000, "negative denormal"),
        (0x0080_0000, 0x0080, "smallest normal"),
        (0x8000_0000, 0x8000, "negative zero"),
    ];
    for (x, expected, what) in rows {
        assert_eq!(narrow(bits(x)), expected, "{what}: {x:#010x}");
    }
    assert_eq!(widen(0x8001).to_bits(), 0x8001_0000, "denormals are widened as they are");
}

/// Inputs and results of the instructions on hardware.
fn known_answers() -> Option<PathBuf> {
    skipping::data("bf16_instructions")
}

/// The elements of an `.npy` file of integers of 1, 2 or 4 bytes, little endian.
fn elements(folder: &Path, name: &str) -> Vec<u32> {
    let file = std::fs::read(folder.join(name).with_extension("npy")).expect(name);
    let data = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let header = std::str::from_utf8(&file[10..data]).expect(name);
    let descr = header.split('\'').nth(3).expect(name);
    let width: usize = descr[2..].parse().expect(name);
    let little_endian = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, &byte| (sum << 8) | u32::from(byte));
    file[data..].chunks_exact(width).map(little_endian).collect()
}

fn halves(folder: &Path, name: &str) -> Vec<u16> {
    elements(folder, name).into_iter().map(|x| x as u16).collect()
}

fn floats(folder: &Path, name: &str) -> Vec<f32> {
    elements(folder, name).into_iter().map(f32::from_bits).collect()
}

/// Compares bits, so that signs of zeros and payloads of NaNs count.
fn assert_same_bits(computed: &[f32], expected: &[f32]) {
    assert_eq!(computed.len(), expected.len());
    for (i, (x, y)) in computed.iter().zip(expected).enumerate() {
        assert_eq!(x.to_bits(), y.to_bits(), "element {i}: {:#010x}, not {:#010x}", x.to_bits(), y.to_bits());
    }
}

#[test]
fn lanes_agree_with_known_answers() {
    let Some(folder) = known_answers() else { return };
    let (a, b) = (halves(&folder, "vdp_a"), halves(&folder, "vdp_b"));
    let c = floats(&folder, "vdp_c");
    let pairs = a.chunks_exact(2).zip(b.chunks_exact(2));
    let out: Vec<f32> = c.iter().zip(pairs).map(|(&c, (a, b))| lane(c, [a[0], a[1]], [b[0], b[1]])).collect();
    assert_eq!(out.len(), 8224);
    assert_same_bits(&out, &floats(&folder, "vdp_out"));
}

/// The sums of one case of `tdpbf16ps` on tiles of `[rows, pairs, columns]`; the others are zero, as in the files.
fn multiply_part(c: &[f32], a: &[u16], b: &[u16], [rows, pairs, columns]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; 256];
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let a = a[row * 32..][..2 * pairs].chunks_exact(2).map(|a| [a[0], a[1]]);
        let b = b.chunks_exact(32).map(|b| [b[2 * column], b[2 * column + 1]]);
        out[row * 16 + column] = accumulate(c[row * 16 + column], a.zip(b));
    }
    out
}

#[test]
fn tiles_of_all_sizes_agree_with_known_answers() {
    let Some(folder) = known_answers() else { return };
    let (a, b) = (halves(&folder, "tdp_a"), halves(&folder, "tdp_b"));
    let (c, expected) = (floats(&folder, "tdp_c"), floats(&folder, "tdp_out"));
    let shapes = elements(&folder, "tdp_shape");
    let shapes: Vec<[usize; 3]> = shapes.chunks_exact(3).map(|s| [0, 1, 2].map(|i| s[i] as usize)).collect();
    assert_eq!(shapes.len(), 56);
    assert_eq!(shapes.iter().map(|[rows, _, columns]| rows * columns).sum::<usize>(), 8737);
    for (case, &shape) in shapes.iter().enumerate() {
        let (a, b) = (&a[case * 512..][..512], &b[case * 512..][..512]);
        let out = multiply_part(&c[case * 256..][..256], a, b, shape);
        assert_same_bits(&out, &expected[case * 256..][..256]);
    }
}

/// Full tiles of the same cases go through `multiply_tile`.
#[test]
fn full_tiles_agree_with_known_answers() {
    let Some(folder) = known_answers() else { return };
    let (a, b) = (halves(&folder, "tdp_a"), halves(&folder, "tdp_b"));
    let (c, expected) = (floats(&folder, "tdp_c"), floats(&folder, "tdp_out"));
    let shapes = elements(&folder, "tdp_shape");
    let full: Vec<usize> = (0..56).filter(|case| shapes[case * 3..][..3] == [16, 16, 16]).collect();
    assert!(!full.is_empty());
    for case in full {
        let mut out: [f32; 256] = c[case * 256..][..256].try_into().unwrap();
        let (a, b) = (&a[case * 512..][..512], &b[case * 512..][..512]);
        multiply_tile(&mut out, a.try_into().unwrap(), b.try_into().unwrap());
        assert_same_bits(&out, &expected[case * 256..][..256]);
    }
}

#[test]
fn a_long_sum_of_tiles_agrees_with_known_answers() {
    let Some(folder) = known_answers() else { return };
    let (a, b) = (halves(&folder, "chain_a"), halves(&folder, "chain_b"));
    let mut sums: [f32; 256] = floats(&folder, "chain_c").try_into().unwrap();
    for (step, b) in b.as_chunks::<512>().0.iter().enumerate() {
        let a: Vec<u16> = a.chunks_exact(512).flat_map(|row| &row[step * 32..][..32]).copied().collect();
        multiply_tile(&mut sums, a[..].try_into().unwrap(), b);
    }
    assert_same_bits(&sums, &floats(&folder, "chain_out"));
}

#[test]
fn narrowing_agrees_with_known_answers() {
    let Some(folder) = known_answers() else { return };
    let narrowed: Vec<u16> = floats(&folder, "cvt_in").into_iter().map(narrow).collect();
    assert_eq!(narrowed.len(), 8192);
    assert_eq!(narrowed, halves(&folder, "cvt_out"));
    let (upper, lower) = (floats(&folder, "ne2_src1"), floats(&folder, "ne2_src2"));
    let vectors = lower.chunks_exact(16).zip(upper.chunks_exact(16));
    let narrowed: Vec<u16> =
        vectors.flat_map(|(low, high)| low.iter().chain(high)).map(|&x| narrow(x)).collect();
    assert_eq!(narrowed.len(), 2048);
    assert_eq!(narrowed, halves(&folder, "ne2_out"));
}
