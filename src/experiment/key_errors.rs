//! What planning the stages shows without data or weights: layers that are not there, sizes that do not fit, options that
//! have no effect. Each error is about a key, so that it is shown at its line before anything is opened.

use super::{
    diagnostics::StageFault,
    expected,
    faults::{all, each},
    plan::{NetworkPlan, StagePlan, StageRow},
    sources::{ColorizationMethodSpec, InitSpec, Start},
    spec::Experiment,
    stages::Stage,
};
use crate::{
    backbones::{BackboneSpec, kinds::MapSize},
    key_error::KeyError,
    nn::optim::{freeze_all, uncovered},
    spec::{Diagnostic, On},
    train::spec::TrainSpec,
};
use anyhow::{Result, ensure};

impl Experiment {
    /// Errors of the stages' plans; `written` is the experiment before the top-level sections were copied into them.
    pub(super) fn key_errors(&self, written: &Self) -> Vec<StageFault> {
        let mut found = vec![];
        for (name, stage) in self.stages.iter() {
            let own = written.stages.get(name).unwrap_or(stage);
            for row in stage.kind().rows().each() {
                let errors = match self.foresee(stage, &row) {
                    Ok(plan) => {
                        found.extend(plan.iter().flat_map(|plan| expected::unforeseen(self, name, plan)));
                        continue;
                    }
                    Err(error) => error,
                };
                let errors = each(&errors).into_iter().filter_map(|error| error.downcast_ref::<KeyError>());
                found.extend(errors.map(|KeyError { keys, reason, advice, is_at_value }| {
                    let path = path((name, own), &row, keys);
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    let on = if *is_at_value { On::Value } else { On::Key };
                    StageFault::new(name, &path, on, Diagnostic::new(reason).note(advice))
                }));
            }
        }
        found
    }

    /// Plans a row as preflight does; None if that takes its weight file, or its network lacks the row's column.
    fn foresee(&self, stage: &Stage, row: &StageRow) -> Result<Option<StagePlan>> {
        let Some(backbone) = self.backbone_of_row(stage, row) else { return Ok(None) };
        if backbone.as_ref().is_some_and(|backbone| lacks_column(stage, row, backbone)) {
            return Ok(None);
        }
        let plan = stage.kind().plan(row.clone(), backbone.as_ref())?;
        check_plan(stage, &plan, (1, None))?;
        Ok(Some(plan))
    }

    /// The network of a row; the outer None where a weight file may state another one.
    fn backbone_of_row(&self, stage: &Stage, row: &StageRow) -> Option<Option<BackboneSpec>> {
        let own = row.backbone.as_ref().or(stage.backbone()).cloned();
        let trained = |wanted: &String| self.stages.get(wanted).and_then(|stage| stage.kind().trained());
        match (&row.start, row.start.source()) {
            (Start::Method(ColorizationMethodSpec::Stage(wanted)), _) => Some(trained(wanted)),
            (Start::Method(ColorizationMethodSpec::File(_)), _) => None,
            _ if stage.trains_backbone() => Some(own),
            (_, Some(InitSpec::Stage(wanted))) => Some(trained(wanted)),
            (_, Some(InitSpec::File(_))) if row.backbone.is_none() => None,
            _ => Some(own),
        }
    }
}

/// Path from the top of the file: sections that a stage lacks are those at the top, and a row may have its own network.
fn path((name, written): (&str, &Stage), row: &StageRow, keys: &[String]) -> Vec<String> {
    let section = keys.first().map_or("", String::as_str);
    let own = match section {
        "data" => written.data().is_some(),
        "annotated" => written.annotated().is_some(),
        "backbone" => row.backbone.is_some() || written.backbone().is_some(),
        _ => true,
    };
    let of_row = row.name.as_deref().filter(|_| section == "backbone" && row.backbone.is_some());
    let stage = ["stages", name, written.key()].into_iter().filter(|_| own);
    let row = of_row.into_iter().flat_map(|row| ["backbones", row]);
    stage.chain(row).map(String::from).chain(keys.iter().cloned()).collect()
}

/// Whether the network lacks the layer of the row's column but has another layer of the stage.
pub(super) fn lacks_column(stage: &Stage, row: &StageRow, backbone: &BackboneSpec) -> bool {
    let (Some(column), Some(layers)) = (&row.column, stage.kind().layers()) else { return false };
    !backbone.knows(column) && layers.names.iter().any(|layer| backbone.knows(layer))
}

/// Checks what the plan alone says, for data with so many classes, whose first picture has a size if it is known.
///
/// # Errors
/// A layer that the network lacks; pictures too small for it.
pub(super) fn check_plan(
    stage: &Stage,
    plan: &StagePlan,
    (classes, stored): (usize, Option<MapSize>),
) -> Result<()> {
    let Some(network) = &plan.network else { return Ok(()) };
    network.table(classes)?;
    let keys = stage.kind().size_keys();
    let sizes = network.size.or(stored).map_or(Ok(()), |size| match network.summary(classes, size) {
        Ok(_) => Ok(()),
        Err(misfit) => Err(KeyError::new(keys.iter().copied(), misfit.to_string()).into()),
    });
    let fits = sizes.and_then(|()| stage.kind().check_network(network));
    let length = stage.train().map_or(Ok(()), |train| train.length().map(drop).map_err(Into::into));
    all([fits, length, check_start(&plan.row, &network.backbone), check_patterns(stage, network)]).map(drop)
}

