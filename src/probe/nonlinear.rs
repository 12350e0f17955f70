//! The non-linear probe (Noroozi and Favaro 2016, table 2): the first layers of a trained network are frozen, all
//! later layers (including fc6 to fc8) are reinitialized, and the network is trained to classify. The gain over frozen
//! random layers measures the value of the frozen ones. Training and metrics are those of [`Supervised`].
//!
//! The probe does not define a schedule. Published schedules are CaffeNet's (450 k steps of 256 images) and RotNet's
//! (40 epochs with Nesterov momentum, batch normalization in the new layers, random crops of resized images); report
//! which one was used.

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

/// Depth of the frozen part and options of the new layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NonlinearProbeSpec {
    /// The last frozen layer: column `conv4` of the published tables.
    pub through: String,
    /// Batch normalization in the new layers, as in RotNet; CaffeNet has none.
    pub batch_norm: bool,
}

impl Default for NonlinearProbeSpec {
    fn default() -> Self {
        Self { through: "conv4".into(), batch_norm: true }
    }
}

impl NonlinearProbeSpec {
    /// Builds the network with `classes` outputs in the transfer variant, which needs its native crop. `trained` are
    /// the weights of that variant without batch normalization (see [`crate::backbones::absorb`]); only the frozen
    /// layers are read. If absent, these layers keep their random initialization, which gives the baseline.
    ///
    /// # Errors
    /// A layer that the backbone does not have or after which no layer remains; weights that lack a frozen layer or
    /// have it in another shape.
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
        let kept = self.frozen_rows(&own, backbone.name())?;
        let names: Vec<String> = own[..kept].iter().map(|layer| layer.name.clone()).collect();
        let values = trained.map(|trained| kept_weights(trained, &names)).unwrap_or_default();
        let mut params = Params::with_values(device, values);
        let layers = spliced(&own, &fresh, &self.through)?;
        let mut net = Network::new(backbone.interface(), layers, &mut params, &rng.split("init"))?;
        if trained.is_some() {
            check_kept(&mut params, &names)?;
        }
        net.freeze_through(&self.through, &mut params)?;
        Ok(Supervised::of(net, params))
    }

    /// Number of frozen table rows.
    fn frozen_rows(&self, layers: &[Layer], backbone: &str) -> Result<usize> {
        // The last trainable row is the head.
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

/// Whether a parameter is one of the rows `kept`.
fn is_kept(name: &str, kept: &[String]) -> bool {
    name.rsplit_once('.').is_some_and(|(layer, _)| kept.iter().any(|kept| kept == layer))
}

/// The parameters of all rows in `kept`.
fn kept_weights(trained: &BTreeMap<String, Tensor>, kept: &[String]) -> BTreeMap<String, Tensor> {
    let wanted = trained.iter().filter(|(name, _)| is_kept(name, kept));
    wanted.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
}

/// Checks that all of [`kept_weights`] were loaded.
fn check_kept(params: &mut Params, kept: &[String]) -> Result<()> {
    let report = weights::finish_load(params).context("the layers to keep")?;
    let left = report.missing.iter().chain(&report.mismatched).chain(&report.unexpected);
    let left: Vec<&str> = left.map(String::as_str).filter(|name| is_kept(name, kept)).collect();
    ensure!(
        left.is_empty(),
        "the trained weights do not fit the layers to keep: {}; give the backbone that they were trained with, its \
         batch normalization absorbed",
        left.join(", ")
    );
    Ok(())
}
