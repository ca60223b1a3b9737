//! Quantisation and integer products.