/// Checks that every pattern of the optimizer's multipliers fits a parameter, and that they leave one to be trained.
fn check_patterns(stage: &Stage, network: &NetworkPlan) -> Result<()> {
    let Some(TrainSpec { optimizer, .. }) = stage.train() else { return Ok(()) };
    let names = stage.kind().trained_parameters(network)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let keys = ["train", "optimizer", optimizer.key(), "multipliers"];
    if let Some((at, reason)) = uncovered(optimizer.multipliers(), &names) {
        let at = at.to_string();
        let keys = keys.into_iter().chain([at.as_str(), "pattern"]);
        return Err(KeyError::new(keys, reason).into());
    }
    ensure!(
        !freeze_all(optimizer.multipliers(), &names),
        KeyError::new(keys, "a rate of 0 for every parameter trains nothing").advice("take one of them out")
    );
    Ok(())
}

/// Checks that data-dependent initialization ends with a layer of the network.
fn check_start(row: &StageRow, backbone: &BackboneSpec) -> Result<()> {
    let Some(InitSpec::DataDependent(how)) = row.start.source() else { return Ok(()) };
    let Err(unknown) = how.last(&backbone.table(&backbone.plain())) else { return Ok(()) };
    let mut keys = row.name.as_deref().map_or_else(|| vec!["init_from"], |row| vec!["backbones", row]);
    let mut start = match &row.start {
        Start::Weights(init) => Some(init),
        Start::Random | Start::Method(_) => None,
    };
    while let Some(InitSpec::Rescaled(inner)) = start {
        keys.push("rescaled");
        start = Some(inner);
    }
    keys.extend(["data_dependent", "through"]);
    Err(KeyError::new(keys, unknown.to_string()).at_value().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{Variant, network::Network},
        experiment::{network::freeze, plan::Trainable},
        nn::params::Params,
        pretext::{bigan::BiganSpec, headed::HeadedTaskSpec, inpainting::InpaintingSpec, simclr::SimclrSpec},
        rng::Rng,
        transfer::InputColors,
    };
    use candle_core::Device;

    fn names(params: &Params) -> Vec<&str> {
        params.iter().map(|param| param.name.as_str()).collect()
    }

    /// Also normalizations with and without scale, layers without bias, and the networks beside the backbone.
    #[test]
    fn names_of_planned_parameters_are_those_of_what_is_built() -> Result<()> {
        let specs: [Box<dyn HeadedTaskSpec>; 3] = [
            Box::new(serde_json::from_str::<BiganSpec>(r#"{"side": 16, "width": 0.125}"#)?),
            Box::new(serde_json::from_str::<InpaintingSpec>(
                r#"{"adversarial": 0.5, "discriminator_width": 0.125}"#,
            )?),
            Box::new(SimclrSpec::default()),
        ];
        for network in ["alexnet", "resnet", "vgg16", "vgg"] {
            let backbone: BackboneSpec =
                serde_json::from_str(&format!(r#"{{"{network}": {{"width": 0.05}}}}"#))?;
            for spec in &specs {
                let plan = NetworkPlan {
                    beside: spec.beside(64)?,
                    ..NetworkPlan::headed(&backbone, spec.task_head(64)?)
                };
                let task = spec.task(&backbone, 64, &Rng::new(0), &Device::Cpu)?;
                assert_eq!(plan.trained_parameters()?, names(task.params()), "{network}, {}", spec.key());
            }
        }
        for network in ["siggraph17", "dahl", "iizuka", "larsson"] {
            let backbone: BackboneSpec =
                serde_json::from_str(&format!(r#"{{"{network}": {{"width": 0.05}}}}"#))?;
            let plan = NetworkPlan::of_task(&backbone, &backbone.plain(), 64);
            let mut params = Params::new(&Device::Cpu);
            backbone.build(&plan.build(1), &mut params, &Rng::new(0))?;
            assert_eq!(plan.trained_parameters()?, names(&params), "{network}");
        }
        Ok(())
    }

    /// Also those that are unfrozen of a frozen layer, and the layers that a task adds.
    #[test]
    fn names_of_planned_parameters_are_those_that_fine_tuning_trains() -> Result<()> {
        let (rng, below) = (Rng::new(0), |layer: &str| Trainable::After(layer.into()));
        for network in ["alexnet", "resnet", "vgg16"] {
            let backbone: BackboneSpec =
                serde_json::from_str(&format!(r#"{{"{network}": {{"width": 0.05}}}}"#))?;
            let middle = backbone.taps()[3].clone();
            let variants = [Variant::Transfer, Variant::Dense, Variant::Regions];
            let parts = [Trainable::All, below(&middle), Trainable::From(middle)];
            for (variant, trainable) in
                variants.into_iter().flat_map(|one| parts.iter().map(move |part| (one, part)))
            {
                for colors in [InputColors::Gray, InputColors::Color] {
                    let plan = NetworkPlan::on(variant, &backbone, None).with_colors(colors);
                    let plan = NetworkPlan { trainable: trainable.clone(), ..plan };
                    let mut params = Params::new(&Device::Cpu);
                    let mut net = Network::new(backbone.interface(), plan.table(1)?, &mut params, &rng)?;
                    freeze(&plan, &mut net, &mut params)?;
                    let (mut planned, mut built) = (plan.trained_parameters()?, names(&params));
                    planned.sort();
                    built.sort();
                    assert_eq!(planned, built, "{network}, {variant:?}, {trainable:?}, {colors:?}");
                }
            }
        }
        Ok(())
    }
}
