//! The head of a request as it came by HTTP/2 (RFC 9113 section 8.3.1): its fields in one piece of memory.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::head::{Malformed, Rules};
use super::hpack::{Entry, Found, Name, Title};
use crate::head::Head;
use crate::http1::field::{Kind, Span};

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    /// How long its body is, if it says so.
    pub length: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
    kind: Kind,
}

impl RequestHead {
    /// Who is asked, if it says so; unchecked.
    pub fn authority(&self) -> Option<&[u8]> {
        self.authority.map(|span| span.bytes(&self.bytes))
    }

    /// Path and query as they stand. Empty for CONNECT alone.
    pub fn target(&self) -> &str {
        self.text(self.path)
    }

    /// The fields in their order: what each means, its name in small letters, its value.
    pub fn fields(&self) -> impl Iterator<Item = (Kind, &[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (field.kind, field.name.bytes(&self.bytes), field.value.bytes(&self.bytes)))
    }

    /// The same as other libraries have it. `None`: they can't.
    pub fn to_request(&self) -> Option<Request<()>> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.method().as_bytes()).ok()?;
        *request.uri_mut() = self.uri()?;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        *headers = HeaderMap::with_capacity(self.fields.len() + 3);
        for (_, name, value) in self.fields() {
            let name = HeaderName::from_lowercase(name).ok()?;
            headers.try_append(name, HeaderValue::from_bytes(value).ok()?).ok()?;
        }
        Some(request)
    }

    fn uri(&self) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.authority = self.authority().map(Authority::try_from).transpose().ok()?;
        if let Some(path) = self.path {
            parts.path_and_query = Some(PathAndQuery::try_from(path.bytes(&self.bytes)).ok()?);
            // No URI has a scheme and a path, and nothing between them.
            let scheme = self.scheme.filter(|_| parts.authority.is_some());
            parts.scheme =
                scheme.map(|scheme| Scheme::try_from(scheme.bytes(&self.bytes))).transpose().ok()?;
        }
        Uri::from_parts(parts).ok()
    }

    fn text(&self, span: Option<Span>) -> &str {
        span.map_or("", |span| span.text(&self.bytes))
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    fn push(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        let (name, value) = (self.put(name), self.put(value));
        self.fields.push(Field { name, value, kind });
    }
}

impl Head for RequestHead {
    fn method(&self) -> &str {
        self.text(self.method)
    }

    fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |(_, other, _)| *other == name.as_bytes()).map(|(_, _, value)| value)
    }
}

/// A head that is read, field by field.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) rules: Rules,
    head: RequestHead,
}

impl Reading {
    pub(super) fn new(limit: usize) -> Reading {
        Reading { rules: Rules::new(limit), head: RequestHead::default() }
    }

    pub(super) fn take(&mut self, found: &Found<'_>) {
        if !self.rules.count(found) {
            return;
        }
        match found {
            Found::Known(Entry { name, value, kind, .. }) => self.put(name, *kind, value.as_bytes()),
            Found::New { name: Title::Known(entry), value, .. } if is_value(value) => {
                self.put(&entry.name, entry.kind, value);
            }
            Found::New { name: Title::New(name), value, .. } if is_value(value) => match Name::pseudo(name) {
                Some(pseudo) => self.put(&pseudo, Kind::Other, value),
                None if is_name(name) => self.field(Kind::of(name), name, value),
                None => self.rules.malformed = true,
            },
            Found::New { .. } => self.rules.malformed = true,
        }
    }

    fn put(&mut self, name: &Name, kind: Kind, value: &[u8]) {
        let head = &mut self.head;
        let place = match name {
            Name::Field(name) => return self.field(kind, name.as_str().as_bytes(), value),
            Name::Bad | Name::Status => return self.rules.malformed = true,
            Name::Method => &mut head.method,
            Name::Scheme => &mut head.scheme,
            Name::Authority => &mut head.authority,
            Name::Path => &mut head.path,
        };
        let start = head.bytes.len();
        head.bytes.extend_from_slice(value);
        let before = place.replace(Span::new(start, head.bytes.len()));
        self.rules.malformed |= before.is_some() || !head.fields.is_empty();
    }

    fn field(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        // HTTP/1 takes the space away: two readers could read two values (RFC 9113 section 8.2.1).
        self.rules.malformed |= value.trim_ascii().len() != value.len();
        if self.rules.keeps(kind, name, value) {
            self.head.push(kind, name, value);
        }
    }

    pub(super) fn finish(self) -> Result<RequestHead, Malformed> {
        let Reading { rules, mut head } = self;
        head.length = rules.length;
        let method = head.method().as_bytes();
        let path = head.target().as_bytes();
        let authority = head.authority().is_none_or(|authority| !authority.is_empty());
        let whole = if method == b"CONNECT" {
            head.scheme.is_none() && head.path.is_none() && head.authority.is_some()
        } else {
            let target = path.starts_with(b"/") || path == b"*";
            let bytes = path.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#');
            is_scheme(head.text(head.scheme).as_bytes()) && target && bytes
        };
        let valid = !rules.malformed && whole && authority && is_token(method);
        if valid { Ok(head) } else { Err(Malformed) }
    }
}

