//! Fields put together: the head of a response, or trailers (RFC 9113 section 8).

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::hpack::{Entry, Found, Name};
use crate::http1::field::Kind;

/// A head, or trailers, that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Fields of one block.
#[derive(Debug)]
pub(super) struct Gathered {
    status: Option<HeaderValue>,
    /// There are fields of a request.
    asks: bool,
    fields: HeaderMap,
    /// How long the body is, if that is said.
    pub(super) length: Option<u64>,
    malformed: bool,
    /// What the fields count, and may count.
    size: usize,
    limit: usize,
}

impl Gathered {
    pub(super) fn new(limit: usize) -> Gathered {
        let fields = HeaderMap::new();
        Gathered { status: None, asks: false, fields, length: None, malformed: false, size: 0, limit }
    }

    /// Whether there was more than is taken.
    pub(super) fn is_too_large(&self) -> bool {
        self.size > self.limit
    }

    pub(super) fn take(&mut self, found: &Found<'_>) {
        self.size = self.size.saturating_add(found.size());
        if self.is_too_large() {
            return;
        }
        let Entry { name, kind, value, .. } = found.entry();
        match name {
            Name::Field(name) => self.field(kind, name, value),
            Name::Status => {
                self.malformed |= self.status.replace(value).is_some() || !self.fields.is_empty();
            }
            Name::Method | Name::Scheme | Name::Authority | Name::Path => self.asks = true,
            Name::Bad => self.malformed = true,
        }
    }

    fn field(&mut self, kind: Kind, name: HeaderName, value: HeaderValue) {
        let te = kind == Kind::Te && !value.as_bytes().eq_ignore_ascii_case(b"trailers");
        if te || belongs_to_connections(kind, name.as_str().as_bytes()) {
            self.malformed = true;
            return;
        }
        if kind == Kind::ContentLength {
            let length = length(value.as_bytes());
            self.malformed |= length.is_none();
            if let Some(before) = self.length {
                self.malformed |= length != Some(before);
                return;
            }
            self.length = length;
        }
        self.malformed |= self.fields.try_append(name, value).is_err();
    }

    pub(super) fn response(self) -> Result<Response<()>, Malformed> {
        if self.malformed || self.asks {
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
        let bad = self.malformed || self.asks || self.status.is_some();
        if bad { Err(Malformed) } else { Ok(self.fields) }
    }
}

/// Whether a field is about one connection of HTTP/1 (RFC 9113 section 8.2.2).
pub(super) fn belongs_to_connections(kind: Kind, name: &[u8]) -> bool {
    matches!(kind, Kind::Connection | Kind::TransferEncoding | Kind::Upgrade)
        || kind == Kind::HopByHop && name != b"http2-settings"
}

pub(super) fn length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
