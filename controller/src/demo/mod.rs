//! What `penstock demo` shows itself with: a service to release, and the traffic that it has.

#[cfg_attr(not(test), expect(dead_code, reason = "used as soon as the demo is put together"))]
pub(crate) mod account;
#[cfg_attr(not(test), expect(dead_code, reason = "used as soon as the demo is put together"))]
pub(crate) mod load;
pub(crate) mod service;
