//! The pictures of a monitor: drawn once, decoded once, kept as bytes.

use super::spec::{MonitorPictures, MonitorSpec};
use crate::{
    data::{
        crop_policy::CropPolicy,
        dataset::Dataset,
        labels::require,
        loader::{Loader, LoaderOptions, Pass, Position},
        subset::Subset,
    },
    rng::Rng,
    text::counted,
};
use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use std::{collections::HashSet, sync::Arc};

/// Pictures per batch.
const BATCH: usize = 64;

/// The data sets that pictures are drawn from.
#[derive(Clone)]
pub struct MonitorSets {
    bank: Arc<dyn Dataset>,
    test: Arc<dyn Dataset>,
    framing: CropPolicy,
    /// Number of classes, if both sets have labels.
    classes: Option<usize>,
    threads: Option<usize>,
    rng: Rng,
}

/// Decoded pictures.
pub(super) struct Pictures {
    pub bank: PicturesInMemory,
    pub test: PicturesInMemory,
    /// Two augmented views of the test pictures.
    pub views: [PicturesInMemory; 2],
    /// Number of classes, if they have labels.
    pub classes: Option<usize>,
}

/// Bytes that the pictures of a monitor take at most: the bank, the test, and two views of it, as squares of `side` pixels.
pub fn bytes(pictures: MonitorPictures, side: usize) -> usize {
    (pictures.bank.get() + 3 * pictures.test.get()) * 3 * side * side
}

impl MonitorSets {
    /// Draws the pictures of `spec` from a training and a validation set, which `name` names in errors; `framing` is that of
    /// validation.
    ///
    /// # Errors
    /// Fewer than two pictures in a set; no labels where the spec asks for them.
    pub fn draw(
        (train, val): (Arc<dyn Dataset>, Arc<dyn Dataset>),
        name: &str,
        (spec, framing): (&MonitorSpec, CropPolicy),
        threads: Option<usize>,
        rng: &Rng,
    ) -> Result<Self> {
        let rng = rng.split("monitor");
        let labels = require(&*train, name, "train").and_then(|classes| {
            require(&*val, name, "val")?;
            Ok(classes)
        });
        let bank = Subset::draw(train, spec.pictures.bank.get(), &rng.split("bank"));
        let test = Subset::draw(val, spec.pictures.test.get(), &rng.split("test"));
        for (set, split) in [(&bank, "training"), (&test, "validation")] {
            ensure!(
                set.len() > 1,
                "monitor: {} of the {split} pictures of {name}, and it takes two at least: raise `pictures` or give other \
                 `data`",
                set.len()
            );
        }
        let classes = match labels {
            Ok(classes) if is_labeled(&bank, classes) && is_labeled(&test, classes) => Some(classes),
            _ if !spec.needs_labels() => None,
            Ok(_) => {
                bail!("monitor: `knn` and `probe` ask for labels, and some pictures of {name} have none")
            }
            Err(error) => bail!("monitor: `knn` and `probe` ask for labels: {error}"),
        };
        Ok(Self { bank: Arc::new(bank), test: Arc::new(test), framing, classes, threads, rng })
    }

    /// Checks that enough pictures are there for `neighbors` that the spec asks for, and that no test picture is one of `training`.
    ///
    /// # Errors
    /// A bank smaller than that; test pictures that the network is trained on.
    pub fn check(&self, neighbors: Option<usize>, training: &dyn Dataset) -> Result<()> {
        if let Some(neighbors) = neighbors.filter(|neighbors| *neighbors > self.bank.len()) {
            let bank = counted(self.bank.len(), "picture");
            bail!(
                "monitor: {neighbors} neighbors of a bank of {bank}: give fewer `knn.neighbors`, or leave it out"
            );
        }
        let test: HashSet<String> = (0..self.test.len()).map(|i| self.test.name(i)).collect();
        let common = (0..training.len()).map(|i| training.name(i)).find(|name| test.contains(name));
        if let Some(name) = common {
            bail!(
                "monitor: the test picture {name} is one of the training pictures of the stage, which are allowed in the \
                 bank only: give `data` with another validation split"
            )
        }
        Ok(())
    }

    /// Number of pictures that a measurement takes through the network: the bank, the test, and two views of it.
    pub fn passes(&self) -> usize {
        self.bank.len() + 3 * self.test.len()
    }

    /// Side of the pictures in pixels.
    pub fn side(&self) -> usize {
        self.framing.side()
    }

