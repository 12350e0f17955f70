//! What ties the stages of an experiment to one another and to the top of the file: references, data and backbones.
//! Everything that can be seen to be wrong without opening data or weights, with its place.

use super::{
    document::On,
    error::Fault,
    experiment::{
        ColorEvaluationStage, Experiment, InitSpec, KINDS, LinearProbeStage, MethodSpec, PretextStage, Stage,
        WeightSource,
    },
};
use crate::{
    backbones::BackboneSpec,
    data::{
        catalog,
        source::{DataError, DataSpec, SourceSpec},
    },
    hub::{self, AddressError},
    pretext::PretextSpec,
};

impl Experiment {
    /// Checks what ties stages to one another and to the top: references, data and backbones.
    pub(super) fn check_references(&self) -> Result<(), Wrong> {
        if self.stages.is_empty() {
            return Err(Wrong::key(["stages"], Fault::new("an experiment needs at least one stage")));
        }
        check_source(&["data", "source"], self.data.as_ref())?;
        for (index, (name, stage)) in self.stages.iter().enumerate() {
            let here = ["stages", name, stage.kind()];
            check_source(&["stages", name, stage.kind(), "data", "source"], stage.data())?;
            if stage.data().or(self.data.as_ref()).is_none() {
                return Err(Wrong::key(here, missing("data", name)));
            }
            if stage.trains_backbone() && stage.backbone().or(self.backbone.as_ref()).is_none() {
                return Err(Wrong::key(here, missing("backbone", name)));
            }
            match stage {
                Stage::Pretext(pretext) => self.check_start(index, name, pretext)?,
                Stage::LinearProbe(probe) => self.check_probe(index, name, probe)?,
                Stage::ColorEvaluation(evaluation) => self.check_methods(index, name, evaluation)?,
                Stage::Supervised(_) => {}
            }
        }
        Ok(())
    }

    fn check_start(&self, index: usize, name: &str, stage: &PretextStage) -> Result<(), Wrong> {
        if let Some(BackboneSpec::Vgg16(_)) = stage.backbone.as_ref().or(self.backbone.as_ref()) {
            let fault = Fault::new("`vgg16` is a classifier: it says nothing about single pixels");
            let fault = fault.note("`vgg` is the paper's colorizer");
            let path: &[&str] = match stage.backbone {
                Some(_) => &["stages", name, KINDS[0], "backbone"],
                None => &["backbone"],
            };
            return Err(Wrong::key(path.iter().copied(), fault));
        }
        let Some(WeightSource::Stage(from)) = &stage.init_from else { return Ok(()) };
        let path = ["stages", name, KINDS[0], "init_from", "stage"];
        self.check_stage(index, from).map_err(|fault| Wrong::value(path, fault))
    }

    fn check_probe(&self, index: usize, name: &str, probe: &LinearProbeStage) -> Result<(), Wrong> {
        let here = ["stages", name, KINDS[2], "backbones"];
        if probe.backbones.is_empty() {
            return Err(Wrong::key(here, Fault::new("a probe needs at least one backbone")));
        }
        check_layers(name, &probe.probe.layers, &self.taps(index, probe))?;
        for (row, init) in probe.backbones.iter() {
            let row = here.into_iter().chain([row]);
            if let InitSpec::File(path) = init {
                let wrong =
                    |e: AddressError| Wrong::value(row.clone().chain(["file"]), Fault::new(e.to_string()));
                hub::address_in(path).map_err(wrong)?;
            }
            match init {
                InitSpec::Stage(stage) => {
                    self.check_stage(index, stage).map_err(|f| Wrong::value(row.chain(["stage"]), f))?;
                }
                InitSpec::File(_) | InitSpec::Init(_)
                    if probe.backbone.is_none() && self.backbone.is_none() =>
                {
                    return Err(Wrong::key(row, missing("backbone", name)));
                }
                InitSpec::File(_) | InitSpec::Init(_) => {}
            }
        }
        Ok(())
    }

    fn check_methods(&self, index: usize, name: &str, stage: &ColorEvaluationStage) -> Result<(), Wrong> {
        let here = ["stages", name, KINDS[3], "methods"];
        if stage.methods.is_empty() {
            return Err(Wrong::key(here, Fault::new("an evaluation needs at least one method")));
        }
        for (row, method) in stage.methods.iter() {
            let MethodSpec::Stage(wanted) = method else { continue };
            let path = || here.into_iter().chain([row, "stage"]);
            self.check_stage(index, wanted).map_err(|fault| Wrong::value(path(), fault))?;
            let found = self.stages.iter().find(|(name, _)| name == wanted);
            let learns_to_colour = |stage: &Stage| {
                matches!(stage, Stage::Pretext(PretextStage { task: PretextSpec::Colorization(_), .. }))
            };
            if !found.is_some_and(|(_, stage)| learns_to_colour(stage)) {
                let fault = Fault::new(format!("the stage `{wanted}` does not learn to colour"));
                return Err(Wrong::value(
                    path(),
                    fault.note("give a stage whose pretext task is colorization"),
                ));
            }
        }
        Ok(())
    }

