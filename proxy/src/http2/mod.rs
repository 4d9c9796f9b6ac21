//! HTTP/2 on either side: a task for a connection, and for a client's one for each of its streams as long as it lasts.
//!
//! What the bytes mean is decided in the core; `link` moves them. `connection` accepts streams, `crew` serves them, `call` is one request and `caller` who sent it. `ascent` leads it to an endpoint of
//! HTTP/2; to one of HTTP/1 leads `http1::descent`. `incoming` is a body that comes by HTTP/2, `outlet` one that goes,
//! `pool` the connections to endpoints.

pub(crate) mod ascent;
pub(crate) mod call;
pub(crate) mod caller;
pub(crate) mod connection;
pub(crate) mod crew;
pub(crate) mod incoming;
pub(crate) mod link;
pub(crate) mod outlet;
pub(crate) mod pool;
