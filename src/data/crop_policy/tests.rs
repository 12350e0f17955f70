//! Crops show the pixels that their frames say, at every scale, shape and margin.

use super::*;
use crate::{
    bounded::{Count, Span},
    data::train_crop::RandomShortSide,
    rng::Rng,
};

/// Each pixel says where it is: (x, y, 7).
fn map(width: usize, height: usize) -> RgbImage {
    let pixels = (0..width * height).flat_map(|i| [(i % width) as u8, (i / width) as u8, 7]).collect();
    RgbImage { width, height, pixels }
}

/// As a batch of this picture alone shows it.
fn framed(framing: &CropPolicy, image: RgbImage, rng: Option<u64>) -> (Vec<u8>, Frame) {
    let rng = rng.map(|index| Rng::new(3).at(0, index));
    let framed = framing.apply(image, true, rng, &mut Resizer::new()).expect("small");
    let (width, height) = framed.frame.size;
    let mut pixels = vec![1; 3 * width * height];
    framed.write(width, &mut pixels);
    (pixels, framed.frame)
}

#[test]
fn a_random_scale_keeps_the_aspect_and_shows_the_pixels_that_its_frame_says() {
    let (mut steps, mut mirrors) = (vec![], 0);
    for index in 0..200 {
        let (pixels, frame) = framed(&CropPolicy::RandomScale { side: 40 }, map(200, 120), Some(index));
        assert_eq!(frame.scale.0, frame.scale.1);
        let step = 1.0 / frame.scale.0;
        for (row, column) in [(0, 0), (39, 39), (7, 31)] {
            let from = if frame.mirror { 39 - column } else { column };
            let (x, y) = (frame.origin.0 + from as f32 * step, frame.origin.1 + row as f32 * step);
            let pixel = &pixels[3 * (row * 40 + column)..][..3];
            assert!((f32::from(pixel[0]) - x).abs() < 0.6 && (f32::from(pixel[1]) - y).abs() < 0.6);
        }
        steps.push(step);
        mirrors += usize::from(frame.mirror);
    }
    let (least, most) =
        (steps.iter().copied().fold(9.0, f32::min), steps.iter().copied().fold(0.0, f32::max));
    assert!((0.5..0.55).contains(&least) && (1.95..=2.0).contains(&most), "{least} to {most}");
    assert!((60..140).contains(&mirrors));
    // A picture smaller than half the square is enlarged as far as it takes.
    let frame = framed(&CropPolicy::RandomScale { side: 40 }, map(10, 30), Some(0)).1;
    assert!((frame.scale.0 - 4.0).abs() < 1e-6 && frame.origin.0 == 0.0);
}

#[test]
fn whole_pictures_take_the_scale_that_the_long_side_allows() {
    let scales = vec![Pixels::of(60), Pixels::of(90)];
    let whole = CropPolicy::Whole { scales, longest: Some(100) };
    assert_eq!(framed(&whole, map(50, 40), None).1.size, (75, 60));
    assert_eq!(framed(&whole, map(100, 30), None).1.size, (100, 30), "the long side decides");
    let sizes: Vec<_> = (0..40).map(|i| framed(&whole, map(50, 45), Some(i)).1.size).collect();
    assert!(sizes.contains(&(67, 60)) && sizes.contains(&(100, 90)), "{sizes:?}");
    let stored = CropPolicy::Whole { scales: vec![], longest: None };
    let (pixels, frame) = framed(&stored, map(30, 20), None);
    assert!(frame.size == (30, 20) && pixels == map(30, 20).pixels);
}

#[test]
fn boxes_follow_their_picture() {
    let stored = CropPolicy::Whole { scales: vec![Pixels::of(40)], longest: None };
    for index in 0..20 {
        let (pixels, frame) = framed(&stored, map(30, 20), Some(index));
        // The block x 6..=11 of the stored picture.
        let placed = frame.place(&Rect::new(6.0, 4.0, 11.0, 9.0));
        assert_eq!((placed.y1, placed.y2), (8.0, 18.0));
        let middle = ((placed.x1 + placed.x2) / 2.0).round() as usize;
        let shown = pixels[3 * (13 * frame.size.0 + middle)];
        assert!((8..=9).contains(&shown), "column {shown} in the middle, mirror {}", frame.mirror);
    }
}

#[test]
fn crops_show_their_window_whoever_cuts_the_columns() {
    for (width, cut_here) in [(31, false), (32, false), (33, true), (90, true)] {
        let crop = CropPolicy::Crop { resize: None, crop: 16 };
        let held = crop.apply(map(width, 20), false, None, &mut Resizer::new()).unwrap();
        assert_eq!(held.row == 16, cut_here);
        for index in 0..20 {
            let (pixels, frame) = framed(&crop, map(width, 20), Some(index));
            let (x, y) = (frame.origin.0 as usize, frame.origin.1 as usize);
            for (i, pixel) in pixels.chunks_exact(3).enumerate() {
                let column = if frame.mirror { 15 - i % 16 } else { i % 16 };
                assert_eq!(pixel, [(x + column) as u8, (y + i / 16) as u8, 7]);
            }
        }
    }
}

