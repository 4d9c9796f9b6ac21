//! Local mode: a folder in place of an API server.
//!
//! The folder holds the user's Rollout manifests; what is ours lies in its `.penstock`. Each module here touches
//! one part of the world and can be used by itself; none of them decides where traffic goes.

pub mod endpoints;
pub mod files;
pub mod home;
pub mod instance;
mod keys;
pub mod listen;
pub mod logs;
pub mod manifests;
mod numbers;
pub mod orders;
pub mod pods;
pub mod process;
pub mod proxy;
pub mod revisions;
mod routes;
pub mod run;
mod saving;
pub mod shelf;
pub mod stop;
pub mod store;
mod tend;
pub mod view;
pub mod watched;
pub mod world;

pub use home::{Home, Key};
