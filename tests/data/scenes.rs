//! The built-in scenes: the same bytes everywhere, balanced, disjoint splits, and not solvable from a histogram.

use hueristic::data::scenes::{CLASSES, Scenes};
use hueristic::data::source::{Dataset, Split};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

const CLASS_COUNT: usize = CLASSES.len();

fn bytes(set: &Scenes, index: usize) -> Vec<u8> {
    set.image(index).unwrap().pixels
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Rec. 709 luma of each pixel, 0 to 255.
fn luma(pixels: &[u8]) -> Vec<f64> {
    let weigh = |p: &[u8]| 0.2126 * p[0] as f64 + 0.7152 * p[1] as f64 + 0.0722 * p[2] as f64;
    pixels.chunks(3).map(weigh).collect()
}

fn mean_luma(pixels: &[u8]) -> Vec<f64> {
    let luma = luma(pixels);
    vec![luma.iter().sum::<f64>() / luma.len() as f64]
}

fn luma_histogram(pixels: &[u8]) -> Vec<f64> {
    let luma = luma(pixels);
    let mut bins = vec![0.0; 16];
    luma.iter().for_each(|l| bins[(l / 16.0) as usize] += 1.0 / luma.len() as f64);
    bins
}

/// Validation accuracy of a nearest-class-mean classifier on `feature`.
fn nearest_mean_accuracy(feature: fn(&[u8]) -> Vec<f64>) -> f64 {
    let (train, val) = (Scenes::new(2000, 32, 3, Split::Train), Scenes::new(1000, 32, 3, Split::Val));
    let mut means = vec![vec![0.0; feature(&bytes(&train, 0)).len()]; CLASS_COUNT];
    for i in 0..train.len() {
        let mean = &mut means[train.label(i).unwrap() as usize];
        let share = (train.len() / CLASS_COUNT) as f64;
        mean.iter_mut().zip(feature(&bytes(&train, i))).for_each(|(m, f)| *m += f / share);
    }
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let nearest = |f: &[f64]| {
        (0..CLASS_COUNT).min_by(|a, b| distance(&means[*a], f).total_cmp(&distance(&means[*b], f))).unwrap()
    };
    let hits =
        (0..val.len()).filter(|i| nearest(&feature(&bytes(&val, *i))) as u32 == val.label(*i).unwrap());
    hits.count() as f64 / val.len() as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (first, second) = (Scenes::new(40, 32, 7, Split::Train), Scenes::new(90, 32, 7, Split::Train));
    for i in (0..40).rev() {
        assert_eq!(bytes(&first, i), bytes(&second, i), "picture {i}");
    }
    assert_ne!(bytes(&first, 0), bytes(&Scenes::new(40, 32, 8, Split::Train), 0));
}

/// The renderer uses exactly rounded arithmetic only, so these hold on every machine. If they change, increment the
/// generator's version, which is part of the fingerprint.
#[test]
fn the_bytes_are_the_same_on_every_machine() {
    let set = Scenes::new(10, 32, 0, Split::Train);
    let all: Vec<String> = (0..10).map(|i| digest(&bytes(&set, i))).collect();
    assert_eq!(all, GENERATOR_1);
}
const GENERATOR_1: [&str; 10] = [
    "40292cb1f4e6b946",
    "2845ff7160ee7f40",
    "34310f4950b1dd37",
    "5d77de398ce82305",
    "df37d39147375adf",
    "8c7935efe2ccd9bb",
    "be560bafb177c594",
    "5d0ea0024becd8e3",
    "925c808716b2057b",
    "4f3eadb6d18545cd",
];

#[test]
fn classes_are_balanced_and_known() {
    assert_eq!(CLASS_COUNT, CLASSES.iter().collect::<HashSet<_>>().len());
    let set = Scenes::new(200, 32, 0, Split::Val);
    assert_eq!(set.classes(), CLASSES);
    for class in 0..CLASS_COUNT as u32 {
        assert_eq!((0..200).filter(|i| set.label(*i) == Some(class)).count(), 20);
    }
    assert!(set.name(13).contains("picture 13: leaf"), "{}", set.name(13));
}

#[test]
fn splits_share_no_picture() {
    let sets = [Split::Train, Split::Val].map(|split| Scenes::new(300, 16, 0, split));
    let pictures: HashSet<_> = sets.iter().flat_map(|set| (0..300).map(|i| bytes(set, i))).collect();
    assert_eq!(pictures.len(), 600);
    assert_ne!(sets[0].fingerprint(), sets[1].fingerprint());
    assert_ne!(sets[0].fingerprint(), Scenes::new(301, 16, 0, Split::Train).fingerprint());
}

#[test]
fn any_size_is_rendered_and_shows_the_same_scene() {
    for size in [16, 17, 31, 64, 96] {
        let image = Scenes::new(1, size, 5, Split::Train).image(0).unwrap();
        assert_eq!((image.width, image.height, image.pixels.len()), (size, size, 3 * size * size));
    }
    let [small, large] = [16, 64].map(|size| mean_luma(&bytes(&Scenes::new(1, size, 5, Split::Train), 0))[0]);
    assert!((small - large).abs() < 3.0, "{small} {large}");
}

/// Chance is 10 %. Features, not lightness statistics, have to tell the classes apart.
#[test]
fn lightness_statistics_do_not_give_the_class() {
    let (mean, histogram) = (nearest_mean_accuracy(mean_luma), nearest_mean_accuracy(luma_histogram));
    println!("nearest class mean: mean lightness {mean:.3}, histogram of lightness {histogram:.3}");
    assert!(mean < 0.25, "mean lightness alone reaches {mean}");
    assert!(histogram < 0.25, "a histogram of lightness alone reaches {histogram}");
}

/// Colors must be predictable: few images are gray, flat or clipped.
#[test]
fn pictures_have_color_and_contrast() {
    let set = Scenes::new(500, 32, 1, Split::Train);
    for i in 0..500 {
        let pixels = bytes(&set, i);
        let spread = |p: &[u8]| (p.iter().max().unwrap() - p.iter().min().unwrap()) as usize;
        let chroma = pixels.chunks(3).map(spread).sum::<usize>() / 1024;
        let luma = luma(&pixels);
        let mean = luma.iter().sum::<f64>() / 1024.0;
        let deviation = (luma.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 1024.0).sqrt();
        assert!(chroma >= 12 && deviation > 8.0, "{}: chroma {chroma}, deviation {deviation}", set.name(i));
        let clipped = pixels.iter().filter(|p| **p == 0 || **p == 255).count();
        assert!(clipped < pixels.len() / 2, "{}: {clipped} clipped", set.name(i));
    }
}

/// For visual inspection: one class per column, in Cargo's test output folder.
#[test]
fn contact_sheet() {
    for (size, rows, zoom) in [(32, 14, 3), (128, 6, 1)] {
        let set = Scenes::new(CLASS_COUNT * rows, size, 0, Split::Train);
        let mut sheet = image::RgbImage::new((CLASS_COUNT * size) as u32, (rows * size) as u32);
        for i in 0..set.len() {
            let tile = image::RgbImage::from_raw(size as u32, size as u32, bytes(&set, i)).unwrap();
            let (x, y) = (i % CLASS_COUNT * size, i / CLASS_COUNT * size);
            image::imageops::replace(&mut sheet, &tile, x as i64, y as i64);
        }
        let path = format!("{}/scenes_{size}.png", env!("CARGO_TARGET_TMPDIR"));
        let (w, h) = (sheet.width() * zoom, sheet.height() * zoom);
        image::imageops::resize(&sheet, w, h, image::imageops::FilterType::Nearest).save(&path).unwrap();
        println!("{path}");
    }
}
