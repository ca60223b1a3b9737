//! Recurrent networks.