    /// Decodes all pictures. Unreadable ones are left out.
    ///
    /// # Errors
    /// A set of which no picture can be read.
    pub(super) fn read(&self) -> Result<Pictures> {
        let plain = |set| self.read_pass(set, Pass::Once, self.framing.clone(), 0);
        let augmented = CropPolicy::RandomScale { side: self.framing.side() };
        let view = |draw| self.read_pass(&self.test, Pass::Draw, augmented.clone(), draw);
        let classes = self.classes;
        Ok(Pictures {
            bank: plain(&self.bank)?,
            test: plain(&self.test)?,
            views: [view(0)?, view(1)?],
            classes,
        })
    }

    fn read_pass(
        &self,
        set: &Arc<dyn Dataset>,
        pass: Pass,
        framing: CropPolicy,
        draw: u64,
    ) -> Result<PicturesInMemory> {
        let options = LoaderOptions { batch: BATCH, pass, flip: true, max_bad: 1.0, threads: self.threads };
        let rng = self.rng.split("views");
        let mut loader = Loader::with_policy(set.clone(), framing, options, &rng, &Device::Cpu)?;
        loader.seek(Position { epoch: draw, batch: 0 });
        let mut read = PicturesInMemory { batches: vec![], labels: vec![] };
        while let Some(batch) = loader.next_batch()? {
            if self.classes.is_some() {
                read.labels.extend(batch.indices.iter().filter_map(|index| set.label(*index)));
            }
            read.batches.push(batch.pixels);
        }
        Ok(read)
    }
}

/// Whether every picture has a label below `classes`.
fn is_labeled(set: &Subset, classes: usize) -> bool {
    (0..set.len()).all(|i| set.label(i).is_some_and(|label| (label as usize) < classes))
}

/// Pictures as u8 RGB, and their labels, if both sets have any.
pub(super) struct PicturesInMemory {
    /// Each `(B, side, side, 3)`.
    batches: Vec<Tensor>,
    pub labels: Vec<u32>,
}

impl PicturesInMemory {
    pub fn batches(&self) -> &[Tensor] {
        &self.batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{scenes::Scenes, source::Split};

    fn sets(pictures: MonitorPictures) -> Result<MonitorSets> {
        let set = |split| -> Arc<dyn Dataset> { Arc::new(Scenes::new(60, 32, 1, split)) };
        let framing = CropPolicy::Crop { resize: None, crop: 24 };
        let spec = MonitorSpec { pictures, ..MonitorSpec::default() };
        MonitorSets::draw(
            (set(Split::Train), set(Split::Val)),
            "scenes",
            (&spec, framing),
            None,
            &Rng::new(3),
        )
    }

    fn few(bank: usize, test: usize) -> MonitorPictures {
        MonitorPictures { bank: crate::bounded::Count::of(bank), test: crate::bounded::Count::of(test) }
    }

    fn values(pictures: &PicturesInMemory) -> Vec<Vec<u8>> {
        let batches = pictures.batches().iter();
        batches.map(|batch| batch.flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    #[test]
    fn pictures_are_read_once_and_their_views_differ() -> Result<()> {
        let read = sets(few(40, 10))?.read()?;
        assert_eq!((read.bank.labels.len(), read.test.labels.len()), (40, 10));
        let total = |pictures: &PicturesInMemory| values(pictures).concat().len();
        let all: usize =
            [&read.bank, &read.test, &read.views[0], &read.views[1]].map(total).into_iter().sum();
        assert_eq!(all, bytes(few(40, 10), 24));
        assert_ne!(values(&read.views[0]), values(&read.views[1]));
        assert_eq!(read.views[0].batches()[0].dims(), [10, 24, 24, 3]);
        let again = sets(few(40, 10))?.read()?;
        assert_eq!(values(&read.views[1]), values(&again.views[1]), "the same in every process");
        assert!(read.classes.is_some());
        Ok(())
    }

    #[test]
    fn what_cannot_be_measured_is_refused() -> Result<()> {
        let set = sets(few(40, 10))?;
        let val = Scenes::new(60, 32, 1, Split::Val);
        set.check(Some(40), &Scenes::new(60, 32, 1, Split::Train))?;
        let wrong = |checked: Result<()>| checked.unwrap_err().to_string();
        let error = wrong(set.check(Some(41), &Scenes::new(60, 32, 1, Split::Train)));
        assert!(error.contains("41 neighbors of a bank of 40"), "{error}");
        let error = wrong(set.check(Some(5), &val));
        assert!(error.contains("one of the training pictures"), "{error}");
        assert!(sets(few(1, 10)).is_err());
        Ok(())
    }
}
