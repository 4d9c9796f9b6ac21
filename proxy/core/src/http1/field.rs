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
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Kind::Te,
            4 if is("host") => Kind::Host,
            4 if is("date") => Kind::EndToEnd,
            6 if is("expect") => Kind::Expect,
            6 if is("cookie") => Kind::EndToEnd,
            7 if is("upgrade") => Kind::Upgrade,
            9 if is("forwarded") || is("x-real-ip") => Kind::Forwarded,
            10 if is("connection") => Kind::Connection,
            10 if is("keep-alive") => Kind::HopByHop,
            10 if is("set-cookie") || is("tracestate") => Kind::EndToEnd,
            11 if is("traceparent") => Kind::TraceParent,
            12 if is("x-request-id") => Kind::RequestId,
            12 if is("content-type") => Kind::EndToEnd,
            13 if is("authorization") || is("cache-control") => Kind::EndToEnd,
            14 if is("content-length") => Kind::ContentLength,
            14 if is("http2-settings") => Kind::HopByHop,
            15 if is("x-forwarded-for") => Kind::ForwardedFor,
            16 if is("proxy-connection") => Kind::HopByHop,
            16 if is("content-encoding") => Kind::EndToEnd,
            17 if is("transfer-encoding") => Kind::TransferEncoding,
            _ if name.len() > 12 && name[..12].eq_ignore_ascii_case(b"x-forwarded-") => Kind::Forwarded,
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
        let (mut all, mut nominated) = (std::mem::take(&mut self.all), std::mem::take(&mut self.nominated));
        all.clear();
        nominated.clear();
        *self = Fields { all, nominated, ..Fields::default() };
    }

    fn note(&mut self, whole: &[u8], field: Field) -> Result<(), BadFields> {
        let value = field.value.bytes(whole);
        match field.kind {
            Kind::Other | Kind::EndToEnd => return Ok(()),
            Kind::Connection => self.connection(whole, value)?,
            Kind::HopByHop => self.hop_by_hop = true,
            Kind::TransferEncoding => self.coding.add(value),
            Kind::ContentLength => self.length.add(value),
            Kind::Host => (self.hosts, self.host) = (self.hosts + 1, field.value),
            Kind::Te => {
                self.hop_by_hop = true;
                self.te_trailers |= tokens(value).any(|token| bare(token).eq_ignore_ascii_case(b"trailers"));
            }
            Kind::Upgrade => {
                self.hop_by_hop = true;
                self.upgrade = Some(field.value);
            }
            Kind::Expect => self.expect = Some(field.value),
            Kind::ForwardedFor => self.forwarded_for = true,
            Kind::Forwarded => self.forwarded = true,
            Kind::TraceParent => self.trace_parent = Some(field.value),
            Kind::RequestId => self.request_id = Some(field.value),
        }
        Ok(())
    }

    fn connection(&mut self, whole: &[u8], value: &[u8]) -> Result<(), BadFields> {
        self.hop_by_hop = true;
        for token in tokens(value).filter(|token| !token.is_empty()) {
            let is = |known: &str| token.eq_ignore_ascii_case(known.as_bytes());
            match token.len() {
                5 if is("close") => self.close = true,
                10 if is("keep-alive") => self.keep_alive = true,
                7 if is("upgrade") => self.connection_upgrade = true,
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
