//! The shell around the rollout machine: asks, looks, saves, acts, tells.

pub mod ask;
pub mod local;
pub mod ports;
pub mod turn;
