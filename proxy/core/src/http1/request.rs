//! The head of a request.

use std::mem::MaybeUninit;

use crate::head::Head;
use crate::http1::field::{Fields, MAX_FIELDS, Span};
use crate::http1::framing::{self, BadFraming, Framing};
use crate::http1::target::{self, Target};
use crate::http1::{Parsed, Version};

/// Longest target in bytes.
pub const MAX_TARGET: usize = 32 << 10;
/// Largest head in bytes.
pub const MAX_HEAD: usize = 64 << 10;
/// Longest method in bytes.
const MAX_METHOD: usize = 64;
/// Most empty lines before a request (RFC 9112 section 2.2 asks to bear at least one).
const MAX_EMPTY_LINES: usize = 4;

/// The head of a request, as spans of the bytes that it was read from. Meant to be used again and again.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Its method.
    pub method: Span,
    /// Its target, as it stands.
    pub line_target: Span,
    /// Its target, taken apart.
    pub target: Target,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub fields: Fields,
    /// Where its fields begin.
    pub(crate) first_field: u32,
}

/// A head that is not served, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// It is not as the RFCs have it: 400.
    Malformed(&'static str),
    /// Its target is longer than [`MAX_TARGET`]: 414.
    LongTarget,
    /// It is larger than [`MAX_HEAD`]: 431.
    Large,
    /// It has more fields than [`MAX_FIELDS`]: 431.
    ManyFields,
    /// It has a transfer coding that is not known: 501.
    UnknownCoding,
    /// Its version is not served: 505.
    Version,
}

impl BadRequest {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            BadRequest::Malformed(_) => 400,
            BadRequest::LongTarget => 414,
            BadRequest::Large | BadRequest::ManyFields => 431,
            BadRequest::UnknownCoding => 501,
            BadRequest::Version => 505,
        }
    }

    /// What the request has that it should not: ends the sentence "the request has …".
    pub fn what(self) -> &'static str {
        match self {
            BadRequest::Malformed(what) => what,
            BadRequest::LongTarget => "a target that is too long",
            BadRequest::Large => "a head that is too large",
            BadRequest::ManyFields => "too many headers",
            BadRequest::UnknownCoding => "a transfer coding that is not known",
            BadRequest::Version => "a version that is not served",
        }
    }
}

impl RequestHead {
    /// Reads a head from the first of these bytes.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Parsed, BadRequest> {
        let begin = empty_lines(bytes)?;
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let rest = bytes.get(begin..).unwrap_or_default();
        let status = httparse::ParserConfig::default()
            .parse_request_with_uninit_headers(&mut parsed, rest, &mut fields)
            .map_err(|error| refused(error, rest))?;
        let httparse::Status::Complete(length) = status else { return partial(rest) };
        let end = begin + length;
        let method = parsed.method.unwrap_or_default().as_bytes();
        let line_target = parsed.path.unwrap_or_default().as_bytes();
        if line_target.len() > MAX_TARGET {
            return Err(BadRequest::LongTarget);
        }
        if length > MAX_HEAD {
            return Err(BadRequest::Large);
        }
        if method.len() > MAX_METHOD {
            return Err(BadRequest::Malformed("a method that is too long"));
        }
        self.version = Version::of(parsed.version);
        self.method = Span::of(method, bytes);
        self.line_target = Span::of(line_target, bytes);
        self.first_field = u32::try_from(first_field(&parsed, bytes, end)).unwrap_or(0);
        self.fields.read(bytes, parsed.headers, end).map_err(|bad| BadRequest::Malformed(bad.0))?;
        self.check_line(bytes, begin)?;
        let target = target::read(bytes, self.line_target, self.method.bytes(bytes));
        self.target = target.map_err(|bad| BadRequest::Malformed(bad.0))?;
        self.check_host(bytes)?;
        self.framing()?;
        Ok(Parsed::Complete(end))
    }

    /// How long its body is.
    pub fn framing(&self) -> Result<Framing, BadRequest> {
        let chunks = self.version == Version::Http11;
        framing::of_request(self.fields.facts.length, self.fields.facts.coding, chunks).map_err(|bad| {
            match bad {
                BadFraming::Malformed(what) => BadRequest::Malformed(what),
                BadFraming::Unknown => BadRequest::UnknownCoding,
            }
        })
    }

    /// Whether the client means to send another request on the same connection.
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !self.fields.facts.close,
            Version::Http10 => self.fields.facts.keep_alive && !self.fields.facts.close,
        }
    }

    /// The protocol that it asks to change to. HTTP/2 is not one of them (RFC 9113 section 3.1).
    pub fn upgrade(&self, bytes: &[u8]) -> Option<Span> {
        let upgrade = self.fields.facts.upgrade.filter(|_| self.fields.facts.connection_upgrade)?;
        let mut protocols = super::field::tokens(upgrade.bytes(bytes));
        let http2 = protocols.any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
        (self.version == Version::Http11 && !http2 && !upgrade.bytes(bytes).is_empty()).then_some(upgrade)
    }

    /// Whether the client waits for 100 before it sends the body. HTTP/1.0 does not know that.
    pub fn expects_continue(&self, bytes: &[u8]) -> bool {
        let expects = |value: Span| value.bytes(bytes).eq_ignore_ascii_case(b"100-continue");
        self.version == Version::Http11 && self.fields.facts.expect.is_some_and(expects)
    }

    /// Whether its sender takes trailers.
    pub fn takes_trailers(&self) -> bool {
        self.fields.facts.te_trailers
    }

    /// Who is asked: the target's authority before the Host header (RFC 9112 section 3.2.2).
    pub fn host<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let host = (self.fields.facts.hosts > 0).then_some(self.fields.facts.host);
        self.target.authority.or(host).map(|span| span.bytes(bytes))
    }

    /// The same with its bytes, as a [`Head`].
    pub fn with<'a>(&'a self, bytes: &'a [u8]) -> Told<'a> {
        Told { head: self, bytes }
    }

    /// The request line ends with CRLF, and has nothing but single spaces in it.
    fn check_line(&self, bytes: &[u8], begin: usize) -> Result<(), BadRequest> {
        let version_end = self.line_target.end() + b" HTTP/1.1".len();
        let ends = bytes.get(version_end..version_end + 2) == Some(b"\r\n");
        let spaces = self.method.start() == begin && self.method.end() + 1 == self.line_target.start();
        let whole = version_end + 2 == self.first_field as usize;
        if ends && spaces && whole { Ok(()) } else { Err(BadRequest::Malformed("an invalid request line")) }
    }

    fn check_host(&self, bytes: &[u8]) -> Result<(), BadRequest> {
        let what = match (self.fields.facts.hosts, self.version) {
            (0, Version::Http11) => "no Host header",
            (0, Version::Http10) => return Ok(()),
            (1, _) if target::is_host(self.fields.facts.host.bytes(bytes)) => return Ok(()),
            (1, _) => "an invalid Host header",
            (_, _) => "more than one Host header",
        };
        Err(BadRequest::Malformed(what))
    }
}

