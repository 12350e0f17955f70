//! What a network can be trained on before its features are probed: colorization, the pretext task, and labels, the
//! supervised ceiling that it is compared with. Each implements [`crate::train::task::Task`].

pub mod colorization;
pub mod color_prior;
pub mod supervised;
