//! The proxy's decisions, in the order of a request: [`table`], [`route`], [`split`] (or [`cohort`] for sticky
//! users), [`limit`], [`balance`]. They look at a request through [`head`]. [`http1`] is what HTTP/1
//! is made of, [`http2`] what HTTP/2 is.
//!
//! This crate never does I/O, has no clock and no randomness of its own: both are arguments. All that requests
//! share are atomics; nothing here waits.

pub mod balance;
pub mod cohort;
pub mod head;
pub mod http1;
pub mod http2;
pub mod limit;
pub mod quick;
pub mod route;
pub mod split;
pub mod table;