/// A head with its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl Head for Told<'_> {
    fn method(&self) -> &str {
        self.head.method.text(self.bytes)
    }

    fn path(&self) -> &str {
        let path = self.head.target.path.text(self.bytes);
        if path.is_empty() { "/" } else { path }
    }

    fn query(&self) -> Option<&str> {
        self.head.target.query.map(|query| query.text(self.bytes))
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields.values(self.bytes, name)
    }
}

/// Counts the bytes of empty lines before a request.
fn empty_lines(bytes: &[u8]) -> Result<usize, BadRequest> {
    let lines = bytes.chunks(2).take_while(|line| *line == b"\r\n").count();
    if lines > MAX_EMPTY_LINES {
        Err(BadRequest::Malformed("too many empty lines before it"))
    } else {
        Ok(2 * lines)
    }
}

fn first_field(parsed: &httparse::Request<'_, '_>, bytes: &[u8], end: usize) -> usize {
    let first = parsed.headers.first();
    first.map_or(end.saturating_sub(2), |first| Span::of(first.name.as_bytes(), bytes).start())
}

/// A head of which this is the beginning: is it too large already?
fn partial(bytes: &[u8]) -> Result<Parsed, BadRequest> {
    let line = bytes.iter().take(MAX_TARGET + MAX_METHOD + 16).any(|b| *b == b'\n');
    if !line && bytes.len() > MAX_TARGET + MAX_METHOD {
        return Err(BadRequest::LongTarget);
    }
    if bytes.len() >= MAX_HEAD { Err(BadRequest::Large) } else { Ok(Parsed::Partial) }
}

fn refused(error: httparse::Error, bytes: &[u8]) -> BadRequest {
    match error {
        httparse::Error::TooManyHeaders => BadRequest::ManyFields,
        httparse::Error::Version if names_other_version(bytes) => BadRequest::Version,
        httparse::Error::Version => BadRequest::Malformed("an invalid version"),
        httparse::Error::HeaderName => BadRequest::Malformed("an invalid header name"),
        httparse::Error::HeaderValue => BadRequest::Malformed("an invalid header value"),
        httparse::Error::NewLine => BadRequest::Malformed("an invalid line break"),
        httparse::Error::Token | httparse::Error::Status => BadRequest::Malformed("an invalid request line"),
    }
}

/// Whether the request line ends with a version of HTTP, one that is not served.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').take(4).collect();
    let [_, _, version] = words.as_slice() else { return false };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Whether a request with this method may be sent twice (RFC 9110 section 9.2.2).
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

#[cfg(test)]
mod tests;
