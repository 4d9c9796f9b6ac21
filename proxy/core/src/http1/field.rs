//! Header fields as spans of the buffer that they were read into.

use crate::http1::framing::{Coding, Length};

/// Most fields of a head.
pub const MAX_FIELDS: usize = 100;
/// Most fields that `Connection` may name. More are not believed: the head is refused.
const MAX_NOMINATED: usize = 32;

/// A part of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From `start` up to `end`, both below 4 GiB.
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: u32::try_from(start).unwrap_or(0), end: u32::try_from(end).unwrap_or(0) }
    }

    /// Where `part` stands in `whole`. It must be a part of it.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Span::new(start, start.wrapping_add(part.len()))
    }

    /// The bytes that it stands for in the buffer that it was made from.
    pub fn bytes(self, whole: &[u8]) -> &[u8] {
        whole.get(self.start()..self.end()).unwrap_or_default()
    }

    /// The same as text; empty if it is none.
    pub fn text(self, whole: &[u8]) -> &str {
        std::str::from_utf8(self.bytes(whole)).unwrap_or_default()
    }

    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn end(self) -> usize {
        self.end as usize
    }
}

/// What a field means to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing; it can be nominated away.
    Other,
    /// It is for the other end, whatever `Connection` says.
    EndToEnd,
    /// `Connection`.
    Connection,
    /// Between two neighbours, and of no use to us: `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`.
    HopByHop,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Content-Length`.
    ContentLength,
    /// `Host`.
    Host,
    /// `TE`.
    Te,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `Forwarded`, `X-Real-IP` and the other `X-Forwarded-…`: what proxies before this one say of the client.
    Forwarded,
    /// `traceparent` (W3C Trace Context).
    TraceParent,
    /// `X-Request-ID`.
    RequestId,
}

impl Kind {
    /// What the field with this name means.
    pub fn of(name: &[u8]) -> Kind {
        let Some(first) = name.first() else { return Kind::Other };
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match (name.len(), first | 0x20) {
            (2, b't') if is(b"te") => Kind::Te,
            (4, b'h') if is(b"host") => Kind::Host,
            (4, b'd') if is(b"date") => Kind::EndToEnd,
            (6, b'e') if is(b"expect") => Kind::Expect,
            (6, b'c') if is(b"cookie") => Kind::EndToEnd,
            (7, b'u') if is(b"upgrade") => Kind::Upgrade,
            (9, b'f') if is(b"forwarded") => Kind::Forwarded,
            (9, b'x') if is(b"x-real-ip") => Kind::Forwarded,
            (10, b'c') if is(b"connection") => Kind::Connection,
            (10, b'k') if is(b"keep-alive") => Kind::HopByHop,
            (10, b's') if is(b"set-cookie") => Kind::EndToEnd,
            (10, b't') if is(b"tracestate") => Kind::EndToEnd,
            (11, b't') if is(b"traceparent") => Kind::TraceParent,
            (12, b'x') if is(b"x-request-id") => Kind::RequestId,
            (12, b'c') if is(b"content-type") => Kind::EndToEnd,
            (13, b'a') if is(b"authorization") => Kind::EndToEnd,
            (13, b'c') if is(b"cache-control") => Kind::EndToEnd,
            (14, b'c') if is(b"content-length") => Kind::ContentLength,
            (14, b'h') if is(b"http2-settings") => Kind::HopByHop,
            (15, b'x') if is(b"x-forwarded-for") => Kind::ForwardedFor,
            (16, b'p') if is(b"proxy-connection") => Kind::HopByHop,
            (16, b'c') if is(b"content-encoding") => Kind::EndToEnd,
            (17, b't') if is(b"transfer-encoding") => Kind::TransferEncoding,
            (13.., b'x') if name[..12].eq_ignore_ascii_case(b"x-forwarded-") => Kind::Forwarded,
            _ => Kind::Other,
        }
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: Span,
    /// Its value, without white space around it.
    pub value: Span,
    /// What it means.
    pub kind: Kind,
    /// Where its line ends, line break included.
    pub(crate) end: u32,
}

/// The fields of a head, and what they say together.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    all: Vec<Field>,
    /// Names that `Connection` nominates.
    nominated: Vec<Span>,
    pub(crate) facts: Facts,
}

/// What the fields of a head say together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) length: Length,
    pub(crate) coding: Coding,
    pub(crate) hosts: u32,
    pub(crate) host: Span,
    /// `Connection: close`.
    pub(crate) close: bool,
    /// `Connection: keep-alive`.
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade`.
    pub(crate) connection_upgrade: bool,
    pub(crate) upgrade: Option<Span>,
    pub(crate) te_trailers: bool,
    pub(crate) expect: Option<Span>,
    pub(crate) forwarded_for: bool,
    pub(crate) forwarded: bool,
    pub(crate) trace_parent: Option<Span>,
    pub(crate) request_id: Option<Span>,
    /// Something of this head stays here.
    pub(crate) hop_by_hop: bool,
}

