use super::super::model;
use super::super::product::Operand;
use super::emulator;
use super::*;

/// Random numbers of a seed (SplitMix64 by Steele, Lea and Flood, 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn one_in(&mut self, n: u64) -> bool {
        (self.next() >> 20).is_multiple_of(n)
    }

    /// Of either sign, from 2^-8 to 2^8; one in `specials` is any bf16.
    fn half(&mut self, specials: u64) -> u16 {
        let bits = (self.next() >> 24) as u16;
        if self.one_in(specials) { bits } else { bits & 0x807f | (119 + (bits >> 7 & 15)) << 7 }
    }
}

/// `outer` rows of blocks of an operand, each followed by blocks that are not read; which blocks are present.
fn random_operand(
    outer: usize,
    [depth, len]: [usize; 2],
    specials: u64,
    absences: u64,
    numbers: &mut Numbers,
) -> (Vec<u16>, Vec<bool>) {
    let present: Vec<bool> = (0..outer * (depth + GAP))
        .map(|block| block % (depth + GAP) >= depth || !numbers.one_in(absences))
        .collect();
    let mut values = vec![NAN; present.len() * len];
    for (block, values) in values.chunks_exact_mut(len).enumerate() {
        if present[block] && block % (depth + GAP) < depth {
            values.fill_with(|| numbers.half(specials));
        }
    }
    (values, present)
}

/// A product of packed operands.
struct Packed {
    sizes: [usize; 3],
    left: Vec<u16>,
    right: Vec<u16>,
    sums: Vec<f32>,
    has_left: Vec<bool>,
    has_right: Vec<bool>,
}

/// Blocks after those of the summation index.
const GAP: usize = 1;
/// In gaps and absent blocks: sums show who reads it.
const NAN: u16 = 0x7fa5;

impl Packed {
    /// Fills `[row_blocks, panels, depth]` with random values, of which one in `specials` has any bits at all; one
    /// block in `absences` is not there.
    fn random(sizes: [usize; 3], specials: u64, absences: u64, seed: u64) -> Self {
        let [row_blocks, panels, depth] = sizes;
        let mut numbers = Numbers(seed);
        let (left, has_left) = random_operand(row_blocks, [depth, LEFT], specials, absences, &mut numbers);
        let (right, has_right) = random_operand(panels, [depth, RIGHT], specials, absences, &mut numbers);
        let sums = (0..row_blocks * panels * SUMS).map(|_| model::widen(numbers.half(specials))).collect();
        Self { sizes, left, right, sums, has_left, has_right }
    }

    fn product<'a>(&'a self, sums: &'a mut [f32]) -> Product<'a, u16> {
        let [row_blocks, panels, depth] = self.sizes;
        let pitch = depth + GAP;
        let left = Operand { data: &self.left, present: &self.has_left, pitch };
        let right = Operand { data: &self.right, present: &self.has_right, pitch };
        Product { left, right, sums, row_blocks, panels, depth }
    }

    /// The sums after the product by tiles, on hardware or emulated.
    fn by_tiles(&self) -> Vec<f32> {
        let mut sums = self.sums.clone();
        // SAFETY: the vectors have the sizes; where there are no tiles, they are emulated.
        unsafe { multiply(&mut self.product(&mut sums)) };
        sums
    }

    /// The sums after the product by the model, block by block.
    fn by_model(&self) -> Vec<f32> {
        let [row_blocks, panels, depth] = self.sizes;
        let mut sums = self.sums.clone();
        let product = self.product(&mut []);
        for (i, j, k) in triples(row_blocks, panels, depth) {
            if product.has_left(i, k) && product.has_right(j, k) {
                let panel = product.right_block(j, k).try_into().unwrap();
                let rows = product.left_block(i, k).as_chunks().0;
                let sums = sums[(i * panels + j) * SUMS..][..SUMS].as_chunks_mut().0;
                rows.iter().zip(sums).for_each(|(rows, sums)| model::multiply_tile(sums, rows, panel));
            }
        }
        sums
    }
}