fn is_scheme(text: &[u8]) -> bool {
    let rest = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(rest)
}

fn is_token(text: &[u8]) -> bool {
    let special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

fn is_name(text: &[u8]) -> bool {
    is_token(text) && !text.iter().any(u8::is_ascii_uppercase)
}

fn is_value(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f)
}

#[cfg(test)]
impl From<Request<()>> for RequestHead {
    fn from(request: Request<()>) -> RequestHead {
        let mut head = RequestHead::default();
        let uri = request.uri();
        head.method = Some(head.put(request.method().as_str().as_bytes()));
        head.scheme = uri.scheme_str().map(|scheme| head.put(scheme.as_bytes()));
        head.authority = uri.authority().map(|authority| head.put(authority.as_str().as_bytes()));
        head.path = uri.path_and_query().map(|path| head.put(path.as_str().as_bytes()));
        for (name, value) in request.headers() {
            let kind = Kind::of(name.as_str().as_bytes());
            if kind == Kind::ContentLength {
                head.length = value.to_str().unwrap().parse().ok();
            }
            head.push(kind, name.as_str().as_bytes(), value.as_bytes());
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Decoder;
    use super::*;

    /// Reads fields twice by one decoder: as they are written, and from the table.
    fn read(fields: &[(&str, &str)]) -> Result<RequestHead, Malformed> {
        let mut decoder = Decoder::default();
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0x40);
            for text in [name, value] {
                block.push(text.len() as u8);
                block.extend_from_slice(text.as_bytes());
            }
        }
        let last = 61 + fields.len() as u8;
        let again: Vec<u8> = (0..fields.len() as u8).map(|n| 0x80 | (last - n)).collect();
        let [first, second] = [&block, &again].map(|block| {
            let mut reading = Reading::new(1000);
            decoder.decode(block, |found| reading.take(found)).unwrap();
            reading.finish()
        });
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "{fields:?}");
        first
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":path", "/a?b=c"), (":authority", "shop")];

    fn with(more: &[(&str, &str)]) -> Vec<(String, String)> {
        GET.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn read_with(more: &[(&str, &str)]) -> Result<RequestHead, Malformed> {
        let all = with(more);
        read(&all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
    }

    #[test]
    fn a_head_says_what_it_said() {
        let head = read_with(&[("x-a", "1"), ("x-b", "ä"), ("x-a", "2"), ("te", "trailers")]).unwrap();
        assert_eq!((head.method(), head.path(), head.query()), ("GET", "/a", Some("b=c")));
        assert_eq!(head.authority(), Some(&b"shop"[..]));
        assert_eq!(head.values("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        let request = head.to_request().unwrap();
        assert_eq!((request.uri().to_string(), request.headers().len()), ("http://shop/a?b=c".into(), 4));
        let head = read(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")]).unwrap();
        assert_eq!((head.target(), head.to_request().unwrap().uri().path()), ("*", "*"));
        let head = read(&[(":method", "CONNECT"), (":authority", "shop:80")]).unwrap();
        assert_eq!((head.method(), head.path()), ("CONNECT", ""));
    }

    #[test]
    fn what_could_mean_two_things_means_nothing() {
        for more in [
            &[(":method", "GET")][..],
            &[("x-a", "1"), (":protocol", "websocket")],
            &[(":status", "200")],
            &[(":unknown", "1")],
            &[("X-Large", "1")],
            &[("", "1")],
            &[("x a", "1")],
            &[("x-a", "1\n2")],
            &[("x-a", "1\0")],
            &[("connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "h2c")],
            &[("keep-alive", "1")],
            &[("proxy-connection", "1")],
            &[("te", "gzip")],
            &[("content-length", "x")],
            &[("content-length", "-1")],
            &[("content-length", "1"), ("content-length", "2")],
        ] {
            assert!(read_with(more).is_err(), "{more:?}");
        }
        assert_eq!(read_with(&[("content-length", "7"), ("content-length", "7")]).unwrap().length, Some(7));
        for changed in [
            (":method", ""),
            (":method", "G T"),
            (":scheme", ""),
            (":scheme", "1"),
            (":path", ""),
            (":path", "a"),
            (":path", "/ HTTP/1.1"),
            (":path", "/#a"),
            (":path", "/\u{e4}"),
            (":authority", ""),
        ] {
            let fields = GET.map(|field| if field.0 == changed.0 { changed } else { field });
            assert!(read(&fields).is_err(), "{changed:?}");
            let without: Vec<_> = GET.into_iter().filter(|field| field.0 != changed.0).collect();
            assert_eq!(read(&without).is_ok(), changed.0 == ":authority", "without {}", changed.0);
        }
        assert!(read(&[("x-a", "1"), GET[0], GET[1], GET[2]]).is_err(), "pseudo-fields come first");
        assert!(read(&[(":method", "CONNECT"), (":path", "/"), (":authority", "shop")]).is_err());
    }
}