fn varying(train: TrainCrop) -> CropPolicy {
    CropPolicy::Varied { resize: Some(50), crop: 40, train }
}

#[test]
fn windows_of_random_size_show_the_pixels_that_their_frame_says() {
    let (policy, mut mirrors) = (varying(TrainCrop::RandomResized(RandomResized::default())), 0);
    for index in 0..200 {
        let (pixels, frame) = framed(&policy, map(200, 120), Some(index));
        assert_eq!((frame.size, pixels.len()), ((40, 40), 4800));
        for (row, column) in [(2, 3), (37, 20), (7, 31)] {
            let from = if frame.mirror { 39 - column } else { column };
            // Centers of pixels: antialiased, but for the borders of a window.
            let at = |origin: f32, i: usize, scale: f32| origin + (i as f32 + 0.5) / scale - 0.5;
            let x = at(frame.origin.0, from, frame.scale.0);
            let y = at(frame.origin.1, row, frame.scale.1);
            let pixel = &pixels[3 * (row * 40 + column)..][..3];
            assert!(
                (f32::from(pixel[0]) - x).abs() < 1.1 && (f32::from(pixel[1]) - y).abs() < 1.1,
                "{frame:?}"
            );
        }
        mirrors += usize::from(frame.mirror);
    }
    assert!((60..140).contains(&mirrors));
    let validated = framed(&policy, map(200, 120), None);
    let plain = CropPolicy::Crop { resize: Some(50), crop: 40 };
    assert_eq!(validated, framed(&plain, map(200, 120), None), "validation is not affected");
}

#[test]
fn a_random_short_side_is_cropped_to_the_crop() {
    let pixels = Span { least: Pixels::of(40), most: Pixels::of(80) };
    let policy = varying(TrainCrop::RandomShortSide(RandomShortSide { pixels }));
    let scales: Vec<f32> =
        (0..200).map(|index| framed(&policy, map(200, 120), Some(index)).1.scale.1).collect();
    let (least, most) =
        (scales.iter().copied().fold(9.0, f32::min), scales.iter().copied().fold(0.0, f32::max));
    assert!(
        (40.0 / 120.0..0.35).contains(&least) && (0.65..=80.0 / 120.0).contains(&most),
        "{least} to {most}"
    );
}

#[test]
fn a_margin_is_black_and_moves_the_picture() {
    let (policy, mut origins) = (varying(TrainCrop::Padded(Padded { pixels: Count::of(4) })), vec![]);
    for index in 0..200 {
        // Its short side is that of `resize`, so that pixels keep their values.
        let (pixels, frame) = framed(&policy, map(50, 60), Some(index));
        let (x, y) = (frame.origin.0 as isize, frame.origin.1 as isize);
        for (i, pixel) in pixels.chunks_exact(3).enumerate() {
            let column = if frame.mirror { 39 - i % 40 } else { i % 40 } as isize;
            let (x, y) = (x + column, y + (i / 40) as isize);
            let inside = (0..50).contains(&x) && (0..60).contains(&y);
            assert_eq!(pixel, if inside { [x as u8, y as u8, 7] } else { [0; 3] }, "{frame:?}");
        }
        origins.push((x, y));
    }
    let reach = |of: &dyn Fn(&(isize, isize)) -> isize| {
        (origins.iter().map(of).min().unwrap(), origins.iter().map(of).max().unwrap())
    };
    assert_eq!((reach(&|o| o.0), reach(&|o| o.1)), ((-4, 14), (-4, 24)));
}

#[test]
fn a_place_that_is_larger_is_filled_up_with_black() {
    let frame = Frame { source: (2, 2), size: (2, 2), origin: (0.0, 0.0), scale: (1.0, 1.0), mirror: true };
    let mut out = vec![9; 3 * 3 * 3];
    CroppedImage::all(map(2, 2).pixels, frame).write(3, &mut out);
    let rows = [[1, 0, 7, 0, 0, 7, 0, 0, 0], [1, 1, 7, 0, 1, 7, 0, 0, 0], [0; 9]];
    assert_eq!(out, rows.concat());
}

#[test]
fn a_squash_shows_everything() {
    let squash = CropPolicy::Squash { short: 20, side: 10 };
    let (pixels, frame) = framed(&squash, map(100, 20), Some(1));
    assert_eq!((frame.size, pixels.len(), frame.mirror), ((10, 10), 300, false));
    for row in pixels.chunks_exact(30) {
        assert!((0..10).all(|x| row[3 * x].abs_diff(10 * x as u8 + 5) < 3), "{row:?}");
    }
}
