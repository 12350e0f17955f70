//! The loader: order, augmentation, resuming, bad images. Its images are synthetic: every pixel encodes its image and
//! position.

use candle_core::Device;
use hueristic::{
    bounded::{Count, Fraction},
    data::{
        Batch,
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass, Position},
        scenes::Scenes,
        source::{DataError, DataSpec, Dataset, RgbImage, SourceSpec, Split},
    },
    rng::Rng,
};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};

/// Image `i` is `side + i % 3` wide and `side` high; its pixels are (i, x, y). Those in `bad` cannot be read.
struct Numbered {
    len: usize,
    side: usize,
    bad: BTreeSet<usize>,
    labeled: bool,
}

impl Numbered {
    fn new(len: usize) -> Self {
        Self { len, side: 9, bad: BTreeSet::new(), labeled: true }
    }
}

impl Dataset for Numbered {
    fn len(&self) -> usize {
        self.len
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labeled.then_some(1000 + index as u32)
    }
    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        if self.bad.contains(&index) {
            return Err(DataError::Image { name: self.name(index), reason: "broken".into() });
        }
        let (width, height) = (self.side + index % 3, self.side);
        let pixel = |at: usize| [index as u8, (at % width) as u8, (at / width) as u8];
        Ok(RgbImage { width, height, pixels: (0..width * height).flat_map(pixel).collect() })
    }
    fn fingerprint(&self) -> String {
        String::new()
    }
}

fn spec(threads: usize) -> DataSpec {
    let source = SourceSpec::folder("", None);
    DataSpec { threads: Some(Count::of(threads)), ..DataSpec::new(source, Count::of(6)) }
}

fn loader(set: Numbered, spec: &DataSpec, pass: Pass, batch: usize, seed: u64) -> Result<Loader, DataError> {
    Loader::new(Arc::new(set), spec, pass, batch, &Rng::new(seed), &Device::Cpu)
}

/// A batch in comparable form: indices, shape, pixels, labels.
type Content = (Vec<usize>, Vec<usize>, Vec<u8>, Option<Vec<u32>>);

fn content(batch: &Batch) -> Content {
    (
        batch.indices.clone(),
        batch.pixels.dims().to_vec(),
        batch.pixels.flatten_all().unwrap().to_vec1().unwrap(),
        batch.labels.as_ref().map(|labels| labels.to_vec1().unwrap()),
    )
}

