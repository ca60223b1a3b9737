//! TopK and cumulative sums.
