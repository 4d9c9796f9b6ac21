//! The data plane: splits live traffic between revisions.
//!
//! A request's way is on one screen, in `exchange`. The threads of the data plane (`listen`) and the config and admin
//! threads (`control`, `admin`) meet in a `Lane` for each Rollout, whose table is swapped as a whole, and nowhere
//! else. This crate decides nothing about releases.
//!
//! HTTP/1 is served by `http1`, which is our own; clients and endpoints of HTTP/2 by `http2`.

mod access;
mod admin;
mod blame;
mod board;
mod config;
mod control;
mod deliver;
mod epoch;
mod exchange;
mod exposition;
mod grpc;
mod handover;
mod headers;
mod heir;
mod http1;
mod http2;
mod lane;
mod listen;
mod ports;
mod proxy;
mod reach;
mod record;
mod refusal;
mod registry;
mod report;
mod running;
mod runtime;
mod series;
mod trace;
mod trust;
mod worker;

pub use access::AccessLog;
pub use config::route::duration;
pub use proxy::{Checked, ClusterError, Error, Objects, Settings, check, run};
pub use trace::Traces;
pub use trust::Trust;
