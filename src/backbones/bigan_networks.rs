//! The generator of pictures from codes and the discriminator of pairs of picture and code of bidirectional adversarial
//! learning (Donahue, Krähenbühl and Darrell 2017, appendix, and their code; those of Radford, Metz and Chintala 2016). In
//! both the code is a bias of every normalized layer between maps. The transposed convolutions are 4×4, which double a map
//! exactly, where the original has 5×5.

use super::{
    input::Input,
    kinds::{AddVectorRow, LayerKind, SlidingWindow, UnpackRow},
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
    ops::activation::tanh,
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};

/// Channels of a picture.
const COLORS: usize = 3;
/// Channels of the generator's last hidden layer and the discriminator's first at width 1.
const CHANNELS: usize = 64;
/// Smallest and largest side of the map that the generator begins with.
const FIRST: (usize, usize) = (4, 7);
/// Deviation of the first weights of codes: that of others times the 25 weights of a window.
const CODE_BIAS: f64 = 0.5;
const PICTURE: &str = "picture";
const SCORE: &str = "score";

/// Sizes of a generator and its discriminator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BiganSizes {
    /// Side of the pictures in pixels.
    pub side: usize,
    /// Numbers of a code.
    pub code: usize,
    /// Factor on the channels.
    pub width: Positive,
}

impl BiganSizes {
    /// How often the generator doubles its first map.
    ///
    /// # Errors
    /// A side that is not 4, 5, 6 or 7 times a power of 2.
    pub fn doublings(&self) -> Result<u32> {
        let mut doublings = 0;
        while self.side >> doublings > FIRST.1 {
            doublings += 1;
        }
        if doublings == 0 || !self.side.is_multiple_of(1 << doublings) || self.side >> doublings < FIRST.0 {
            bail!(
                "pictures of {} pixels cannot be generated: the side must be 4, 5, 6 or 7 times a power of 2, such as 64",
                self.side
            )
        }
        Ok(doublings)
    }

    /// The generator, with parameters `generator.*` in `params`.
    ///
    /// # Errors
    /// As [`Self::doublings`]; a tensor that cannot be allocated.
    pub fn generator(&self, params: &mut Params, rng: &Rng) -> Result<Network> {
        Network::new(interface("generator"), self.generator_table()?, params, rng)
    }

    /// The discriminator, with parameters `discriminator.*` in `params`.
    ///
    /// # Errors
    /// As [`Self::generator`].
    pub fn discriminator(&self, params: &mut Params, rng: &Rng) -> Result<Network> {
        Network::new(interface("discriminator"), self.discriminator_table()?, params, rng)
    }

    /// Fully connected layer to the first map, normalized by element, then transposed convolutions.
    ///
    /// # Errors
    /// As [`Self::doublings`].
    pub fn generator_table(&self) -> Result<Vec<Layer>> {
        let doublings = self.doublings()?;
        let (side, window) =
            (self.side >> doublings, SlidingWindow { kernel: 4, stride: 2, pad: 1, dilation: 1 });
        let full = |doubling: u32| channels(CHANNELS << (doublings - doubling - 1), self.width);
        let mut table = TableBuilder::new(self.code);
        table.fully_connected("generator.fc", [1, 1, 0, 1, 1], full(0) * side * side, fillers(false));
        table.batch_norm("generator.bn0", BatchNormOptions::PYTORCH).relu("generator.relu0", 0.0);
        let first = UnpackRow { first: 0, side, channels: full(0) };
        table.push("generator.map", LayerKind::Unpack(first));
        for doubling in 1..doublings {
            let name = |kind: &str| format!("generator.{kind}{doubling}");
            table.conv_transpose(&name("deconv"), window, full(doubling), fillers(false));
            code_bias(&mut table, name, 0);
            table.batch_norm(&name("bn"), BatchNormOptions::PYTORCH).relu(&name("relu"), 0.0);
        }
        table.conv_transpose(&format!("generator.deconv{doublings}"), window, COLORS, fillers(true));
        table.tap(PICTURE);
        Ok(table.rows())
    }

    /// Convolutions of stride 2. The input is picture and code in one vector.
    ///
    /// # Errors
    /// As [`Self::doublings`].
    pub fn discriminator_table(&self) -> Result<Vec<Layer>> {
        let doublings = self.doublings()?;
        let picture = UnpackRow { first: 0, side: self.side, channels: COLORS };
        let code = UnpackRow { first: picture.count(), side: 1, channels: self.code };
        let mut table = TableBuilder::new(picture.count() + self.code);
        let code = table.push("discriminator.code", LayerKind::Unpack(code)).value();
        table.read(0);
        table.push("discriminator.picture", LayerKind::Unpack(picture));
        for number in 1..=doublings {
            let name = |kind: &str| format!("discriminator.{kind}{number}");
            let outputs = channels(CHANNELS << (number - 1), self.width);
            table.conv(&name("conv"), [5, 2, 2, 1, 1], outputs, fillers(number == 1));
            if number > 1 {
                code_bias(&mut table, name, code);
                table.batch_norm(&name("bn"), BatchNormOptions::PYTORCH);
            }
            table.relu(&name("relu"), 0.2);
        }
        let side = self.side >> doublings;
        table.fully_connected("discriminator.score", [side, 1, 0, 1, 1], 1, fillers(true)).tap(SCORE);
        Ok(table.rows())
    }
}