    /// The layers that any of a probe's backbones has, where the spec tells; a weight file may bring others.
    fn taps(&self, index: usize, probe: &LinearProbeStage) -> Vec<String> {
        let stages = probe.backbones.iter().filter_map(|(_, init)| match init {
            InitSpec::Stage(wanted) => self.stages.iter().take(index).find(|(name, _)| name == wanted),
            InitSpec::File(_) | InitSpec::Init(_) => None,
        });
        let trained = stages.filter_map(|(_, stage)| stage.backbone().or(self.backbone.as_ref()));
        let mut taps: Vec<String> = vec![];
        for backbone in probe.backbone.as_ref().or(self.backbone.as_ref()).into_iter().chain(trained) {
            let new = backbone.taps().into_iter().filter(|tap| !taps.contains(tap)).collect::<Vec<_>>();
            taps.extend(new);
        }
        taps
    }

    /// Whether stage number `index` can take a backbone from the stage called `wanted`.
    fn check_stage(&self, index: usize, wanted: &str) -> Result<(), Fault> {
        let trained: Vec<&str> =
            self.stages.iter().take(index).filter(|(_, s)| s.trains_backbone()).map(|(n, _)| n).collect();
        match self.stages.iter().position(|(name, _)| name == wanted) {
            _ if trained.contains(&wanted) => Ok(()),
            None => Err(Fault::unknown("stage", wanted, &trained)),
            Some(at) if at < index => {
                let kind = self.stages.iter().nth(at).map_or("stage", |(_, stage)| match stage {
                    Stage::ColorEvaluation(_) => "evaluation",
                    _ => "probe",
                });
                Err(Fault::new(format!(
                    "the stage `{wanted}` is a{} {kind}: it trains no backbone",
                    if kind == "evaluation" { "n" } else { "" }
                )))
            }
            Some(_) => Err(Fault::new(format!("the stage `{wanted}` does not come before this one"))
                .note("move it up: stages run in order")),
        }
    }
}

/// Whether a frozen backbone has the layers, of which `known` leaves out its head.
fn check_layers(stage: &str, layers: &[String], known: &[String]) -> Result<(), Wrong> {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    if layers.is_empty() {
        let path = ["stages", stage, KINDS[2], "probe", "layers"];
        return Err(Wrong::value(path, Fault::new("a probe needs at least one layer")));
    }
    for (i, layer) in layers.iter().enumerate() {
        let fault = if !known.contains(&layer.as_str()) {
            Fault::unknown("layer", layer, &known)
        } else if layers[..i].contains(layer) {
            Fault::new(format!("the layer `{layer}` is given twice"))
        } else {
            continue;
        };
        return Err(Wrong::value(["stages", stage, KINDS[2], "probe", "layers", &i.to_string()], fault));
    }
    Ok(())
}

/// Whether the catalogue has what the data set names.
fn check_source(path: &[&str], data: Option<&DataSpec>) -> Result<(), Wrong> {
    let Some(DataSpec { source: SourceSpec::Catalog(name), .. }) = data else { return Ok(()) };
    let fault = match catalog::entry(name) {
        Ok(_) => return Ok(()),
        Err(DataError::NotInCatalog { known, .. }) => {
            Fault::unknown("data set", name, &known.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Err(other) => Fault::new(other.to_string()),
    };
    Err(Wrong::value(path.iter().copied().chain(["catalog"]), fault))
}

fn missing(what: &str, stage: &str) -> Fault {
    Fault::new(format!("the stage `{stage}` has no `{what}`"))
        .note(format!("add `{what}: …` here or at the top of the file"))
}

/// A fault and the path of keys that leads to it.
#[derive(Debug)]
pub(super) struct Wrong {
    pub path: Vec<String>,
    pub on: On,
    pub fault: Box<Fault>,
}

impl Wrong {
    fn new<'a>(path: impl IntoIterator<Item = &'a str>, on: On, fault: Fault) -> Self {
        Self { path: path.into_iter().map(String::from).collect(), on, fault: Box::new(fault) }
    }
    fn key<'a>(path: impl IntoIterator<Item = &'a str>, fault: Fault) -> Self {
        Self::new(path, On::Key, fault)
    }
    fn value<'a>(path: impl IntoIterator<Item = &'a str>, fault: Fault) -> Self {
        Self::new(path, On::Value, fault)
    }
}
