//! HTTP/1 from client to endpoint: one task for a client's connection, no copy of a head but the one that is sent.
//!
//! `connection` reads heads. `call` is one request, `attempt` its way to an endpoint, `coming` the head of the response,
//! `watch` what ends the wait for it, `relay` the way of both bodies, `tunnel` what follows a change of protocol,
//! `goodbye` the end. `bridge` and `across` lead to endpoints of HTTP/2; `descent`, `pour` and `descending` lead clients of
//! HTTP/2 to endpoints of HTTP/1. Below: `pipe` is one direction, `side` one socket, `buffer` the memory, `upstream` the
//! connections to endpoints, `alarm` the deadlines, `porch` who hears that a listener stops. What bytes mean is decided in
//! `penstock_proxy_core::http1`.

mod across;
pub(crate) mod alarm;
mod attempt;
mod bridge;
pub(crate) mod buffer;
mod call;
pub(crate) mod coming;
pub(crate) mod connection;
pub(crate) mod descending;
pub(crate) mod descent;
pub(crate) mod goodbye;
mod pipe;
pub(crate) mod porch;
pub(crate) mod pour;
mod relay;
pub(crate) mod side;
mod tunnel;
pub(crate) mod upstream;
mod watch;
