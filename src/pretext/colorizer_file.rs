//! Opens colorizers from weight files: those of runs, whose header names the backbone and the task, and released ones.

use super::{
    colorization::ColorizationSpec,
    colorizer::{Colorizer, ColorizerSpec},
    dahl::DahlTaskSpec,
    iizuka::IizukaTaskSpec,
    larsson::LarssonTaskSpec,
    siggraph17::Siggraph17TaskSpec,
};
use crate::{
    backbones::{
        BackboneSpec,
        exchange::{self, WeightFile},
    },
    nn::{params::Params, weights},
    rng::Rng,
    train::manifest,
    yaml,
};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use std::path::Path;

/// Names of the tasks whose networks are colorizers.
pub const TASKS: [&str; 5] = ["colorization", "siggraph17", "dahl", "iizuka", "larsson"];

impl Colorizer {
    /// Opens a weight file and returns the network with the spec it was trained by. The file is a run's own (its
    /// header holds `backbone` and the task's section) or a released colorizer in any recognized format.
    ///
    /// # Errors
    /// A file that cannot be read, was modified after its run finished, holds no colorizer, or lacks weights of the
    /// network that it names.
    pub fn open(path: &Path, device: &Device) -> Result<(Self, Box<dyn ColorizerSpec>)> {
        // A run's file has a checksum, which takes as long as reading the file.
        let (unchanged, file) =
            rayon::join(|| manifest::ensure_unchanged(path), || exchange::open_finite(path));
        unchanged?;
        let file = file?;
        file.notes.iter().for_each(|note| tracing::info!("{}: {note}", path.display()));
        let (backbone, spec) = named(&file, path)?;
        let upsampling = file.metadata.get(exchange::UPSAMPLING).map(|yaml| weights::section(yaml));
        let upsampling = upsampling.transpose().with_context(|| damaged(path))?.unwrap_or_default();
        let trained_side = file.metadata.get("run").and_then(|run| trained_side(run));
        let mut params = Params::with_own_values(device, file.tensors);
        let mut colorizer = Self::new(&*spec, &backbone, &mut params, &Rng::new(0))?;
        let report = weights::finish_load(&mut params)
            .with_context(|| format!("{} does not fit the network that its header names", path.display()))?;
        ensure!(
            report.missing.is_empty() && report.mismatched.is_empty(),
            "{} does not fit the network that its header names: {report}",
            path.display()
        );
        (colorizer.upsampling, colorizer.trained_side) = (upsampling, trained_side);
        Ok((colorizer, spec))
    }
}

/// The task of a colorizer on `backbone`, with its defaults.
pub fn usual_task(backbone: &BackboneSpec) -> Box<dyn ColorizerSpec> {
    match backbone {
        BackboneSpec::Siggraph17(_) => Box::new(Siggraph17TaskSpec::default()),
        BackboneSpec::Dahl(_) => Box::new(DahlTaskSpec::default()),
        BackboneSpec::Iizuka(_) => Box::new(IizukaTaskSpec::default()),
        BackboneSpec::Larsson(_) => Box::new(LarssonTaskSpec::default()),
        _ => Box::new(ColorizationSpec::default()),
    }
}

/// The pretext task, or else the kind of stage, of a run's spec.
fn trained_task(run: &str) -> Option<String> {
    let run: Value = yaml::read(run).ok()?;
    let (kind, stage) = run.get("work")?.as_mapping()?.iter().next()?;
    let task = match stage.get("task") {
        Some(Value::Mapping(task)) => task.keys().next(),
        task => task,
    };
    Some(task.unwrap_or(kind).as_str()?.into())
}

/// Short side of the training pictures that a run's spec names, or else the side of their crops.
fn trained_side(run: &str) -> Option<usize> {
    let run: Value = yaml::read(run).ok()?;
    let data = run.get("work")?.as_mapping()?.values().find_map(|work| work.get("data"))?;
    let side = |key: &str| data.get(key)?.as_u64()?.try_into().ok();
    side("resize").or_else(|| side("crop"))
}

/// The backbone and the task that a file's header names.
fn named(file: &WeightFile, path: &Path) -> Result<(BackboneSpec, Box<dyn ColorizerSpec>)> {
    let section = Header { file, path };
    let backbone: BackboneSpec = section.read("backbone")?;
    let spec: Box<dyn ColorizerSpec> = match &backbone {
        BackboneSpec::Siggraph17(_) => Box::new(section.read::<Siggraph17TaskSpec>("siggraph17")?),
        BackboneSpec::Dahl(_) => Box::new(section.read::<DahlTaskSpec>("dahl")?),
        BackboneSpec::Iizuka(_) => Box::new(section.read::<IizukaTaskSpec>("iizuka")?),
        BackboneSpec::Larsson(_) => Box::new(section.read::<LarssonTaskSpec>("larsson")?),
        _ => Box::new(section.read::<ColorizationSpec>("colorization")?),
    };
    Ok((backbone, spec))
}

/// The header of a weight file.
struct Header<'a> {
    file: &'a WeightFile,
    path: &'a Path,
}

impl Header<'_> {
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let section = self.file.metadata.get(name).with_context(|| self.no_colorizer(name))?;
        weights::section(section).with_context(|| damaged(self.path))
    }

    fn no_colorizer(&self, name: &str) -> String {
        let why = match self.file.metadata.get("run").and_then(|run| trained_task(run)) {
            Some(task) => format!("it was trained by `{task}`, which colors no pictures"),
            None => format!("its header has no `{name}`"),
        };
        format!(
            "{} holds no colorizer that can be used: {why}; give the run of a colorization stage, its weights.safetensors, or a released \
             colorizer",
            self.path.display()
        )
    }
}

fn damaged(path: &Path) -> String {
    format!("{}: its header is damaged", path.display())
}

#[cfg(test)]
mod tests {
    use super::{trained_side, trained_task};

    #[test]
    fn a_run_says_what_it_was_trained_by() {
        let task = |work: &str| trained_task(&format!("seed: 0\nwork: {{ {work} }}\n"));
        assert_eq!(task("pretext: { data: {}, task: rotation }").as_deref(), Some("rotation"));
        assert_eq!(task("pretext: { task: { jigsaw: {} } }").as_deref(), Some("jigsaw"));
        assert_eq!(task("supervised: { data: {} }").as_deref(), Some("supervised"));
        assert_eq!(trained_task("- no run"), None);
    }

    #[test]
    fn a_run_says_how_large_its_pictures_were() {
        let run =
            |data: &str| format!("seed: 0\nwork: {{ pretext: {{ data: {data}, task: colorization }} }}\n");
        assert_eq!(trained_side(&run("{ resize: 256, crop: 176 }")), Some(256));
        assert_eq!(trained_side(&run("{ resize: null, crop: 128 }")), Some(128));
        assert_eq!(trained_side(&run("{}")), None);
        assert_eq!(trained_side("- no run"), None);
    }
}
