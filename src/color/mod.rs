//! Colour: sRGB ↔ Lab, the quantised ab bins, soft encoding and decoding, the colour prior. No learning words.

pub mod bins;
pub mod encode;
pub mod lab;
pub mod prior;