fn triples(rows: usize, panels: usize, depth: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let pairs = (0..rows).flat_map(move |i| (0..panels).map(move |j| (i, j)));
    pairs.flat_map(move |(i, j)| (0..depth).map(move |k| (i, j, k)))
}

fn assert_product_agrees(packed: &Packed) {
    let (computed, expected) = (packed.by_tiles(), packed.by_model());
    for (at, (x, y)) in computed.iter().zip(&expected).enumerate() {
        let (x, y) = (x.to_bits(), y.to_bits());
        assert_eq!(x, y, "{:?}, element {at}: {x:#010x}, not {y:#010x}", packed.sizes);
    }
    assert!(!emulator::configured(), "tiles not released");
}

const NEVER: u64 = u64::MAX;

#[test]
fn products_agree_with_the_model() {
    if !emulator::install_if_needed() {
        return;
    }
    let sizes = [[1, 1, 1], [1, 2, 1], [2, 1, 3], [2, 3, 2], [3, 4, 2], [1, 5, 4], [33, 3, 1]];
    for (seed, sizes) in sizes.into_iter().enumerate() {
        let packed = Packed::random(sizes, NEVER, NEVER, seed as u64);
        assert_product_agrees(&packed);
        let computed = packed.by_tiles();
        assert!(computed.iter().all(|x| x.is_finite()));
        let same = computed.iter().zip(&packed.sums).filter(|(x, y)| x == y).count();
        assert!(same <= computed.len() / 100, "{sizes:?}: {same} sums of {} as before", computed.len());
    }
}

#[test]
fn absent_blocks_are_not_read() {
    if !emulator::install_if_needed() {
        return;
    }
    for seed in 0..8 {
        let sizes = [1 + seed as usize % 3, 1 + seed as usize % 5, 4];
        let packed = Packed::random(sizes, NEVER, 2, seed);
        assert_product_agrees(&packed);
        assert!(packed.by_tiles().iter().all(|x| x.is_finite()), "NaNs of absent blocks");
    }
}

#[test]
fn infinities_nans_and_denormals_agree_with_the_model() {
    if !emulator::install_if_needed() {
        return;
    }
    for (seed, specials) in [1, 20, 300, 2000].into_iter().enumerate() {
        assert_product_agrees(&Packed::random([2, 3, 3], specials, 5, 100 + seed as u64));
    }
}

#[test]
fn products_of_nothing_leave_the_sums() {
    if !emulator::install_if_needed() {
        return;
    }
    for sizes in [[2, 3, 0], [0, 2, 2], [2, 0, 2], [0, 0, 0]] {
        let packed = Packed::random(sizes, NEVER, NEVER, 1);
        assert_eq!(packed.by_tiles(), packed.sums);
        assert!(!emulator::configured());
    }
    let mut absent = Packed::random([2, 3, 2], NEVER, NEVER, 2);
    absent.has_left.fill(false);
    assert_eq!(absent.by_tiles(), absent.sums);
}

/// Each thread has tiles of its own.
#[test]
fn threads_multiply_at_once() {
    if !emulator::install_if_needed() {
        return;
    }
    std::thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || assert_product_agrees(&Packed::random([2, 2, 2], NEVER, NEVER, 200 + seed)));
        }
    });
}

#[test]
fn every_line_of_the_next_panels_is_prefetched_once() {
    for (row_blocks, panels) in [(1, 4), (3, 4), (5, 3), (33, 4), (64, 3)] {
        let sizes = (row_blocks, panels);
        let lines: Vec<usize> = (0..row_blocks).flat_map(|i| lines_ahead::<2>(sizes, i, 0)).collect();
        assert_eq!(lines, (0..PANEL_LINES * (panels - 2)).collect::<Vec<_>>());
        assert!((0..row_blocks).all(|i| lines_ahead::<2>(sizes, i, panels - 2).is_empty()));
        assert!((0..row_blocks).all(|i| lines_ahead::<1>(sizes, i, panels - 1).is_empty()));
    }
}
