//! An update that changes each parameter as soon as its gradient is complete, so that no gradient is kept. For steps of
//! one pass without clipping, in host memory. LARS needs the whole gradient of one parameter at a time.

use super::{gradients::places, optimizer::Optimizer};
use crate::{
    nn::params::Params,
    ops::tape::{GradientSink, ParamGradient},
};
use candle_core::{Result, TensorId};
use std::collections::HashMap;

/// An update in progress: see [`Optimizer::begin`].
pub struct UpdateAtOnce<'a> {
    optimizer: &'a mut Optimizer,
    params: &'a Params,
    lr: f64,
    places: HashMap<TensorId, usize>,
    /// Squared norm of each gradient so far.
    squares: Vec<Option<f64>>,
}

impl Optimizer {
    /// Begins one update with learning rate `lr` that changes each parameter when its gradient arrives. As
    /// [`Optimizer::step`] with the same gradients of one pass without clipping, bit for bit.
    ///
    /// # Errors
    /// Other parameters than those passed to [`Optimizer::new`].
    pub fn begin<'a>(&'a mut self, params: &'a Params, lr: f64) -> Result<UpdateAtOnce<'a>> {
        self.begin_update(params)?;
        let squares = vec![None; params.iter().count()];
        Ok(UpdateAtOnce { optimizer: self, params, lr, places: places(params), squares })
    }
}

impl<'a> UpdateAtOnce<'a> {
    /// The L2 norm of all gradients; not finite exactly when some gradient is not finite or is too large to square in
    /// double precision.
    pub fn norm(&self) -> f64 {
        self.squares.iter().flatten().sum::<f64>().sqrt()
    }

    /// Name of the first parameter, in their order, whose gradient was not finite.
    pub fn non_finite(&self) -> Option<&'a str> {
        let mut params = self.params.iter().zip(&self.squares);
        params
            .find(|(_, square)| square.is_some_and(|s| !s.is_finite()))
            .map(|(param, _)| param.name.as_str())
    }
}

impl GradientSink for UpdateAtOnce<'_> {
    fn accept(&mut self, param: TensorId, gradient: ParamGradient) -> Result<()> {
        let Some(place) = self.places.get(&param).copied() else { return Ok(()) };
        let Some(param) = self.params.iter().nth(place) else { return Ok(()) };
        if self.optimizer.is_frozen(&param.name) {
            return Ok(());
        }
        let optimizer = &mut self.optimizer;
        self.squares[place] = Some(match gradient {
            ParamGradient::Pieces { rows, piece } if !optimizer.needs_whole_gradient(place) => {
                let mut square = 0.0;
                for rows in rows {
                    let gradient = piece(rows.clone())?;
                    square += optimizer.change_rows(place, (&param.var, rows), &gradient, self.lr)?;
                }
                square
            }
            gradient => {
                let gradient = gradient.whole()?.contiguous()?;
                optimizer.change(place, &param.var, &gradient, self.lr, 1.0)?
            }
        });
        Ok(())
    }
}
