//! An annotated data set limited to N images, with a cache of decoded images.

use super::{
    annotated::{Annotated, Mask, Object, Presence},
    dataset::{Dataset, RgbImage},
    error::DataError,
    view::{CACHE_BYTES, DatasetView},
};
use std::sync::Arc;

/// A view of an annotated set: images are read through a [`DatasetView`], annotations from the set.
pub struct AnnotatedView {
    set: Arc<dyn Annotated>,
    view: DatasetView,
}

impl AnnotatedView {
    /// `limit` images of `set`, or all; `cache` keeps decoded images, up to [`CACHE_BYTES`].
    pub fn new(set: Arc<dyn Annotated>, limit: Option<usize>, cache: bool) -> Self {
        let pictures: Arc<dyn Dataset> = set.clone();
        let view = DatasetView::new(pictures);
        let view = if let Some(limit) = limit { view.sample(limit) } else { view };
        Self { set, view: if cache { view.cached(CACHE_BYTES) } else { view } }
    }
}

impl Dataset for AnnotatedView {
    fn len(&self) -> usize {
        self.view.len()
    }
    fn classes(&self) -> &[String] {
        self.view.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.view.label(index)
    }
    fn name(&self, index: usize) -> String {
        self.view.name(index)
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        self.view.image(index)
    }
    fn fingerprint(&self) -> String {
        self.view.fingerprint()
    }
}

impl Annotated for AnnotatedView {
    fn id(&self, index: usize) -> &str {
        self.set.id(self.view.stored(index))
    }
    fn size(&self, index: usize) -> (usize, usize) {
        self.set.size(self.view.stored(index))
    }
    fn objects(&self, index: usize) -> &[Object] {
        self.set.objects(self.view.stored(index))
    }
    fn presence(&self, index: usize) -> Vec<Presence> {
        self.set.presence(self.view.stored(index))
    }
    fn mask(&self, index: usize) -> Result<Option<Mask>, DataError> {
        self.set.mask(self.view.stored(index))
    }
}
