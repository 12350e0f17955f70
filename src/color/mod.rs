//! Color: sRGB ↔ Lab, the quantized ab bins, soft encoding and decoding, the color prior. Independent of training.

pub mod channels; // numbers of 8-bit values
pub mod jitter; // random changes, for augmentation
pub mod lab;

pub mod gamut; // colors that sRGB lacks
pub mod gray; // gray values of color pictures
mod srgb; // what colorizers of other color spaces paint

pub mod hue_chroma;
pub mod yuv;

mod uploaded; // cached device copies of tables

pub mod bins;
mod cells; // spatial index of the bins

pub mod nearest;

pub mod decode;
pub mod encode;

pub mod prior;
pub mod prior_file;
