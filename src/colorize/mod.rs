//! Color photographs with a trained colorizer: the network sees a picture at a size that suits it, and its colors,
//! enlarged, are put over the lightness of the whole picture (Zhang, Isola and Efros 2016, section 2.3 and the released
//! deploy network).
//!
//! [`picture::color`] is the whole way for one picture in memory, which evaluations use too. Around it: [`inputs`] finds the
//! pictures that a command names, [`plan`] decides what is written where before anything is, and [`batch`] works through the
//! plan file by file. Does not: train, score, or read weights other than through [`crate::pretext::colorizer`].

pub mod field; // ab between the labels and the pixels
pub mod picture; // one picture in memory

pub mod distribution; // probability maps on the ab plane
pub mod montage; // gray | colorized | truth

pub mod encoding; // PNG, JPEG, WebP
pub mod inputs;
pub mod plan;

pub mod batch; // file by file
