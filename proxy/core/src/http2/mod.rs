//! HTTP/2 (RFC 9113) without sockets: what bytes mean, what is to be sent, and how much each side may send.
//!
//! [`session`] is a connection: bytes go in, bytes come out, streams are asked for what they have. `frame` is how both
//! are cut, `hpack` with `huffman` how fields are written, [`request`] and `head` what they mean, `outgoing` what waits
//! to be written. Everything that a peer can make grow has a bound, see [`Limits`].

mod frame;
mod head;
mod hpack;
mod huffman;
mod outgoing;
pub mod request;
pub mod session;

use std::fmt;
use std::io;

/// Why a stream or a connection ended (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

macro_rules! reasons {
    ($($name:ident = $code:literal,)*) => {
        #[allow(missing_docs)]
        impl Reason {
            $(pub const $name: Reason = Reason($code);)*
        }

        impl fmt::Debug for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($code => f.write_str(stringify!($name)),)*
                    other => write!(f, "{other:#x}"),
                }
            }
        }
    };
}

reasons! {
    NO_ERROR = 0x0,
    PROTOCOL_ERROR = 0x1,
    INTERNAL_ERROR = 0x2,
    FLOW_CONTROL_ERROR = 0x3,
    SETTINGS_TIMEOUT = 0x4,
    STREAM_CLOSED = 0x5,
    FRAME_SIZE_ERROR = 0x6,
    REFUSED_STREAM = 0x7,
    CANCEL = 0x8,
    COMPRESSION_ERROR = 0x9,
    CONNECT_ERROR = 0xa,
    ENHANCE_YOUR_CALM = 0xb,
    INADEQUATE_SECURITY = 0xc,
    HTTP_1_1_REQUIRED = 0xd,
}

/// How a stream ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer ended it, or the whole connection.
    ByPeer(Reason),
    /// The peer says that it has not looked at it, and never will.
    Untaken(Reason),
    /// It was ended here: the peer broke the rules, or nobody wanted it any more.
    Here(Reason),
    /// The connection broke off.
    Lost(io::ErrorKind),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::ByPeer(reason) => write!(f, "the peer ended the stream: {reason:?}"),
            Broken::Untaken(reason) => write!(f, "the peer refused the stream: {reason:?}"),
            Broken::Here(reason) => write!(f, "the stream was ended: {reason:?}"),
            Broken::Lost(kind) => write!(f, "connection broken: {kind}"),
        }
    }
}

impl std::error::Error for Broken {}

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most that the fields of a head count, in bytes (RFC 9113 section 6.5.2).
    pub head: usize,
    /// Most streams that the peer may have open.
    pub streams: u32,
    /// How much of one body the peer may send before it is taken, in bytes.
    pub stream_window: u32,
    /// How much of all of them.
    pub connection_window: u32,
}

/// Most bytes that wait to be written before streams are asked to wait, and nothing more is read.
pub const MAX_OUTGOING: usize = 64 << 10;
/// Largest frame that is taken: the least that a peer must take.
pub const MAX_FRAME: usize = 16 << 10;
