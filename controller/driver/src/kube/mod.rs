//! Penstock on Kubernetes: the same turn, with an API server for its world.
//!
//! `run` is who hears of what, `tend` the life of one Rollout, `world` what its turns ask, look at, save and do
//! (`numbers`, `sources`, `acts`), `furnish` what stands around it whatever is decided. `watches` feed `index` and
//! `rollouts`; `wakers` say who is to be tended. `leader` is the lease.

mod acts;
mod call;
mod cluster;
mod connect;
mod furnish;
mod give_back;
mod index;
mod leader;
mod metrics;
mod numbers;
pub mod orders;
mod people;
pub mod replicas;
mod rollouts;
mod run;
mod serve;
mod sources;
mod story;
mod strip;
mod tend;
mod trouble;
pub mod view;
mod wakers;
mod watches;
mod world;

pub use run::{Options, RunError, run};
