//! Checks references between stages and to the top level: stages, data and backbones. Reports every error that can be
//! detected without opening data or weights, with its position.

use super::{
    diagnostics::LocatedDiagnostic,
    sources::{InitSpec, Start},
    spec::Experiment,
    stages::{Layers, Rows, Stage, StageSections},
};
use crate::{
    backbones::{BackboneSpec, ROLES},
    data::{
        annotated_source::{AnnotatedSource, AnnotatedSpec},
        catalog,
        source::{DataError, SourceSpec},
    },
    hub::address::{check_path, check_repository, check_revision},
    spec::{Diagnostic, on_backbone::OnBackbone},
    weight_source,
};
use std::{collections::HashSet, path::Path};

impl Experiment {
    /// Checks all references, then copies the top-level data and backbone into every stage.
    ///
    /// # Errors
    /// The first error of each section at the top; of each stage those of its inputs, rows and layers.
    pub(super) fn resolve(mut self) -> Result<Self, Vec<LocatedDiagnostic>> {
        let wrong = self.reference_errors();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let Self { data, annotated, backbone, stages, .. } = &mut self;
        let top = StageSections { data: Some(data), annotated: Some(annotated), backbone: Some(backbone) };
        stages.iter_mut().for_each(|(_, stage)| stage.kind_mut().fill(top));
        Ok(Self { data: None, annotated: None, backbone: None, ..self })
    }

    fn reference_errors(&self) -> Vec<LocatedDiagnostic> {
        if self.stages.is_empty() {
            let fault = Diagnostic::new("an experiment needs at least one stage");
            return vec![LocatedDiagnostic::key(["stages"], fault)];
        }
        let names: Vec<&str> = self.stages.iter().map(|(name, _)| name).collect();
        let strange = self.expected.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
        let strange = strange.map(|name| {
            LocatedDiagnostic::key(["expected", name], Diagnostic::unknown("stage", name, &names))
        });
        let top = [
            check_source(&["data", "source"], self.data.as_ref().map(|data| &data.source)),
            check_size(&["backbone"], self.backbone.as_ref()),
            check_annotated(&["annotated", "source"], self.annotated.as_ref()),
        ];
        let stages = self.stages.iter().enumerate();
        let stages = stages.flat_map(|(index, (name, stage))| self.stage_errors(index, name, stage));
        strange.chain(top.into_iter().filter_map(Result::err)).chain(stages).collect()
    }

    /// The errors of a stage. Its networks and layers are checked if its rows are what they should be.
    fn stage_errors(&self, index: usize, name: &str, stage: &Stage) -> Vec<LocatedDiagnostic> {
        let inputs = self.check_inputs(name, stage).err().into_iter();
        let errors: Vec<_> = inputs.chain(self.row_errors(index, name, stage)).collect();
        if !errors.is_empty() {
            return errors;
        }
        let networks = self.check_networks(index, name, stage).err().into_iter();
        networks.chain(layer_errors(name, stage, &self.backbones(index, stage))).collect()
    }

