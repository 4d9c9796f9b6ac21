//! What is passed on of a head: all but what is between two neighbours only (RFC 9110 section 7.6.1), and what a proxy
//! says itself. Lines that stay are copied as they stand.

use crate::http1::Version;
use crate::http1::field::{Field, Fields, Kind, Span};
use crate::http1::request::RequestHead;
use crate::http1::response::ResponseHead;

/// Who is asked where nobody has said so: a client of HTTP/1.0 need not.
const NOBODY: &[u8] = b"localhost";

/// What a proxy says of a request that it passes on.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// The client's address.
    pub peer: &'a str,
    /// Whether the client is believed what it says of others: `Forwarded`, `X-Forwarded-…`.
    pub trusted: bool,
    /// `X-Request-ID`, if the request has none.
    pub request_id: Option<&'a str>,
    /// `traceparent`, if the request has none.
    pub trace_parent: Option<&'a str>,
}

/// How a response goes to its client.
#[derive(Clone, Copy, Debug)]
pub struct Back {
    /// What the client speaks.
    pub version: Version,
    /// Whether the connection ends with this response.
    pub close: bool,
    /// How its body goes.
    pub body: BodyGoes,
}

/// How the body of a response goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyGoes {
    /// As it comes: with its length, in chunks, or not at all.
    AsItComes,
    /// In chunks that it has not come in.
    InChunks,
    /// Up to the end of the connection.
    UntilClose,
}

