//! A view of a data set: N of its images, renamed classes, and a cache of decoded images.

use super::{
    dataset::{Dataset, RgbImage},
    error::DataError,
    shard_layout::ShardLayout,
};
use crate::rng::Rng;
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Size of the cache of decoded images per split; images that do not fit are decoded on every access.
pub const CACHE_BYTES: usize = 1 << 30;

/// A view of a data set. Images are identical to the set's.
pub struct DatasetView {
    set: Arc<dyn Dataset>,
    /// Numbers of its images in the set; None for all.
    chosen: Option<Vec<usize>>,
    classes: Vec<String>,
    cache: Option<Cache>,
}

struct Cache {
    images: Vec<OnceLock<RgbImage>>,
    used: AtomicUsize,
    room: usize,
}

impl DatasetView {
    /// All of `set`.
    pub fn new(set: Arc<dyn Dataset>) -> Self {
        Self { chosen: None, classes: set.classes().to_vec(), set, cache: None }
    }

    /// `limit` of its images, always the same: one from each of as many equal parts of the set, in which classes may be
    /// sorted. The place in a part is drawn, since equal steps would meet only some of the classes of a set in which they
    /// alternate.
    pub fn sample(mut self, limit: usize) -> Self {
        let (len, mut rng) = (self.set.len(), Rng::new(0).split("limit").at(0, 0));
        if limit < len {
            let part = |number: usize| number * len / limit..(number + 1) * len / limit;
            self.chosen = Some((0..limit).map(|number| rng.random_range(part(number))).collect());
        }
        self
    }

    /// Number of an image in the set.
    pub fn stored(&self, index: usize) -> usize {
        self.chosen.as_ref().map_or(index, |chosen| chosen[index])
    }

    /// Renames its classes, in the same order.
    pub fn named(mut self, classes: Vec<String>) -> Self {
        self.classes = classes;
        self
    }

    /// Caches decoded images up to `room` bytes.
    pub fn cached(mut self, room: usize) -> Self {
        let images = (0..self.len()).map(|_| OnceLock::new()).collect();
        self.cache = Some(Cache { images, used: AtomicUsize::new(0), room });
        self
    }
}

impl Cache {
    /// Reserves `bytes` if they fit.
    fn take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Relaxed, Relaxed, |used| Some(used + bytes).filter(|&u| u <= self.room))
            .is_ok()
    }
}

impl Dataset for DatasetView {
    fn len(&self) -> usize {
        self.chosen.as_ref().map_or_else(|| self.set.len(), Vec::len)
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.set.label(self.stored(index))
    }
    fn why_unlabeled(&self) -> Option<&str> {
        self.set.why_unlabeled()
    }
    fn name(&self, index: usize) -> String {
        self.set.name(self.stored(index))
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let Some(cache) = &self.cache else { return self.set.image(self.stored(index)) };
        if let Some(image) = cache.images[index].get() {
            return Ok(image.clone());
        }
        let image = self.set.image(self.stored(index))?;
        if cache.take(image.pixels.len()) && cache.images[index].set(image.clone()).is_err() {
            // another thread cached the image first
            cache.used.fetch_sub(image.pixels.len(), Relaxed);
        }
        Ok(image)
    }
    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.set.encoded(self.stored(index))
    }
    fn layout(&self) -> Option<ShardLayout> {
        let layout = self.set.layout()?;
        Some(self.chosen.as_ref().map(|chosen| layout.of(chosen)).unwrap_or(layout))
    }
    fn prefetch(&self, upcoming: &[usize]) {
        match &self.chosen {
            None => self.set.prefetch(upcoming),
            Some(chosen) => {
                self.set.prefetch(&upcoming.iter().map(|&index| chosen[index]).collect::<Vec<_>>())
            }
        }
    }
    fn fingerprint(&self) -> String {
        match &self.chosen {
            None => self.set.fingerprint(),
            Some(chosen) => {
                format!("{:x}", Sha256::digest(format!("{chosen:?} of {}", self.set.fingerprint())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `len` images of 4×1 pixels that count how often they are decoded.
    struct Counting(usize, AtomicUsize);
    impl Dataset for Counting {
        fn len(&self) -> usize {
            self.0
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn label(&self, index: usize) -> Option<u32> {
            Some(index as u32)
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
        fn image(&self, index: usize) -> Result<RgbImage, DataError> {
            self.1.fetch_add(1, Relaxed);
            Ok(RgbImage { width: 4, height: 1, pixels: vec![index as u8; 12] })
        }
        fn fingerprint(&self) -> String {
            "counting".into()
        }
    }

    #[test]
    fn the_cache_keeps_what_fits_and_changes_nothing() {
        let inner = Arc::new(Counting(5, AtomicUsize::new(0)));
        let view = DatasetView::new(inner.clone()).cached(3 * 12);
        for _ in 0..2 {
            for i in 0..5 {
                assert_eq!(view.image(i).unwrap(), inner.image(i).unwrap());
            }
        }
        // 10 by the comparison; 5 on the first pass, and the two that did not fit again on the second
        assert_eq!(inner.1.load(Relaxed), 10 + 5 + 2);
    }

    #[test]
    fn a_limit_shows_in_the_length_and_the_fingerprint() {
        let inner = Arc::new(Counting(5, AtomicUsize::new(0)));
        let all = DatasetView::new(inner.clone()).sample(9);
        let some = DatasetView::new(inner).sample(2);
        assert_eq!((all.len(), some.len()), (5, 2));
        assert_eq!(all.fingerprint(), "counting");
        assert_ne!(some.fingerprint(), "counting");
    }

    /// Of ten classes, sorted or in turn: none is left out, and the images, labels and names belong together.
    #[test]
    fn a_limit_takes_from_all_parts_of_a_set_and_the_same_each_time() {
        let inner = Arc::new(Counting(1000, AtomicUsize::new(0)));
        let chosen = || {
            let view = DatasetView::new(inner.clone()).sample(100);
            (0..view.len()).map(|index| view.stored(index)).collect::<Vec<_>>()
        };
        assert_eq!((chosen().len(), chosen()), (100, chosen()));
        assert!(
            chosen().iter().zip((0..).step_by(10)).all(|(image, start)| (start..start + 10).contains(image))
        );
        let sorted = |class: usize| chosen().iter().filter(|image| *image / 100 == class).count();
        let in_turn = |class: usize| chosen().iter().filter(|image| *image % 10 == class).count();
        assert!((0..10).all(|class| sorted(class) == 10 && (3..20).contains(&in_turn(class))));
        let view = DatasetView::new(inner).sample(7).cached(1 << 20);
        for index in 0..7 {
            let stored = view.stored(index);
            assert_eq!((view.label(index), view.name(index)), (Some(stored as u32), stored.to_string()));
            assert_eq!(view.image(index).unwrap().pixels[0], stored as u8);
            assert_eq!(view.image(index).unwrap().pixels[0], stored as u8, "from the cache");
        }
    }
}
