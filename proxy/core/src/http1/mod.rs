//! HTTP/1 as bytes: what a head says, how long a body is, what is passed on. RFC 9112 and RFC 9110 section 7.6.
//!
//! httparse finds the parts of a head. On top of it, all that two readers could read in two ways is refused: see
//! [`request`] and [`response`]. Heads are spans of the buffer that they stand in; [`rewrite`] copies what is passed on
//! straight from there, [`descend`] writes those of HTTP/2 down. [`chunked`] checks chunks as they pass.

pub mod chunked;
pub mod descend;
pub mod field;
pub mod framing;
pub mod request;
pub mod response;
pub mod rewrite;
pub mod target;

/// The version of a message. Others are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no interim responses, connections end unless both sides say otherwise.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl Version {
    fn of(minor: Option<u8>) -> Version {
        if minor == Some(0) { Version::Http10 } else { Version::Http11 }
    }
}

/// How far a head has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// All of it is there, so many bytes.
    Complete(usize),
    /// More bytes are needed.
    Partial,
}

/// Whether a head of which the first `seen` bytes have been looked at without success may be complete by now. Saves
/// reading it from the beginning for every byte that comes.
pub fn may_be_complete(bytes: &[u8], seen: usize) -> bool {
    let fresh = bytes.get(seen.saturating_sub(3)..).unwrap_or_default();
    fresh.windows(2).any(|w| w == b"\n\n") || fresh.windows(3).any(|w| w == b"\n\r\n")
}
