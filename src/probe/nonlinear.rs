//! The non-linear probe (Noroozi and Favaro 2016, table 2): the first layers of a trained network are kept and frozen, every
//! layer after them, fc6 to fc8 included, starts afresh, and the whole is trained to classify. How much more than from
//! frozen random layers it then knows tells what the kept ones are worth. Training and result are those of [`Supervised`].
//!
//! No schedule is part of it. Published ones are CaffeNet's (450 k steps of 256 images) and RotNet's (40 epochs with
//! Nesterov momentum, batch normalization in the fresh part, random crops of resized images): say which.

use crate::{
    backbones::{
        BackboneSpec, Build,
        network::Network,
        table::{Layer, hidden_taps, spliced, tap},
    },
    nn::{params::Params, weights},
    pretext::supervised::Supervised,
    rng::Rng,
};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is kept, and how the rest is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NonlinearProbeSpec {
    /// The last layer that is kept and frozen: column `conv4` of the published tables.
    pub through: String,
    /// Whether the layers after it are normalized over the batch, as RotNet's are; CaffeNet's are not.
    pub batch_norm: bool,
}

impl Default for NonlinearProbeSpec {
    fn default() -> Self {
        Self { through: "conv4".into(), batch_norm: true }
    }
}

impl NonlinearProbeSpec {
    /// The network with `classes` outputs on the transfer graph, which needs the crop it was made for. `trained` are the
    /// weights of that graph without batch normalization (see [`crate::backbones::absorb`]), of which only the kept
    /// layers' are read; absent, they stay as `rng` fills them, the floor that trained ones are compared with.
    ///
    /// # Errors
    /// A layer to keep that the backbone does not have, or after which none is left to train; weights that lack a kept
    /// layer or have it in another shape.
    pub fn build(
        &self,
        backbone: &BackboneSpec,
        trained: Option<&BTreeMap<String, Tensor>>,
        classes: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Supervised> {
        let table =
            |batch_norm| backbone.table(&Build { batch_norm, outputs: Some(classes), ..backbone.plain() });
        let (own, fresh) = (table(false), table(self.batch_norm));
        let kept = self.kept(&own, backbone.name())?;
        let names: Vec<String> = own[..kept].iter().map(|layer| layer.name.clone()).collect();
        let mut params = Params::new(device);
        let layers = spliced(&own, &fresh, &self.through)?;
        let mut net = Network::new(backbone.interface(), layers, &mut params, &rng.split("init"))?;
        if let Some(trained) = trained {
            load(&params, trained, &names)?;
        }
        net.freeze_through(&self.through, &mut params)?;
        Ok(Supervised::of(net, params))
    }

    /// How many rows are kept.
    fn kept(&self, layers: &[Layer], backbone: &str) -> Result<usize> {
        // The last row that learns is the head.
        let hidden = &layers[..layers.len().saturating_sub(1)];
        let at = tap(hidden, &self.through).with_context(|| {
            let names: Vec<&str> = hidden_taps(hidden).into_iter().map(|(name, _)| name).collect();
            let through = &self.through;
            format!(
                "nonlinear_probe: {backbone} cannot be kept through `{through}`; it can through {}",
                names.join(", ")
            )
        })?;
        Ok(at + 1)
    }
}

/// Sets the parameters of the rows `kept`, all of them.
fn load(params: &Params, trained: &BTreeMap<String, Tensor>, kept: &[String]) -> Result<()> {
    let is_kept =
        |name: &str| name.rsplit_once('.').is_some_and(|(layer, _)| kept.iter().any(|kept| kept == layer));
    let wanted = trained.iter().filter(|(name, _)| is_kept(name));
    let wanted: BTreeMap<String, Tensor> = wanted.map(|(name, t)| (name.clone(), t.clone())).collect();
    let report = weights::load_into(params, &wanted).context("the layers to keep")?;
    let left = report.missing.iter().chain(&report.mismatched).chain(&report.unexpected);
    let left: Vec<&str> = left.map(String::as_str).filter(|name| is_kept(name)).collect();
    ensure!(
        left.is_empty(),
        "the trained weights do not fit the layers to keep: {}; give the backbone that they were trained with, its \
         batch normalization absorbed",
        left.join(", ")
    );
    Ok(())
}
