//! What the proxy promises on the wire: real sockets around the real binary.
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(missing_docs, reason = "the names of tests say what they promise")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that can't go on fails"
)]

mod answers;
mod ascents;
mod chunks;
mod cut;
mod drain;
mod early;
mod exchanges;
mod faults;
mod floods;
mod framing;
mod goodbyes;
mod handover;
mod harness;
mod heads;
mod hops;
mod http;
mod http2;
mod interim;
mod kube;
mod lengths;
mod overload;
mod pressure;
mod reload;
mod replays;
mod severed;
mod split;
mod streams;
mod targets;
mod trail;
mod trailers;
mod translation;
mod tunnels;
