//! Padding and fills.