fn take(loader: &mut Loader, n: usize) -> Vec<Content> {
    (0..n).map(|_| content(&loader.next_batch().unwrap().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_epoch_is_a_permutation_of_its_own(len in 2usize..40, seed: u64) {
        let epochs = |seed| -> Vec<Vec<usize>> {
            let mut loader = loader(Numbered::new(len), &spec(2), Pass::Train, 1, seed).unwrap();
            (0..3).map(|_| take(&mut loader, len).into_iter().flat_map(|b| b.0).collect()).collect()
        };
        let first = epochs(seed);
        for epoch in &first {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..len).collect::<Vec<_>>());
        }
        prop_assert_eq!(&first, &epochs(seed));
        // 12 images have half a billion orders
        if len >= 12 {
            prop_assert!(first[0] != first[1] && first[1] != first[2] && first != epochs(seed ^ 1));
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing(len in 1usize..30, batch in 1usize..9, threads in 2usize..6, seed: u64) {
        let batch = batch.min(len);
        let run = |threads| take(&mut loader(Numbered::new(len), &spec(threads), Pass::Train, batch, seed).unwrap(), 12);
        prop_assert_eq!(run(1), run(threads));
    }

    #[test]
    fn seeking_is_running_there(len in 1usize..30, batch in 1usize..9, skip in 0usize..20, seed: u64) {
        let batch = batch.min(len);
        let mut straight = loader(Numbered::new(len), &spec(3), Pass::Train, batch, seed).unwrap();
        take(&mut straight, skip);
        let at = straight.position();
        let mut jumped = loader(Numbered::new(len), &spec(2), Pass::Train, batch, seed).unwrap();
        take(&mut jumped, 3); // so that late parts of other batches are about
        jumped.seek(at);
        prop_assert_eq!(jumped.position(), at);
        prop_assert_eq!(take(&mut straight, 7), take(&mut jumped, 7));
        prop_assert_eq!(straight.position(), jumped.position());
    }
}

#[test]
fn a_batch_holds_crops_of_its_images_and_their_labels() {
    let mut loader = loader(Numbered::new(20), &spec(2), Pass::Train, 8, 5).unwrap();
    let mut mirrored = BTreeSet::new();
    for (indices, dims, pixels, labels) in take(&mut loader, 6) {
        assert_eq!(dims, [8, 6, 6, 3]);
        for (n, &index) in indices.iter().enumerate() {
            assert_eq!(labels.as_ref().unwrap()[n], 1000 + index as u32);
            let image = &pixels[n * 108..(n + 1) * 108];
            assert!(image.chunks_exact(3).all(|p| p[0] == index as u8));
            // x runs along a row, up or down by one; y along the rows
            let step = i16::from(image[4]) - i16::from(image[1]);
            assert_eq!((step.abs(), image[18 + 2] - image[2]), (1, 1));
            mirrored.insert(step);
        }
    }
    assert_eq!(mirrored.len(), 2, "48 images all mirrored the same way");
}

/// Loaders that share an order take its batches in turn, over the ends of epochs, and resume at a common position.
#[test]
fn shares_take_the_batches_of_one_order_in_turn() {
    let (set, batch) = (|| Numbered::new(17), 3);
    let mut whole = loader(set(), &spec(2), Pass::Train, batch, 5).unwrap();
    let expected = take(&mut whole, 24);
    for (of, skipped) in [(2, 0), (3, 0), (4, 8)] {
        let mut shares: Vec<Loader> =
            (0..of).map(|_| loader(set(), &spec(1), Pass::Train, batch, 5).unwrap()).collect();
        let mut at = Position::default();
        for (first, share) in shares.iter_mut().enumerate() {
            share.take_share(first, of);
            (0..skipped / of).for_each(|_| drop(take(share, 1)));
            if first == 0 {
                at = share.position();
            }
            share.seek(at);
        }
        let mut taken = vec![];
        for _ in 0..(24 - skipped) / of {
            shares.iter_mut().for_each(|share| taken.extend(take(share, 1)));
        }
        assert_eq!(taken, expected[skipped..], "{of} shares");
    }
}

#[test]
fn the_last_short_batch_is_dropped_in_training_and_kept_in_a_pass() {
    let mut train = loader(Numbered::new(11), &spec(2), Pass::Train, 4, 0).unwrap();
    assert_eq!(train.batches_per_epoch(), 2);
    take(&mut train, 2);
    assert_eq!(train.position(), Position { epoch: 1, batch: 0 });

    let mut once = loader(Numbered::new(11), &spec(2), Pass::Once, 4, 0).unwrap();
    assert_eq!(once.batches_per_epoch(), 3);
    for _ in 0..2 {
        let batches = take(&mut once, 3);
        let indices: Vec<usize> = batches.iter().flat_map(|b| b.0.clone()).collect();
        assert_eq!(indices, (0..11).collect::<Vec<_>>());
        assert_eq!(batches[2].1, [3, 6, 6, 3]);
        // 9 high, crop 6: the center begins at row 1; image 2 is 11 wide: at column 2
        assert_eq!(batches[0].2[2 * 108..2 * 108 + 3], [2, 2, 1]);
        assert!(once.next_batch().unwrap().is_none() && once.next_batch().unwrap().is_none());
        once.rewind();
    }
}

#[test]
fn unlabeled_images_give_batches_without_labels() {
    let set = Numbered { labeled: false, ..Numbered::new(4) };
    assert!(loader(set, &spec(1), Pass::Once, 4, 0).unwrap().next_batch().unwrap().unwrap().labels.is_none());
}

#[test]
fn small_images_are_scaled_up_and_counted() {
    let set = Numbered { side: 4, ..Numbered::new(5) };
    let mut loader = loader(set, &spec(2), Pass::Train, 5, 0).unwrap();
    assert_eq!(take(&mut loader, 2)[1].1, [5, 6, 6, 3]);
    assert_eq!(loader.upscaled(), 5);
}

fn with_bad(bad: &[usize], share: f64) -> (Numbered, DataSpec) {
    let set = Numbered { bad: bad.iter().copied().collect(), ..Numbered::new(20) };
    (set, DataSpec { max_bad: Fraction::of(share), ..spec(3) })
}

#[test]
fn in_training_the_next_good_image_takes_a_bad_ones_place() {
    let run = |threads| {
        let (set, spec) = with_bad(&[3, 4, 19], 0.2);
        let spec = DataSpec { threads: Some(Count::of(threads)), ..spec };
        let mut loader = loader(set, &spec, Pass::Train, 5, 1).unwrap();
        let batches = take(&mut loader, 8);
        (batches, loader.faults())
    };
    let (batches, faults) = run(1);
    let mut drawn: Vec<usize> = batches[..4].iter().flat_map(|b| b.0.clone()).collect();
    drawn.sort_unstable();
    let mut expected: Vec<usize> = (0..20)
        .map(|i| match i {
            3 | 4 => 5,
            19 => 0,
            i => i,
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(drawn, expected);
    assert_eq!(faults, [3, 4, 19].map(|i| (format!("image {i}"), "broken".to_owned())));
    assert_eq!(run(4), (batches, faults));
}

#[test]
fn in_a_pass_a_bad_image_is_left_out() {
    let (set, spec) = with_bad(&[0, 1, 2, 3, 7], 0.25);
    let mut loader = loader(set, &spec, Pass::Once, 4, 1).unwrap();
    let batches = take(&mut loader, 4);
    assert!(loader.next_batch().unwrap().is_none());
    assert_eq!(batches[0].0, [4, 5, 6]);
    let seen: Vec<usize> = batches.iter().flat_map(|b| b.0.clone()).collect();
    assert_eq!(seen, [4, 5, 6].into_iter().chain(8..20).collect::<Vec<_>>());
}

#[test]
fn too_many_bad_images_end_the_run_and_say_which() {
    for pass in [Pass::Train, Pass::Once] {
        let (set, spec) = with_bad(&[3, 4, 19], 0.1);
        let mut loader = loader(set, &spec, pass, 5, 1).unwrap();
        let error = loop {
            match loader.next_batch() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("three of twenty bad images passed for a tenth"),
                Err(error) => break error.to_string(),
            }
        };
        for part in ["3 of 20", "max_bad", "image 3: broken", "image 19: broken"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(loader.next_batch().is_err(), "it went on after the error");
    }
}

#[test]
fn a_set_without_one_good_image_is_an_error_whatever_is_tolerated() {
    for pass in [Pass::Train, Pass::Once] {
        let (set, spec) = with_bad(&(0..20).collect::<Vec<_>>(), 1.);
        let mut loader = loader(set, &spec, pass, 5, 1).unwrap();
        assert!(loader.next_batch().unwrap_err().to_string().contains("20 of 20"));
    }
}

#[test]
fn a_set_that_panics_is_an_error_and_not_a_wait_for_ever() {
    struct Panics;
    impl Dataset for Panics {
        fn len(&self) -> usize {
            4
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn label(&self, _: usize) -> Option<u32> {
            None
        }
        fn name(&self, _: usize) -> String {
            String::new()
        }
        fn image(&self, _: usize) -> Result<RgbImage, DataError> {
            panic!("out of order")
        }
        fn fingerprint(&self) -> String {
            String::new()
        }
    }
    let set = Arc::new(Panics);
    let mut loader = Loader::new(set, &spec(2), Pass::Once, 2, &Rng::new(0), &Device::Cpu).unwrap();
    assert!(loader.next_batch().unwrap_err().to_string().contains("out of order"));
}

#[test]
fn what_cannot_be_is_refused_before_it_starts() {
    let text =
        |set, spec: &DataSpec, batch| loader(set, spec, Pass::Train, batch, 0).err().unwrap().to_string();
    assert!(text(Numbered::new(0), &spec(1), 1).contains("0 images"));
    assert!(text(Numbered::new(7), &spec(1), 8).contains("use a batch of at most 7"));
    let narrow = DataSpec { resize: Some(Count::of(5)), ..spec(1) };
    assert!(text(Numbered::new(7), &narrow, 2).contains("make resize at least 6"));
    // a pass over fewer images than a batch is valid
    assert!(loader(Numbered::new(7), &spec(1), Pass::Once, 8, 0).is_ok());
}

#[test]
fn dropping_a_loader_ends_its_threads() {
    let set: Arc<dyn Dataset> = Arc::new(Numbered::new(500));
    let mut loader =
        Loader::new(set.clone(), &spec(4), Pass::Train, 100, &Rng::new(0), &Device::Cpu).unwrap();
    loader.next_batch().unwrap();
    assert!(Arc::strong_count(&set) > 1);
    drop(loader);
    assert_eq!(Arc::strong_count(&set), 1, "a thread still holds the set");
}

/// Draws for testing on several random crops: in order, draws differ, and a draw does not depend on earlier ones.
#[test]
fn draws_are_in_order_and_repeat() {
    let set = Arc::new(Scenes::new(10, 40, 0, Split::Val));
    let feed = LoaderOptions { batch: 4, pass: Pass::Draw, flip: true, max_bad: 0.0, threads: Some(2) };
    let framing = CropPolicy::RandomScale { side: 24 };
    let mut loader = Loader::with_policy(set, framing, feed, &Rng::new(0), &Device::Cpu).unwrap();
    let mut draw = |epoch| {
        loader.seek(Position { epoch, batch: 0 });
        let (mut indices, mut pixels) = (vec![], vec![]);
        while let Some(batch) = loader.next_batch().unwrap() {
            assert_eq!(batch.frames.len(), batch.indices.len());
            indices.extend(batch.indices);
            pixels.extend(batch.pixels.flatten_all().unwrap().to_vec1::<u8>().unwrap());
        }
        assert_eq!(indices, (0..10).collect::<Vec<_>>());
        pixels
    };
    let first = draw(0);
    assert_ne!(first, draw(1));
    assert_eq!(first, draw(0));
}

/// Images of different sizes are padded with black in one batch.
#[test]
fn whole_pictures_are_filled_up() {
    let dir = tempfile::tempdir().unwrap();
    for (name, width, height) in [("a.png", 30, 20), ("b.png", 20, 40)] {
        image::RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7]))
            .save(dir.path().join(name))
            .unwrap();
    }
    let set = Arc::new(hueristic::data::folder::Files::open(dir.path()).unwrap());
    let feed = LoaderOptions { batch: 2, pass: Pass::Once, flip: false, max_bad: 0.0, threads: Some(1) };
    let framing = CropPolicy::Whole { scales: vec![], longest: None };
    let mut loader = Loader::with_policy(set, framing, feed, &Rng::new(0), &Device::Cpu).unwrap();
    let batch = loader.next_batch().unwrap().unwrap();
    assert_eq!(batch.pixels.dims(), [2, 40, 30, 3]);
    let pixels = batch.pixels.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    for (image, (width, height)) in [(30, 20), (20, 40)].into_iter().enumerate() {
        for (y, x) in (0..40).flat_map(|y| (0..30).map(move |x| (y, x))) {
            let expected = if x < width && y < height { [9, 8, 7] } else { [0; 3] };
            assert_eq!(pixels[3 * ((image * 40 + y) * 30 + x)..][..3], expected, "{image} {x} {y}");
        }
    }
}
