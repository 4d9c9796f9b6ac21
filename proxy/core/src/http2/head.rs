//! Fields put together: the head of a request or a response, or trailers (RFC 9113 section 8).

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::hpack::{Entry, Found, Name};

/// A head, or trailers, that mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Fields of one block.
#[derive(Debug)]
pub(super) struct Gathered {
    method: Option<HeaderValue>,
    scheme: Option<HeaderValue>,
    authority: Option<HeaderValue>,
    path: Option<HeaderValue>,
    status: Option<HeaderValue>,
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
        let (method, scheme, authority, path, status) = (None, None, None, None, None);
        let fields = HeaderMap::new();
        Gathered {
            method,
            scheme,
            authority,
            path,
            status,
            fields,
            length: None,
            malformed: false,
            size: 0,
            limit,
        }
    }

    /// Whether there was more than is taken.
    pub(super) fn is_too_large(&self) -> bool {
        self.size > self.limit
    }

    pub(super) fn take(&mut self, found: Found<'_>) {
        let size = match &found {
            Found::Known(entry) => entry.size,
            Found::New(entry) => entry.size,
        };
        self.size = self.size.saturating_add(size);
        if self.is_too_large() {
            return;
        }
        let (name, value) = match found {
            Found::Known(Entry { name, value, .. }) => (name.clone(), value.clone()),
            Found::New(Entry { name, value, .. }) => (name, value),
        };
        let place = match name {
            Name::Field(name) => return self.field(name, value),
            Name::Bad => return self.malformed = true,
            Name::Method => &mut self.method,
            Name::Scheme => &mut self.scheme,
            Name::Authority => &mut self.authority,
            Name::Path => &mut self.path,
            Name::Status => &mut self.status,
        };
        self.malformed |= place.replace(value).is_some() || !self.fields.is_empty();
    }

    fn field(&mut self, name: HeaderName, value: HeaderValue) {
        if belongs_to_connections(&name) || name == TE && !value.as_bytes().eq_ignore_ascii_case(b"trailers")
        {
            self.malformed = true;
            return;
        }
        if name == CONTENT_LENGTH {
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

    pub(super) fn request(self) -> Result<Request<()>, Malformed> {
        if self.malformed || self.status.is_some() {
            return Err(Malformed);
        }
        let method = self.method.ok_or(Malformed)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed)?;
        let uri = uri(&method, self.scheme, self.authority, self.path)?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.fields;
        Ok(request)
    }

    pub(super) fn response(self) -> Result<Response<()>, Malformed> {
        let asks =
            self.method.is_some() || self.scheme.is_some() || self.authority.is_some() || self.path.is_some();
        if self.malformed || asks {
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
        let pseudo = [self.method, self.scheme, self.authority, self.path, self.status];
        let bad = self.malformed || pseudo.iter().any(Option::is_some);
        if bad { Err(Malformed) } else { Ok(self.fields) }
    }
}

/// Fields that are about one connection of HTTP/1 (RFC 9113 section 8.2.2).
fn belongs_to_connections(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn length(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

fn uri(
    method: &Method,
    scheme: Option<HeaderValue>,
    authority: Option<HeaderValue>,
    path: Option<HeaderValue>,
) -> Result<Uri, Malformed> {
    let authority = authority.map(|text| Authority::try_from(text.as_bytes()));
    let authority = authority.transpose().map_err(|_| Malformed)?;
    let mut parts = http::uri::Parts::default();
    if *method == Method::CONNECT {
        if scheme.is_some() || path.is_some() || authority.is_none() {
            return Err(Malformed);
        }
    } else {
        let (scheme, path) = scheme.zip(path).ok_or(Malformed)?;
        let scheme = Scheme::try_from(scheme.as_bytes()).map_err(|_| Malformed)?;
        // No URI has a scheme and a path, and nothing between them.
        parts.scheme = authority.is_some().then_some(scheme);
        if !path.as_bytes().starts_with(b"/") && path.as_bytes() != b"*" {
            return Err(Malformed);
        }
        let path = PathAndQuery::try_from(path.as_bytes()).map_err(|_| Malformed)?;
        parts.path_and_query = Some(path);
    }
    parts.authority = authority;
    Uri::from_parts(parts).map_err(|_| Malformed)
}
