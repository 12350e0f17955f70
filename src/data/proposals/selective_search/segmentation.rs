//! Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation" (IJCV 2004): components are merged along
//! edges of increasing weight while the edge weighs no more than the internal difference of either component plus k
//! over its size.

use super::color::Planes;

/// Offsets of the four forward neighbors of the 8-connected grid: right, down, down right, down left.
const HALF: [(isize, usize); 4] = [(1, 0), (0, 1), (1, 1), (-1, 1)];

/// The pixel graph with edges sorted by weight; independent of k.
pub(super) struct Graph {
    width: usize,
    height: usize,
    /// The weight's bits in the upper half (non-negative floats sort like their bits), 4·pixel + direction in the
    /// lower half, which also breaks ties.
    edges: Vec<u64>,
}

/// A segmentation into connected segments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segments {
    pub width: usize,
    pub height: usize,
    /// Row-major segment of every pixel, numbered in raster order.
    pub labels: Vec<u32>,
    pub count: usize,
}

impl Graph {
    /// Smooths the planes by a Gaussian of `sigma` pixels; edge weights are color distances.
    pub(super) fn of(planes: &Planes, sigma: f32) -> Self {
        let (width, height) = (planes.width, planes.height);
        let smooth: Vec<Vec<f32>> =
            planes.channels.iter().map(|plane| smoothed(plane, (width, height), sigma)).collect();
        let mut edges = Vec::with_capacity(4 * width * height);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for (direction, &(dx, dy)) in HALF.iter().enumerate() {
                let Some(other) = x.checked_add_signed(dx).filter(|&other| other < width) else { continue };
                if y + dy < height {
                    let (from, to) = (y * width + x, (y + dy) * width + other);
                    let squares = smooth.iter().map(|plane| (plane[from] - plane[to]).powi(2));
                    let weight = squares.sum::<f32>().sqrt();
                    edges.push(u64::from(weight.to_bits()) << 32 | (4 * from + direction) as u64);
                }
            }
        }
        edges.sort_unstable();
        Self { width, height, edges }
    }

    /// Segments at scale `k`; those of fewer than `smallest` pixels are merged with a neighbor.
    pub(super) fn segments(&self, k: f32, smallest: u32) -> Segments {
        let mut forest = Forest::new(self.width * self.height, k);
        for &edge in &self.edges {
            let (from, to, weight) = self.edge(edge);
            let (a, b) = (forest.root(from), forest.root(to));
            if a != b && weight <= forest.limit[a as usize].min(forest.limit[b as usize]) {
                let joined = forest.join(a, b);
                forest.limit[joined] = weight + k / forest.size[joined] as f32;
            }
        }
        for &edge in &self.edges {
            let (from, to, _) = self.edge(edge);
            let (a, b) = (forest.root(from), forest.root(to));
            if a != b && forest.size[a as usize].min(forest.size[b as usize]) < smallest {
                forest.join(a, b);
            }
        }
        self.numbered(forest)
    }

    fn edge(&self, edge: u64) -> (u32, u32, f32) {
        let place = edge as u32;
        let (from, (dx, dy)) = (place / 4, HALF[(place % 4) as usize]);
        let to = from as isize + dx + (dy * self.width) as isize;
        (from, to as u32, f32::from_bits((edge >> 32) as u32))
    }

    fn numbered(&self, mut forest: Forest) -> Segments {
        let mut numbers = vec![u32::MAX; forest.parent.len()];
        let mut count = 0;
        let labels = (0..forest.parent.len() as u32).map(|pixel| {
            let number = &mut numbers[forest.root(pixel) as usize];
            if *number == u32::MAX {
                *number = count;
                count += 1;
            }
            *number
        });
        let labels = labels.collect();
        Segments { width: self.width, height: self.height, labels, count: count as usize }
    }
}

/// A union-find forest of pixels.
struct Forest {
    parent: Vec<u32>,
    size: Vec<u32>,
    /// Merge threshold of each root: internal difference plus k over size.
    limit: Vec<f32>,
}

impl Forest {
    fn new(len: usize, k: f32) -> Self {
        Self { parent: (0..len as u32).collect(), size: vec![1; len], limit: vec![k; len] }
    }

    fn root(&mut self, mut node: u32) -> u32 {
        while self.parent[node as usize] != node {
            let above = self.parent[self.parent[node as usize] as usize];
            self.parent[node as usize] = above;
            node = above;
        }
        node
    }

