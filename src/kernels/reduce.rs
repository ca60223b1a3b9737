//! Row reductions, softmax and normalisations.
