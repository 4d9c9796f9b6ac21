//! What the proxy promises on the wire: real sockets around the real binary.
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(missing_docs, reason = "the names of tests say what they promise")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that can't go on fails"
)]

mod cut;
mod drain;
mod faults;
mod harness;
mod http;
mod http2;
mod kube;
mod reload;
mod split;
mod trail;
