//! Layers that own parameters: convolution, batch normalisation, linear.
