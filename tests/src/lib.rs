//! The harness of end-to-end tests: real servers on loopback, a client that counts every request, and waiting
//! for conditions.
//!
//! Everything started here ends with its value: servers by their own process group, backends and clients with
//! the runtime of their test. The log of a server is printed when its test fails.

pub mod backend;
pub mod browser;
pub mod client;
pub mod cluster;
pub mod config;
pub mod folder;
pub mod installed;
pub mod local;
pub mod manifest;
pub mod place;
pub mod port;
pub mod processes;
pub mod prometheus;
pub mod proxy;
pub mod receiver;
pub mod server;
pub mod traffic;
pub mod wait;
pub mod world;

pub use backend::Backend;
pub use browser::Browser;
pub use client::{Client, Tally};
pub use config::Config;
pub use folder::Folder;
pub use local::{Local, Release};
pub use manifest::Manifest;
pub use prometheus::Prometheus;
pub use proxy::Proxy;
pub use receiver::Receiver;
pub use traffic::Traffic;
pub use wait::{PATIENCE, wait_until};
pub use world::World;
