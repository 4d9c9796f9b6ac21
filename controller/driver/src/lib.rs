//! The shell around the rollout machine: asks, looks, saves, acts, tells.

pub mod ask;
mod asking;
pub mod clock;
pub mod gates;
pub mod history;
pub mod kube;
pub mod local;
pub mod outside;
pub mod ports;
pub mod post;
mod served;
pub mod turn;
pub mod view;
