//! Recurrent networks: LSTM, GRU, RNN.

use super::OpDef;

/// The rows of the registry.
pub const FAMILY: &[OpDef] = &[];
