//! Fields put together: the head of a response, or trailers (RFC 9113 section 8).

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::hpack::{Entry, Found, Name};
use crate::http1::field::Kind;

/// A head, or trailers, that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the fields of any block must keep to.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) malformed: bool,
    /// How long the body is, if that is said.
    pub(super) length: Option<u64>,
    /// What the fields count, and may count.
    size: usize,
    limit: usize,
}

impl Rules {
    pub(super) fn new(limit: usize) -> Rules {
        Rules { malformed: false, length: None, size: 0, limit }
    }

    /// Whether there was more than is taken.
    pub(super) fn is_too_large(&self) -> bool {
        self.size > self.limit
    }

    /// Counts a field. Whether there is room for it.
    pub(super) fn count(&mut self, found: &Found<'_>) -> bool {
        self.size = self.size.saturating_add(found.size());
        !self.is_too_large()
    }

    /// Whether a field is to be kept: it may be there, and says nothing that has been said.
    pub(super) fn keeps(&mut self, kind: Kind, name: &[u8], value: &[u8]) -> bool {
        let te = kind == Kind::Te && !value.eq_ignore_ascii_case(b"trailers");
        if te || belongs_to_connections(kind, name) {
            self.malformed = true;
            return false;
        }
        if kind != Kind::ContentLength {
            return true;
        }
        let (length, before) = (length(value), self.length);
        self.malformed |= length.is_none() || before.is_some() && length != before;
        self.length = before.or(length);
        before.is_none()
    }
}

/// Fields of one block.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) rules: Rules,
    status: Option<HeaderValue>,
    /// There are fields of a request.
    asks: bool,
    fields: HeaderMap,
}

impl Gathered {
    pub(super) fn new(limit: usize) -> Gathered {
        Gathered { rules: Rules::new(limit), status: None, asks: false, fields: HeaderMap::new() }
    }

    pub(super) fn take(&mut self, found: &Found<'_>) {
        if !self.rules.count(found) {
            return;
        }
        let Entry { name, kind, value, .. } = found.entry();
        match name {
            Name::Field(name) => self.field(kind, name, value),
            Name::Status => {
                self.rules.malformed |= self.status.replace(value).is_some() || !self.fields.is_empty();
            }
            Name::Method | Name::Scheme | Name::Authority | Name::Path => self.asks = true,
            Name::Bad => self.rules.malformed = true,
        }
    }

    fn field(&mut self, kind: Kind, name: HeaderName, value: HeaderValue) {
        if self.rules.keeps(kind, name.as_str().as_bytes(), value.as_bytes()) {
            self.rules.malformed |= self.fields.try_append(name, value).is_err();
        }
    }

    pub(super) fn response(self) -> Result<Response<()>, Malformed> {
        if self.rules.malformed || self.asks {
            return Err(Malformed);
        }
        let status = self.status.ok_or(Malformed)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).map_err(|_| Malformed)?;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.fields;
        Ok(response)
    }

    pub(super) fn trailers(self) -> Result<HeaderMap, Malformed> {
        let bad = self.rules.malformed || self.asks || self.status.is_some();
        if bad { Err(Malformed) } else { Ok(self.fields) }
    }
}

/// Whether a field is about one connection of HTTP/1 (RFC 9113 section 8.2.2).
fn belongs_to_connections(kind: Kind, name: &[u8]) -> bool {
    matches!(kind, Kind::Connection | Kind::TransferEncoding | Kind::Upgrade)
        || kind == Kind::HopByHop && name != b"http2-settings"
}

fn length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
