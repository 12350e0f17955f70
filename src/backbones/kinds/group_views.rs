//! Groups of views: from the features of single views to those of groups of views of one picture, for heads that
//! compare them.

use super::rule::{LayerModule, LayerRule, MapSize, only};
use crate::{
    nn::{layers::LayerCall, params::Params},
    ops::tape::Evaluated,
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Concatenates the features of the views of each group along the channels. A batch of V views of B pictures is ordered
/// by view: row v·B + i is view v of picture i. The output is ordered by group in the same way: `(V·B, H, W, C)` →
/// `(G·B, H, W, n·C)`, for G groups of n views each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupViewsRow {
    /// Views of a picture.
    pub views: usize,
    /// Numbers of the views of each group; all groups have the same length.
    pub groups: Arc<[Vec<usize>]>,
}

impl LayerRule for GroupViewsRow {
    fn word(&self) -> &'static str {
        "views"
    }

    fn channels(&self, inputs: &[usize]) -> usize {
        let members = self.groups.first().map_or(1, Vec::len);
        inputs.first().copied().unwrap_or(0) * members
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().copied()
    }

    fn build(&self, _name: &str, _params: &mut Params, _rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        Ok(Arc::new(self.clone()))
    }
}

impl LayerModule for GroupViewsRow {
    fn evaluate(&self, inputs: &[Tensor], _call: LayerCall) -> Result<Evaluated> {
        let x = only(inputs)?;
        let (rows, _, _, channels) = x.dims4()?;
        if self.views == 0 || rows % self.views != 0 {
            bail!("a batch of {rows} views does not hold {} views of each picture", self.views)
        }
        let pictures = rows / self.views;
        let of_view = |view: &usize| x.narrow(0, view * pictures, pictures);
        let group = |members: &Vec<usize>| -> Result<Tensor> {
            Tensor::cat(&members.iter().map(of_view).collect::<Result<Vec<_>>>()?, 3)
        };
        let y = Tensor::cat(&self.groups.iter().map(group).collect::<Result<Vec<_>>>()?, 0)?;
        let own = self.clone();
        Ok(Evaluated::of_input(y, move |dy| dy.map(|dy| own.gradient(dy, pictures, channels))))
    }
}

impl GroupViewsRow {
    /// A view's gradient is the sum over the groups that it is in, in their order.
    fn gradient(&self, dy: &Tensor, pictures: usize, channels: usize) -> Result<Tensor> {
        let mut sums: Vec<Option<Tensor>> = vec![None; self.views];
        for (group, members) in self.groups.iter().enumerate() {
            let dy = dy.narrow(0, group * pictures, pictures)?;
            for (place, view) in members.iter().enumerate() {
                let part = dy.narrow(3, place * channels, channels)?.contiguous()?;
                let sum = &mut sums[*view];
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
        }
        let (_, h, w, _) = dy.dims4()?;
        let whole = |sum: Option<Tensor>| match sum {
            Some(sum) => Ok(sum),
            None => Tensor::zeros((pictures, h, w, channels), dy.dtype(), dy.device()),
        };
        Tensor::cat(&sums.into_iter().map(whole).collect::<Result<Vec<_>>>()?, 0)
    }
}