/// Appends the head of a request as it goes to an endpoint of HTTP/1.1. `bytes` is what `head` was read from.
pub fn request(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, onward: &Onward<'_>) {
    let fields = &head.fields;
    request_line(out, bytes, head);
    if head.target.authority.is_some() || fields.facts.hosts == 0 {
        line(out, b"host", head.host(bytes).unwrap_or(NOBODY));
    }
    let drops = |field: &Field| drops_of_request(bytes, head, onward, field);
    let whole = !fields.facts.hop_by_hop
        && !fields.facts.forwarded_for
        && (onward.trusted || !fields.facts.forwarded)
        && head.target.authority.is_none()
        && head.version == Version::Http11;
    copy(out, bytes, fields, head.first_field, |field| whole || !drops(field));
    neighbours(out, head, bytes);
    forwarded_for(out, bytes, fields, onward);
    if let Some(id) = onward.request_id.filter(|_| fields.facts.request_id.is_none()) {
        line(out, b"x-request-id", id.as_bytes());
    }
    if let Some(trace) = onward.trace_parent.filter(|_| fields.facts.trace_parent.is_none()) {
        line(out, b"traceparent", trace.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a response as it goes to a client. `bytes` is what `head` was read from.
pub fn response(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, back: Back) {
    let fields = &head.fields;
    out.extend_from_slice(b"HTTP/1.1");
    status_line(out, Span::new(b"HTTP/1.1".len(), head.first_field as usize).bytes(bytes));
    let switches = head.status == 101;
    let no_length = matches!(head.status, 100..=199 | 204) || back.body != BodyGoes::AsItComes;
    let plain = !fields.facts.hop_by_hop && !no_length;
    let keeps = |field: &Field| {
        let frames = matches!(field.kind, Kind::ContentLength | Kind::TransferEncoding);
        if field.kind == Kind::Upgrade {
            switches
        } else {
            !(frames && no_length) && goes_on(bytes, fields, field)
        }
    };
    copy(out, bytes, fields, head.first_field, |field| plain || keeps(field));
    if back.body == BodyGoes::InChunks {
        line(out, b"transfer-encoding", b"chunked");
    }
    match (switches, back.close, back.version) {
        (true, ..) => line(out, b"connection", b"upgrade"),
        _ if head.is_interim() => {}
        (false, true, _) => line(out, b"connection", b"close"),
        (false, false, Version::Http10) => line(out, b"connection", b"keep-alive"),
        (false, false, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// The fields of a response that pass to a client of another version, which has framing of its own.
pub fn passing<'a>(bytes: &'a [u8], head: &'a ResponseHead) -> impl Iterator<Item = &'a Field> {
    let fields = &head.fields;
    let no_length = matches!(head.status, 100..=199 | 204);
    fields.iter().filter(move |field| {
        let frames = field.kind == Kind::TransferEncoding || field.kind == Kind::ContentLength && no_length;
        !frames && goes_on(bytes, fields, field)
    })
}

/// Whether a field is for more than our neighbour, to whom the others are said anew.
fn goes_on(bytes: &[u8], fields: &Fields, field: &Field) -> bool {
    match field.kind {
        Kind::Connection | Kind::HopByHop | Kind::Te | Kind::Upgrade => false,
        Kind::Other => !fields.is_nominated(bytes, field),
        Kind::EndToEnd
        | Kind::TransferEncoding
        | Kind::ContentLength
        | Kind::Host
        | Kind::Expect
        | Kind::ForwardedFor
        | Kind::Forwarded
        | Kind::TraceParent
        | Kind::RequestId => true,
    }
}

/// What follows the version. The blank before the reason is there even if there is no reason.
fn status_line(out: &mut Vec<u8>, rest: &[u8]) {
    match rest.strip_suffix(b"\r\n") {
        Some(status) if status.len() == b" 200".len() => {
            out.extend_from_slice(status);
            out.extend_from_slice(b" \r\n");
        }
        Some(_) | None => out.extend_from_slice(rest),
    }
}

fn request_line(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead) {
    if head.target.authority.is_none() && head.version == Version::Http11 {
        out.extend_from_slice(Span::new(head.method.start(), head.first_field as usize).bytes(bytes));
        return;
    }
    out.extend_from_slice(head.method.bytes(bytes));
    out.push(b' ');
    out.extend_from_slice(missing_path(bytes, head));
    out.extend_from_slice(head.target.rest.bytes(bytes));
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// The path of an absolute target that has none (RFC 9112 section 3.2.4).
fn missing_path(bytes: &[u8], head: &RequestHead) -> &'static [u8] {
    let target = head.target;
    match (target.path.bytes(bytes), target.query) {
        ([], None) if head.method.bytes(bytes) == b"OPTIONS" => b"*",
        ([], _) => b"/",
        _ => b"",
    }
}

fn drops_of_request(bytes: &[u8], head: &RequestHead, onward: &Onward<'_>, field: &Field) -> bool {
    match field.kind {
        Kind::Host => head.target.authority.is_some(),
        Kind::ForwardedFor => true,
        Kind::Forwarded => !onward.trusted,
        Kind::Expect => head.version == Version::Http10,
        Kind::Other
        | Kind::Connection
        | Kind::HopByHop
        | Kind::Te
        | Kind::Upgrade
        | Kind::EndToEnd
        | Kind::TransferEncoding
        | Kind::ContentLength
        | Kind::TraceParent
        | Kind::RequestId => !goes_on(bytes, &head.fields, field),
    }
}

/// What we ask the endpoint for as its neighbour.
fn neighbours(out: &mut Vec<u8>, head: &RequestHead, bytes: &[u8]) {
    if !head.fields.facts.hop_by_hop {
        return;
    }
    let upgrade = head.upgrade(bytes);
    if let Some(upgrade) = upgrade {
        line(out, b"upgrade", upgrade.bytes(bytes));
    }
    if head.takes_trailers() {
        line(out, b"te", b"trailers");
    }
    match (upgrade.is_some(), head.takes_trailers()) {
        (true, true) => line(out, b"connection", b"upgrade, te"),
        (true, false) => line(out, b"connection", b"upgrade"),
        (false, true) => line(out, b"connection", b"te"),
        (false, false) => {}
    }
}

fn forwarded_for(out: &mut Vec<u8>, bytes: &[u8], fields: &Fields, onward: &Onward<'_>) {
    out.extend_from_slice(b"x-forwarded-for: ");
    if onward.trusted && fields.facts.forwarded_for {
        let before = fields.iter().filter(|field| field.kind == Kind::ForwardedFor);
        for value in before.map(|field| field.value.bytes(bytes)).filter(|value| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(onward.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Copies the lines that are kept, in as few parts as possible.
fn copy(out: &mut Vec<u8>, bytes: &[u8], fields: &Fields, first: u32, keeps: impl Fn(&Field) -> bool) {
    let (mut begin, mut end) = (first as usize, first as usize);
    for field in fields.iter() {
        if !keeps(field) {
            out.extend_from_slice(Span::new(begin, end).bytes(bytes));
            begin = field.end as usize;
        }
        end = field.end as usize;
    }
    out.extend_from_slice(Span::new(begin, end).bytes(bytes));
}

/// Appends one field line.
pub fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
