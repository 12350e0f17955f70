//! A discriminator of square pictures: 4×4 convolutions of stride 2 with 64, 128, 256, 512, 512, … channels until 4 cells
//! or fewer are left, batch normalization after all but the first, leaky ReLUs, and a score (Radford, Metz and Chintala
//! 2016; Pathak, Krähenbühl, Donahue, Darrell and Efros 2016).

use super::{
    input::Input,
    network::{Interface, Network, PixelGrid},
    table::{Layer, TableBuilder, channels},
};
use crate::{
    bounded::Positive,
    nn::{
        Mode,
        init::Filler,
        layers::{BatchNormOptions, Fillers},
        params::Params,
    },
    rng::Rng,
};
use candle_core::{Result, Tensor};

/// Channels of the first layer at width 1; the fourth and later layers have eight times as many.
const CHANNELS: usize = 64;
/// Largest side of the map that the score reads.
const LAST: usize = 4;
/// Name of the score's tap.
const SCORE: &str = "score";

/// Adds the parameters of a discriminator, `discriminator.conv1.weight` and so on, to `params`.
///
/// # Errors
/// A tensor that cannot be allocated on the device.
pub fn network(side: usize, width: Positive, params: &mut Params, rng: &Rng) -> Result<Network> {
    let grid = PixelGrid { stride: 1, align_corners: false, multiple: 1 };
    let interface = Interface { name: "discriminator", input: Input::RgbUnit, grid, region: None };
    Network::new(interface, table(side, width), params, rng)
}

/// Its rows for RGB pictures of `side` pixels.
pub fn table(side: usize, width: Positive) -> Vec<Layer> {
    let weight = Filler::Gaussian { std: Positive::of(0.02) };
    let fillers = Fillers { weight, bias: Some(Filler::Zero) };
    let mut table = TableBuilder::new(3);
    let (mut map, mut number) = (side, 1);
    while map > LAST {
        let outputs = channels(CHANNELS << (number - 1).min(3), width);
        table.conv(&format!("discriminator.conv{number}"), [4, 2, 1, 1, 1], outputs, fillers);
        if number > 1 {
            table.batch_norm(&format!("discriminator.bn{number}"), BatchNormOptions::PYTORCH);
        }
        table.relu(&format!("discriminator.relu{number}"), 0.2);
        (map, number) = (map / 2, number + 1);
    }
    table.conv("discriminator.score", [map, 1, 0, 1, 1], 1, fillers).tap(SCORE);
    table.rows()
}

/// Scores `(B)` of pictures `(B, side, side, 3)`, above 0 for true ones.
///
/// # Errors
/// Pictures of another size.
pub fn scores(net: &Network, pictures: &Tensor, mode: &Mode) -> Result<Tensor> {
    net.forward(pictures, &[SCORE], mode)?.remove(0).flatten_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::summary::Summary;

    /// The discriminator of context encoders for 64 pixels has 2.77 million parameters.
    #[test]
    fn as_large_as_the_original() {
        let summary = Summary::of(&table(64, Positive::of(1.0)), (64, 64)).expect("64 pixels fit");
        let convs = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 128 + 256 + 512 + 1;
        assert_eq!(summary.parameters(), convs + 2 * (128 + 256 + 512));
        assert_eq!((summary.parameters() as f64 / 1e4).round(), 277.0);
        for side in [5, 29, 56, 227] {
            let rows = table(side, Positive::of(0.125));
            assert!(
                Summary::of(&rows, (side, side))
                    .is_ok_and(|s| s.lines.last().is_some_and(|l| l.map == (1, 1)))
            );
        }
    }
}