/// Adds a linear function of the code, which is value `code`, to every cell of the current map.
fn code_bias(table: &mut TableBuilder, name: impl Fn(&str) -> String, code: usize) {
    let (map, outputs) = (table.value(), table.channels());
    let weight = Filler::Gaussian { std: Positive::of(CODE_BIAS) };
    table.read(code);
    let bias = table.linear(&name("code_bias"), outputs, Fillers { weight, bias: None }).value();
    table.join(&name("biased"), LayerKind::AddVector(AddVectorRow), vec![map, bias]);
}

fn interface(name: &'static str) -> Interface {
    let grid = PixelGrid { stride: 1, align_corners: false, multiple: 1 };
    Interface { name, input: Input::RgbUnit, grid, region: None }
}

fn fillers(bias: bool) -> Fillers {
    Fillers { weight: Filler::Gaussian { std: Positive::of(0.02) }, bias: bias.then_some(Filler::Zero) }
}

/// Pictures RGB from −1 to 1, `(B, side, side, 3)`, of codes `(B, N)`.
///
/// # Errors
/// Codes of another length.
pub fn generate(generator: &Network, codes: &Tensor, mode: &Mode) -> Result<Tensor> {
    let (batch, numbers) = codes.dims2()?;
    let map = generator.forward(&codes.reshape((batch, 1, 1, numbers))?, &[PICTURE], mode)?.remove(0);
    // a sigmoid, from −1 to 1
    tanh(&map.affine(0.5, 0.0)?)
}

/// Scores `(B)` of pairs of a picture `(B, side, side, 3)` and a code `(B, N)`, above 0 for encoded pictures.
///
/// # Errors
/// Pictures or codes of another size.
pub fn judge(discriminator: &Network, (pictures, codes): (&Tensor, &Tensor), mode: &Mode) -> Result<Tensor> {
    let pair = Tensor::cat(&[&pictures.flatten_from(1)?, codes], 1)?;
    let (batch, numbers) = pair.dims2()?;
    discriminator.forward(&pair.reshape((batch, 1, 1, numbers))?, &[SCORE], mode)?.remove(0).flatten_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::summary::Summary;
    use candle_core::{DType, Device};

    fn sizes(side: usize, width: f64) -> BiganSizes {
        BiganSizes { side, code: 200, width: Positive::of(width) }
    }

    /// Maps of 4, 8, 16, 32 and 64 cells, 512 to 64 channels; parameters counted by hand.
    #[test]
    fn as_large_as_the_original_but_for_the_kernels() {
        let rows = sizes(64, 1.0).generator_table().expect("64 pixels");
        let normalized = 2 * (8192 + 256 + 128 + 64);
        let convs = 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 3;
        let summary = Summary::of(&rows, (1, 1)).expect("a code");
        let codes = 200 * (256 + 128 + 64);
        assert_eq!(summary.parameters(), 200 * 8192 + codes + convs + normalized);
        assert_eq!(summary.lines.last().map(|line| (line.map, line.outputs)), Some(((64, 64), 3)));
        let rows = sizes(64, 1.0).discriminator_table().expect("64 pixels");
        let convs = 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64;
        let rest = (200 + 2) * (128 + 256 + 512) + 16 * 512 + 1;
        assert_eq!(Summary::of(&rows, (1, 1)).expect("a pair").parameters(), convs + rest);
    }

    #[test]
    fn sides_that_do_not_double_are_refused() {
        for (side, doublings) in [(64, 4), (32, 3), (28, 2), (56, 3), (8, 1)] {
            assert_eq!(sizes(side, 1.0).doublings().expect("it doubles"), doublings);
        }
        for side in [4, 7, 9, 30, 65, 100] {
            let error = sizes(side, 1.0).doublings().expect_err("it does not").to_string();
            assert!(error.contains(&format!("{side} pixels")) && error.contains("such as 64"), "{error}");
        }
    }

    #[test]
    fn a_pair_is_judged_by_both_halves() -> Result<()> {
        let (sizes, mut params) = (sizes(8, 0.125), Params::new(&Device::Cpu));
        let rng = Rng::new(1);
        let (generator, discriminator) =
            (sizes.generator(&mut params, &rng)?, sizes.discriminator(&mut params, &rng)?);
        let codes = Tensor::randn(0f32, 1.0, (3, 200), &Device::Cpu)?;
        let pictures = generate(&generator, &codes, &Mode::Frozen)?;
        assert_eq!((pictures.dims(), pictures.dtype()), (&[3, 8, 8, 3][..], DType::F32));
        assert!(
            params.iter().all(|p| p.name.starts_with("generator.") || p.name.starts_with("discriminator."))
        );
        // one layer without a code, so that only the picture counts at 8 pixels
        let scores = judge(&discriminator, (&pictures, &codes), &Mode::Frozen)?;
        assert_eq!(scores.dims(), [3]);
        Ok(())
    }
}
