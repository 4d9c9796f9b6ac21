//! The shell around the rollout machine: asks, looks, saves, acts, tells.

pub mod ask;