    /// Checks that the stage's required sections exist, in the stage or at the top level, and are valid.
    fn check_inputs(&self, name: &str, stage: &Stage) -> Result<(), LocatedDiagnostic> {
        let here = ["stages", name, stage.key()];
        let below = |keys: &[&'static str]| [&here[..], keys].concat();
        let inputs = stage.kind().inputs();
        check_source(&below(&["data", "source"]), stage.data().map(|data| &data.source))?;
        let monitored = stage.kind().monitor().and_then(|monitor| monitor.data.as_ref());
        check_source(&below(&["monitor", "data", "source"]), monitored.map(|data| &data.source))?;
        check_annotated(&below(&["annotated", "source"]), stage.annotated())?;
        check_size(&below(&["backbone"]), stage.backbone())?;
        let annotated = inputs.annotated.map(|_| stage.annotated().or(self.annotated.as_ref()).is_some());
        let data = inputs.data.map(|_| stage.data().or(self.data.as_ref()).is_some());
        if let (Some(_), Some(_)) = (stage.annotated(), stage.data()) {
            let fault = Diagnostic::new(format!("`{name}` has both `data` and `annotated`"));
            return Err(LocatedDiagnostic::key(below(&["data"]), fault.note("take one of them out")));
        }
        let lacks = [
            ("annotated` or `data", annotated == Some(false) && data == Some(false)),
            ("annotated", annotated == Some(false) && data.is_none()),
            ("data", data == Some(false) && annotated.is_none()),
            ("backbone", stage.trains_backbone() && self.backbone_of(stage).is_none()),
        ];
        if let Some((what, _)) = lacks.into_iter().find(|(_, lacks)| *lacks) {
            return Err(LocatedDiagnostic::key(here, missing(what, name)));
        }
        if let (true, Some(BackboneSpec::Vgg16(_))) =
            (stage.kind().predicts_pixels(), self.backbone_of(stage))
        {
            let fault = Diagnostic::new("`vgg16` is a classifier: it predicts nothing per pixel");
            let fault = fault.note(match stage.kind().splits() {
                true => "`alexnet` and `resnet` can be split",
                false => "`vgg` is the paper's colorizer",
            });
            let path = if stage.backbone().is_some() { below(&["backbone"]) } else { vec!["backbone"] };
            return Err(LocatedDiagnostic::key(path, fault));
        }
        Ok(())
    }

    /// Checks that colorizers' own networks are trained by their tasks only, and those tasks have them. Their features can
    /// be read.
    fn check_networks(&self, index: usize, name: &str, stage: &Stage) -> Result<(), LocatedDiagnostic> {
        let kind = stage.kind();
        if kind.inputs().backbone.is_none() || kind.reads_features() {
            return Ok(());
        }
        let own = self.backbone_of(stage).cloned();
        let networks =
            if stage.trains_backbone() { own.into_iter().collect() } else { self.backbones(index, stage) };
        let here = ["stages", name, stage.key()];
        let path = match (stage.backbone(), &self.backbone) {
            (Some(_), _) => [&here[..], &["backbone"]].concat(),
            (None, Some(backbone)) if check_task(stage, backbone).is_err() => vec!["backbone"],
            (None, _) => here.to_vec(),
        };
        let checked = networks.iter().try_for_each(|backbone| check_task(stage, backbone));
        checked.map_err(|fault| LocatedDiagnostic::key(path, fault))
    }

    /// The stage's backbone, or the top-level one.
    fn backbone_of<'a>(&'a self, stage: &'a Stage) -> Option<&'a BackboneSpec> {
        stage.backbone().or(self.backbone.as_ref())
    }

    /// Errors of the starting points of a stage's fits.
    fn row_errors(&self, index: usize, name: &str, stage: &Stage) -> Vec<LocatedDiagnostic> {
        let here = |keys: &[&'static str]| [&["stages", name, stage.key()][..], keys].concat();
        match stage.kind().rows() {
            Rows::One(Start::Weights(InitSpec::Stage(from))) => {
                let path = here(&["init_from", "stage"]);
                let checked = self.check_stage(index, &from);
                checked.err().into_iter().map(|fault| LocatedDiagnostic::value(path.clone(), fault)).collect()
            }
            Rows::One(start) => {
                let path = here(&["init_from", "file"]);
                start.file().and_then(|file| check_weights(&path, file).err()).into_iter().collect()
            }
            Rows::Backbones { rows, .. } if rows.is_empty() => {
                let fault = Diagnostic::new(format!("`{name}` needs at least one backbone"));
                vec![LocatedDiagnostic::key(here(&["backbones"]), fault)]
            }
            Rows::Backbones { rows, .. } => {
                let here = here(&["backbones"]);
                let checked = rows.iter().map(|(row, choice)| {
                    self.check_backbone(index, (name, stage), [&here[..], &[row]].concat(), choice)
                });
                checked.filter_map(Result::err).collect()
            }
            Rows::Methods(rows) if rows.is_empty() => vec![LocatedDiagnostic::key(
                here(&["methods"]),
                Diagnostic::new("an evaluation needs at least one method"),
            )],
            Rows::Methods(rows) => {
                let here = here(&["methods"]);
                let checked = rows.iter().map(|(row, method)| {
                    self.check_method(index, &[&here[..], &[row]].concat(), &Start::Method(method.clone()))
                });
                checked.filter_map(Result::err).collect()
            }
        }
    }

    /// Checks the method `start`, which stands at `here`.
    fn check_method(&self, index: usize, here: &[&str], start: &Start) -> Result<(), LocatedDiagnostic> {
        let at = |key| [here, &[key]].concat();
        start.file().map_or(Ok(()), |weights| check_weights(&at("file"), weights))?;
        let Some(wanted) = start.stage() else { return Ok(()) };
        self.check_stage(index, wanted).map_err(|fault| LocatedDiagnostic::value(at("stage"), fault))?;
        if self.stages.get(wanted).is_some_and(|stage| stage.kind().colorizes()) {
            return Ok(());
        }
        let fault = Diagnostic::new(format!("the stage `{wanted}` does not learn to color"));
        let note = "give a stage whose pretext task is colorization, or the training of a colorizer";
        Err(LocatedDiagnostic::value(at("stage"), fault.note(note)))
    }

    /// Checks the backbone of a row, which stands at `path`.
    fn check_backbone(
        &self,
        index: usize,
        (name, stage): (&str, &Stage),
        mut path: Vec<&str>,
        OnBackbone { choice, backbone }: &OnBackbone<InitSpec>,
    ) -> Result<(), LocatedDiagnostic> {
        check_size(&[path.as_slice(), &["backbone"]].concat(), backbone.as_ref())?;
        let mut source = choice;
        while let InitSpec::Rescaled(inner) = source {
            path.push("rescaled");
            source = inner;
        }
        let at = |key| [&path[..], &[key]].concat();
        if let InitSpec::File(file) = source {
            check_weights(&at("file"), file)?;
        }
        match source {
            InitSpec::Stage(wanted) => {
                self.check_stage(index, wanted).map_err(|fault| LocatedDiagnostic::value(at("stage"), fault))
            }
            _ if backbone.as_ref().or(self.backbone_of(stage)).is_none() => {
                Err(LocatedDiagnostic::key(path, missing("backbone", name)))
            }
            _ => Ok(()),
        }
    }

    /// The backbones of a stage as far as the spec states them; weight files may state others.
    fn backbones(&self, index: usize, stage: &Stage) -> Vec<BackboneSpec> {
        let rows = stage.kind().rows().each();
        let earlier = |wanted: &str| self.stages.iter().take(index).find(|(name, _)| *name == wanted);
        let trained = rows.iter().filter_map(|row| earlier(row.start.stage()?));
        let trained = trained.filter_map(|(_, stage)| self.backbone_of(stage));
        let named = rows.iter().filter_map(|row| row.backbone.as_ref());
        self.backbone_of(stage).into_iter().chain(trained).chain(named).cloned().collect()
    }

    /// Whether stage number `one` starts from stage number `other`, by way of others too.
    fn starts_from(&self, one: usize, other: usize) -> bool {
        let (mut waiting, mut seen) = (vec![one], vec![]);
        while let Some(at) = waiting.pop() {
            let rows = self.stages.iter().nth(at).map_or(vec![], |(_, stage)| stage.kind().rows().each());
            let named = rows.iter().filter_map(|row| row.start.stage());
            let found = named.filter_map(|name| self.stages.iter().position(|(known, _)| known == name));
            let new: Vec<usize> = found.filter(|at| !seen.contains(at)).collect();
            seen.extend(&new);
            waiting.extend(new);
        }
        seen.contains(&other)
    }

    /// Checks that stage number `index` can use the backbone of the stage `wanted`.
    fn check_stage(&self, index: usize, wanted: &str) -> Result<(), Diagnostic> {
        let trained: Vec<&str> =
            self.stages.iter().take(index).filter(|(_, s)| s.trains_backbone()).map(|(n, _)| n).collect();
        match self.stages.iter().position(|(name, _)| name == wanted) {
            _ if trained.contains(&wanted) => Ok(()),
            None => Err(Diagnostic::unknown("stage", wanted, &trained)),
            Some(at) if at < index => {
                let kind = self.stages.iter().nth(at).and_then(|(_, stage)| stage.trains_none());
                let kind = kind.unwrap_or("a stage");
                Err(Diagnostic::new(format!("the stage `{wanted}` is {kind}: it trains no backbone")))
            }
            Some(at) if at == index => {
                Err(Diagnostic::new(format!("`{wanted}` is this stage itself")).note("give an earlier one"))
            }
            Some(at) if self.starts_from(at, index) => {
                let fault = format!("the stage `{wanted}` starts from this one, and cannot come before it");
                Err(Diagnostic::new(fault).note("give another stage"))
            }
            Some(_) => Err(Diagnostic::new(format!("the stage `{wanted}` does not come before this one"))
                .note("move it up: stages run in order")),
        }
    }
}

/// Checks that a task on one colorizer's network has it, and that other tasks do not.
fn check_task(stage: &Stage, backbone: &BackboneSpec) -> Result<(), Diagnostic> {
    let name = backbone.name();
    match (stage.kind().network(), backbone.task()) {
        (Some(wanted), _) if wanted != name => {
            Err(Diagnostic::new(format!("the task `{wanted}` is not defined on `{name}`"))
                .note(format!("give `backbone: {{ {wanted}: {{}} }}` to its stage")))
        }
        (None, Some(task)) => Err(Diagnostic::new(format!("`{name}` is the network of one colorizer"))
            .note(format!("it is trained by `task: {{ {task}: {{}} }}`; its layers can be probed"))),
        _ => Ok(()),
    }
}

/// Layers of the stage that none of its backbones has, or that are given twice.
fn layer_errors(name: &str, stage: &Stage, backbones: &[BackboneSpec]) -> Vec<LocatedDiagnostic> {
    let Some(named) = stage.kind().layers() else { return vec![] };
    let Layers { keys, names: layers, with_head } = &named;
    // A weight file may bring a network of its own: preflight opens it.
    let rows = stage.kind().rows().each();
    let opens = rows.iter().any(|row| row.start.file().is_some() && row.backbone.is_none());
    let same = |layer: &str, other: &str| {
        backbones
            .iter()
            .any(|backbone| backbone.knows(layer) && backbone.layer(layer) == backbone.layer(other))
    };
    let names = |backbone: &BackboneSpec| {
        let heads = if *with_head { backbone.heads() } else { vec![] };
        backbone.taps().into_iter().chain(heads).collect::<Vec<String>>()
    };
    let mut seen = HashSet::new();
    let known: Vec<String> =
        backbones.iter().flat_map(names).filter(|name| seen.insert(name.clone())).collect();
    let roles = ROLES.into_iter().filter(|_| *with_head);
    let known: Vec<&str> = known.iter().map(String::as_str).chain(roles).collect();
    let here = [&["stages", name, stage.key()][..], keys].concat();
    if layers.is_empty() {
        let fault = Diagnostic::new(format!("`{name}` needs at least one layer"));
        return vec![LocatedDiagnostic::value(here, fault)];
    }
    let error = |(i, layer): (usize, &&str)| {
        let twice = layers[..i].iter().find(|other| *other == layer || same(layer, other));
        let fault = match twice {
            Some(other) if other == layer => Diagnostic::new(format!("the layer `{layer}` is given twice")),
            Some(other) => Diagnostic::new(format!("`{other}` and `{layer}` are the same layer")),
            None if known.contains(layer) || opens => return None,
            None => {
                let unknown = Diagnostic::unknown("layer", layer, &known);
                match named.advice(&known) {
                    Some(advice) => unknown.note(advice),
                    None => unknown,
                }
            }
        };
        let last = if keys.ends_with(&["frozen"]) { "through".to_string() } else { i.to_string() };
        Some(LocatedDiagnostic::value([&here[..], &[&last]].concat(), fault))
    };
    layers.iter().enumerate().filter_map(error).collect()
}

/// Checks that weights are not a malformed address or an unknown name.
fn check_weights(path: &[&str], given: &Path) -> Result<(), LocatedDiagnostic> {
    let wrong = |error: anyhow::Error| {
        LocatedDiagnostic::value(path.iter().copied(), Diagnostic::new(error.to_string()))
    };
    weight_source::check(given).map_err(wrong)
}

/// Checks that the annotated set is in the catalog.
fn check_annotated(path: &[&str], spec: Option<&AnnotatedSpec>) -> Result<(), LocatedDiagnostic> {
    let Some(AnnotatedSpec { source: AnnotatedSource::Catalog(name), .. }) = spec else { return Ok(()) };
    let fault = match catalog::entry(name).map(|entry| entry.is_annotated()) {
        Ok(true) => return Ok(()),
        Ok(false) => Diagnostic::new(format!("the data set `{name}` has neither boxes nor masks")),
        Err(error) => not_listed(name, &error),
    };
    Err(LocatedDiagnostic::value([path, &["catalog"]].concat(), fault))
}

/// The error for a name that is not in the catalog.
fn not_listed(name: &str, error: &DataError) -> Diagnostic {
    match error {
        DataError::NotInCatalog { known, .. } => {
            Diagnostic::unknown("data set", name, &known.iter().map(String::as_str).collect::<Vec<_>>())
        }
        other => Diagnostic::new(other.to_string()),
    }
}

fn check_size(path: &[&str], backbone: Option<&BackboneSpec>) -> Result<(), LocatedDiagnostic> {
    let wrong = |reason: String| LocatedDiagnostic::key(path.iter().copied(), Diagnostic::new(reason));
    backbone.map_or(Ok(()), |backbone| backbone.check_size().map_err(wrong))
}

/// Checks that the data set is in the catalog, has a valid hub address, or has one kind of validation pictures.
fn check_source(path: &[&str], source: Option<&SourceSpec>) -> Result<(), LocatedDiagnostic> {
    let name = match source {
        Some(SourceSpec::Catalog(name)) => name,
        Some(SourceSpec::Hub { repo, revision, train, val, .. }) => {
            return check_hub(path, (repo.as_str(), revision.as_deref()), [("train", train), ("val", val)]);
        }
        Some(SourceSpec::Shards(shards)) => {
            let wrong = |(key, reason)| {
                LocatedDiagnostic::value([path, &["shards", key]].concat(), Diagnostic::new(reason))
            };
            return shards.check().map_err(wrong);
        }
        Some(SourceSpec::Folder { val: Some(_), hold_out: Some(_), .. }) => {
            let fault = Diagnostic::new("the folder has both `val` and `hold_out`");
            let fault = fault.note("take one of them out");
            return Err(LocatedDiagnostic::key([path, &["folder", "hold_out"]].concat(), fault));
        }
        _ => return Ok(()),
    };
    let wrong = |error| LocatedDiagnostic::value([path, &["catalog"]].concat(), not_listed(name, &error));
    catalog::entry(name).map(drop).map_err(wrong)
}

/// Checks that repository, revision and file names cannot escape the repository or the cache folder.
fn check_hub(
    path: &[&str],
    (repo, revision): (&str, Option<&str>),
    files: [(&str, &Vec<String>); 2],
) -> Result<(), LocatedDiagnostic> {
    let wrong = |keys: &[&str], reason: String| {
        Err(LocatedDiagnostic::value([path, &["hub"], keys].concat(), Diagnostic::new(reason)))
    };
    check_repository(repo).or_else(|reason| wrong(&["repo"], reason))?;
    if let Some(revision) = revision {
        check_revision(revision).map(drop).or_else(|reason| wrong(&["revision"], reason))?;
    }
    for (split, names) in files {
        for (i, name) in names.iter().enumerate() {
            check_path(name).or_else(|reason| wrong(&[split, &i.to_string()], reason))?;
        }
    }
    Ok(())
}

fn missing(what: &str, stage: &str) -> Diagnostic {
    Diagnostic::new(format!("the stage `{stage}` has no `{what}`"))
        .note(format!("add `{what}: …` here or at the top of the file"))
}
