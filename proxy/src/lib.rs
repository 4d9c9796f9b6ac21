//! The data plane: splits live traffic between revisions.
//!
//! A request's way is on one screen, in `exchange`. The threads of the data plane (`listen`) and the config and admin
//! threads (`control`, `admin`) meet in a `Lane` for each Rollout, whose table is swapped as a whole, and nowhere
//! else. This crate decides nothing about releases.
//!
//! What hyper can't do, and so neither can this proxy: interim answers other than 100 and 101 (103 Early Hints) are
//! not passed on; requests that can't be parsed are answered by hyper itself, without `x-penstock-culprit`, and
//! counted without a revision; trailers reach an HTTP/1.1 client only if the answer announces them in `Trailer`.

mod admin;
mod answer;
mod board;
mod body;
mod config;
mod control;
mod epoch;
mod exchange;
mod expect;
mod exposition;
mod forward;
mod grpc;
mod headers;
mod lane;
mod listen;
mod pool;
mod ports;
mod proxy;
mod record;
mod refusal;
mod registry;
mod report;
mod running;
mod runtime;
mod series;
mod upgrade;
mod worker;

pub use config::route::duration;
pub use proxy::{Checked, ClusterError, Error, Objects, Settings, check, run};
