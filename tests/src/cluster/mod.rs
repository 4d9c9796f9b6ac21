//! The harness of tests on a real Kubernetes: a namespace for each scenario, Rollouts in it, a client in a pod that
//! counts every request, and what the API server told meanwhile.
//!
//! Works inside a cluster of `tests/cluster/with-cluster`, and with any other that `KUBECONFIG` names. All that a person
//! would do is done with `kubectl`.

pub mod caller;
pub mod container;
mod evidence;
pub mod figures;
pub mod journal;
pub mod kubectl;
pub mod node;
pub mod place;
pub mod pods;
pub mod prometheus;
pub mod realm;
pub mod release;
pub mod runner;
pub mod setup;
pub mod shop;
pub mod sound;
pub mod splits;
pub mod stand_in;
pub mod windows;

pub use caller::Caller;
pub use figures::Figures;
pub use journal::{Journal, Seen};
pub use kubectl::kubectl;
pub use node::Node;
pub use place::{Images, Place};
pub use release::Release;
pub use runner::Scenario;
pub use shop::Shop;
pub use stand_in::StandIn;
