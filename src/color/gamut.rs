//! What becomes of Lab colors that sRGB cannot show.

use super::lab::lab_to_srgb8;

/// Halvings of the chroma's interval: its bound is found to a thousandth.
const HALVINGS: usize = 10;

/// How a color outside of the gamut is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gamut {
    /// By the most chroma that its lightness and hue have in sRGB.
    #[default]
    Chroma,
    /// By clipping each channel, as the released code does: dark colors become lighter, bright ones darker.
    Clip,
}

impl Gamut {
    /// A pixel as bytes, and whether it was outside, as in [`lab_to_srgb8`].
    pub fn srgb8(self, lab: [f32; 3]) -> ([u8; 3], bool) {
        let (clipped, outside) = lab_to_srgb8(lab);
        if !outside || self == Self::Clip || lab.iter().any(|value| !value.is_finite()) {
            return (clipped, outside);
        }
        let [lightness, a, b] = lab;
        let with = |chroma: f32| lab_to_srgb8([lightness, chroma * a, chroma * b]);
        let (mut inside, mut beyond) = (0.0, 1.0);
        for _ in 0..HALVINGS {
            let middle = (inside + beyond) / 2.0;
            match with(middle).1 {
                true => beyond = middle,
                false => inside = middle,
            }
        }
        (with(inside).0, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::lab::srgb8_to_lab;

    #[test]
    fn lightness_and_hue_stay_and_chroma_is_the_most_there_is() {
        for lab in [[3.0, 20.0, -30.0], [50.0, 120.0, 0.0], [97.0, -40.0, 60.0], [1.0, -5.0, 9.0f32]] {
            let (kept, outside) = Gamut::Chroma.srgb8(lab);
            let [l, a, b] = srgb8_to_lab(kept);
            // Bytes are coarse in the dark.
            assert!(outside && (l - lab[0]).abs() < 0.35, "{lab:?}: lightness {l}");
            assert!(a * lab[1] + b * lab[2] > 0.0, "{lab:?}: hue of {a}, {b}");
            assert!(kept.iter().any(|byte| [0, 255].contains(byte)), "{lab:?}: {kept:?}");
        }
    }

    /// Shadows, where sRGB has few colors.
    #[test]
    fn shadows_stay_dark() {
        let axis = || (-2..=2).map(|i| 20.0 * i as f32);
        let colors =
            (1..10).flat_map(|l| axis().flat_map(move |a| axis().map(move |b| [0.5 * l as f32, a, b])));
        let outside: Vec<[f32; 3]> = colors.filter(|lab| lab_to_srgb8(*lab).1).collect();
        let mean_rise = |gamut: Gamut| {
            let rise = |lab: &[f32; 3]| srgb8_to_lab(gamut.srgb8(*lab).0)[0] - lab[0];
            outside.iter().map(rise).sum::<f32>() / outside.len() as f32
        };
        assert!(outside.len() > 200);
        assert!(mean_rise(Gamut::Chroma).abs() < 0.1, "{}", mean_rise(Gamut::Chroma));
        assert!(mean_rise(Gamut::Clip) > 2.0, "{}", mean_rise(Gamut::Clip));
    }

    #[test]
    fn what_can_be_shown_is_not_changed() {
        for rgb in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [12, 200, 90], [0, 0, 255]] {
            for gamut in [Gamut::Chroma, Gamut::Clip] {
                assert_eq!(gamut.srgb8(srgb8_to_lab(rgb)), (rgb, false));
            }
        }
        let (_, outside) = Gamut::Chroma.srgb8([50.0, f32::NAN, 0.0]);
        assert!(outside);
    }
}