    /// Merges two roots; the larger one becomes the root.
    fn join(&mut self, a: u32, b: u32) -> usize {
        let (small, large) = if self.size[a as usize] < self.size[b as usize] { (a, b) } else { (b, a) };
        self.parent[small as usize] = large;
        self.size[large as usize] += self.size[small as usize];
        large as usize
    }
}

/// Gaussian smoothing with `sigma` pixels, truncated at 4σ; border pixels are replicated.
pub(super) fn smoothed(plane: &[f32], size: (usize, usize), sigma: f32) -> Vec<f32> {
    let reach = (4.0 * sigma).ceil() as usize;
    let half: Vec<f32> = (0..=reach).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f32>();
    let kernel: Vec<f32> = (0..=2 * reach).map(|i| half[i.abs_diff(reach)] / sum).collect();
    down(&across(plane, size, &kernel), size, &kernel)
}

/// Correlation of every row with a kernel of odd length.
pub(super) fn across(plane: &[f32], (width, _): (usize, usize), kernel: &[f32]) -> Vec<f32> {
    let reach = kernel.len() / 2;
    let mut padded = vec![0.0; width + 2 * reach];
    let mut out = Vec::with_capacity(plane.len());
    for row in plane.chunks_exact(width) {
        padded[..reach].fill(row[0]);
        padded[reach..reach + width].copy_from_slice(row);
        padded[reach + width..].fill(row[width - 1]);
        out.extend(
            padded.windows(kernel.len()).map(|w| w.iter().zip(kernel).map(|(a, b)| a * b).sum::<f32>()),
        );
    }
    out
}

/// Correlation of every column with a kernel of odd length.
pub(super) fn down(plane: &[f32], (width, height): (usize, usize), kernel: &[f32]) -> Vec<f32> {
    let reach = kernel.len() / 2;
    let mut out = vec![0.0; plane.len()];
    for (y, sums) in out.chunks_exact_mut(width).enumerate() {
        for (tap, &weight) in kernel.iter().enumerate() {
            let from = (y + tap).saturating_sub(reach).min(height - 1) * width;
            for (sum, value) in sums.iter_mut().zip(&plane[from..from + width]) {
                *sum += weight * value;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(width: usize, rows: &[&str]) -> Planes {
        let plane = rows.iter().flat_map(|row| row.bytes()).map(|b| f32::from(b - b'0') * 25.0).collect();
        Planes { width, height: rows.len(), channels: vec![plane] }
    }

    #[test]
    fn smoothing_keeps_the_mean_and_what_is_flat() {
        let flat = smoothed(&[3.0; 12], (4, 3), 0.8);
        assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-5));
        let mut point = vec![0.0; 21 * 21];
        point[10 * 21 + 10] = 1.0;
        let spread = smoothed(&point, (21, 21), 0.8);
        assert!((spread.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((spread[10 * 21 + 11] / spread[10 * 21 + 10] - (-0.5f32 / 0.64).exp()).abs() < 1e-5);
        assert_eq!(spread[10 * 21 + 11], spread[11 * 21 + 10], "the same in both directions");
    }

    #[test]
    fn two_halves_are_two_parts() {
        let graph = Graph::of(&planes(6, &["000999", "000999", "000999", "000999"]), 0.1);
        let two = graph.segments(50.0, 1);
        assert_eq!(two.count, 2);
        assert_eq!(two.labels[..6], [0, 0, 0, 1, 1, 1]);
        assert_eq!(graph.segments(50.0, 13).count, 1, "parts of twelve pixels are too small");
        assert_eq!(graph.segments(5000.0, 1).count, 1, "a large k joins everything");
    }

    #[test]
    fn the_threshold_falls_with_the_size() {
        // A step of 25 joins single pixels at k = 30 (30 / 1), but not regions of eight (30 / 8).
        let graph = Graph::of(&planes(4, &["0011", "0011", "0011", "0011"]), 0.1);
        assert_eq!(graph.segments(30.0, 1).count, 2);
        assert_eq!(Graph::of(&planes(2, &["01"]), 0.1).segments(30.0, 1).count, 1);
    }

    #[test]
    fn a_single_pixel_is_a_part() {
        assert_eq!(Graph::of(&planes(1, &["5"]), 0.8).segments(50.0, 50).count, 1);
    }
}