/// Field lines that are not as they should be, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFields(pub &'static str);

impl Fields {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.all.iter()
    }

    /// All values of the fields with this name, in order.
    pub fn values<'a>(&'a self, whole: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |field: &&Field| field.name.bytes(whole).eq_ignore_ascii_case(name.as_bytes());
        self.all.iter().filter(named).map(|field| field.value.bytes(whole))
    }

    /// Whether `Connection` nominates this field, and may.
    pub(crate) fn is_nominated(&self, whole: &[u8], field: &Field) -> bool {
        let name = field.name.bytes(whole);
        field.kind == Kind::Other
            && self.nominated.iter().any(|nominated| nominated.bytes(whole).eq_ignore_ascii_case(name))
    }

    /// Takes over what httparse has found between the start line, which ends at `start`, and the end of the head.
    /// Each line must follow the one before it and end with CRLF (RFC 9112 section 2.2).
    pub(crate) fn read(
        &mut self,
        whole: &[u8],
        parsed: &[httparse::Header<'_>],
        end: usize,
    ) -> Result<(), BadFields> {
        self.clear();
        let last = end.checked_sub(2).ok_or(BadFields("no end"))?;
        ends_with_crlf(whole, end)?;
        let mut starts = parsed.iter().skip(1).map(|next| Span::of(next.name.as_bytes(), whole).start());
        for header in parsed {
            let line_end = starts.next().unwrap_or(last);
            ends_with_crlf(whole, line_end)?;
            let name = Span::of(header.name.as_bytes(), whole);
            let value = match header.value {
                [] => Span::new(name.end(), name.end()),
                value => Span::of(value, whole),
            };
            let kind = Kind::of(header.name.as_bytes());
            let field = Field { name, value, kind, end: u32::try_from(line_end).unwrap_or(0) };
            self.all.push(field);
            self.note(whole, field)?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.all.clear();
        self.nominated.clear();
        self.facts = Facts::default();
    }

    fn note(&mut self, whole: &[u8], field: Field) -> Result<(), BadFields> {
        let value = field.value.bytes(whole);
        match field.kind {
            Kind::Other | Kind::EndToEnd => return Ok(()),
            Kind::Connection => self.connection(whole, value)?,
            Kind::HopByHop => self.facts.hop_by_hop = true,
            Kind::TransferEncoding => self.facts.coding.add(value),
            Kind::ContentLength => self.facts.length.add(value),
            Kind::Host => (self.facts.hosts, self.facts.host) = (self.facts.hosts + 1, field.value),
            Kind::Te => {
                self.facts.hop_by_hop = true;
                self.facts.te_trailers |=
                    tokens(value).any(|token| bare(token).eq_ignore_ascii_case(b"trailers"));
            }
            Kind::Upgrade => {
                self.facts.hop_by_hop = true;
                self.facts.upgrade = Some(field.value);
            }
            Kind::Expect => self.facts.expect = Some(field.value),
            Kind::ForwardedFor => self.facts.forwarded_for = true,
            Kind::Forwarded => self.facts.forwarded = true,
            Kind::TraceParent => self.facts.trace_parent = Some(field.value),
            Kind::RequestId => self.facts.request_id = Some(field.value),
        }
        Ok(())
    }

    fn connection(&mut self, whole: &[u8], value: &[u8]) -> Result<(), BadFields> {
        self.facts.hop_by_hop = true;
        for token in tokens(value).filter(|token| !token.is_empty()) {
            let is = |known: &str| token.eq_ignore_ascii_case(known.as_bytes());
            match token.len() {
                5 if is("close") => self.facts.close = true,
                10 if is("keep-alive") => self.facts.keep_alive = true,
                7 if is("upgrade") => self.facts.connection_upgrade = true,
                _ if self.nominated.len() == MAX_NOMINATED => {
                    return Err(BadFields("too many names in Connection"));
                }
                _ => self.nominated.push(Span::of(token, whole)),
            }
        }
        Ok(())
    }
}

fn ends_with_crlf(whole: &[u8], end: usize) -> Result<(), BadFields> {
    let before = whole.get(end.wrapping_sub(2)..end);
    if before == Some(b"\r\n") { Ok(()) } else { Err(BadFields("a line that does not end with CRLF")) }
}

/// The members of a list, without white space around them.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// A member of a list without its parameters.
fn bare(token: &[u8]) -> &[u8] {
    token.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}
