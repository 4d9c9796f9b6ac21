//! HPACK (RFC 7541): reads field blocks with a table of what came before; writes them without one, so that nothing has
//! to be remembered for a peer.

use std::collections::VecDeque;
use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};

use super::{Reason, huffman};
use crate::http1::field::Kind;

/// What a peer's encoder may have us remember, in bytes: the default of SETTINGS_HEADER_TABLE_SIZE.
const MAX_TABLE: usize = 4096;
/// What an entry counts beside its bytes (RFC 7541 section 4.1).
const OVERHEAD: usize = 32;
/// Larger than any number that means something here.
const MAX_NUMBER: usize = 1 << 28;

/// The name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    Field(HeaderName),
    /// It is no name, or its value no value. It takes its place in the table all the same.
    Bad,
}

impl Name {
    /// The name of a pseudo-field.
    pub(super) fn pseudo(name: &[u8]) -> Option<Name> {
        match name {
            b":method" => Some(Name::Method),
            b":scheme" => Some(Name::Scheme),
            b":authority" => Some(Name::Authority),
            b":path" => Some(Name::Path),
            b":status" => Some(Name::Status),
            _ => None,
        }
    }

    fn of(name: &[u8]) -> Name {
        let field = || HeaderName::from_lowercase(name).map_or(Name::Bad, Name::Field);
        Name::pseudo(name).unwrap_or_else(field)
    }
}

/// A field of a table, and what it counts.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) kind: Kind,
    pub(super) value: HeaderValue,
    pub(super) size: usize,
}

impl Entry {
    fn new(title: &Title<'_>, value: &[u8], size: usize) -> Entry {
        let (name, kind) = match title {
            Title::Known(entry) => (entry.name.clone(), entry.kind),
            Title::New(name) => (Name::of(name), Kind::of(name)),
        };
        match HeaderValue::from_bytes(value) {
            Ok(value) => Entry { name, kind, value, size },
            Err(_) => Entry { name: Name::Bad, kind, value: filler(value.len()), size },
        }
    }

    fn name_length(&self) -> usize {
        self.size - OVERHEAD - self.value.len()
    }
}

/// A field of a block.
pub(super) enum Found<'a> {
    /// It stands in a table.
    Known(&'a Entry),
    /// It doesn't, or not yet; unchecked.
    New { name: Title<'a>, value: &'a [u8] },
}

/// The name of a field that is new.
pub(super) enum Title<'a> {
    /// It is that of an entry.
    Known(&'a Entry),
    /// Unchecked.
    New(&'a [u8]),
}

impl Found<'_> {
    /// What it counts (RFC 7541 section 4.1).
    pub(super) fn size(&self) -> usize {
        match self {
            Found::Known(entry) => entry.size,
            Found::New { name: Title::Known(entry), value } => entry.name_length() + value.len() + OVERHEAD,
            Found::New { name: Title::New(name), value } => name.len() + value.len() + OVERHEAD,
        }
    }

    /// As an entry of a table.
    pub(super) fn entry(&self) -> Entry {
        match self {
            Found::Known(entry) => (*entry).clone(),
            Found::New { name, value } => Entry::new(name, value, self.size()),
        }
    }
}

/// Reads blocks of fields, one after the other.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The last one first.
    table: VecDeque<Entry>,
    size: usize,
    /// `None`: as much as it may at most.
    capacity: Option<usize>,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Reads a whole block. Errors: nothing more can be read of the connection.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&Found<'_>),
    ) -> Result<(), Reason> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                let index = number(&mut block, 7)?;
                field(&Found::Known(self.entry(index)?));
            } else if first & 0xc0 == 0x40 {
                let found = self.literal(&mut block, 6)?;
                field(&found);
                let entry = found.entry();
                self.remember(entry);
            } else if first & 0xe0 == 0x20 {
                let capacity = number(&mut block, 5)?;
                if begun || capacity > MAX_TABLE {
                    return Err(Reason::COMPRESSION_ERROR);
                }
                self.capacity = Some(capacity);
                self.shrink(capacity);
                continue;
            } else {
                field(&self.literal(&mut block, 4)?);
            }
            begun = true;
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry, Reason> {
        let index = index.checked_sub(1).ok_or(Reason::COMPRESSION_ERROR)?;
        let known = FIXED.get(index).or_else(|| self.table.get(index - FIXED.len()));
        known.ok_or(Reason::COMPRESSION_ERROR)
    }

    fn literal(&mut self, block: &mut &[u8], prefix: u32) -> Result<Found<'_>, Reason> {
        let index = number(block, prefix)?;
        if index == 0 {
            string(block, &mut self.name)?;
        }
        string(block, &mut self.value)?;
        let name = if index == 0 { Title::New(&self.name) } else { Title::Known(self.entry(index)?) };
        Ok(Found::New { name, value: &self.value })
    }

    fn remember(&mut self, entry: Entry) {
        let capacity = self.capacity.unwrap_or(MAX_TABLE);
        self.shrink(capacity.saturating_sub(entry.size));
        if entry.size <= capacity {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    fn shrink(&mut self, capacity: usize) {
        while self.size > capacity
            && let Some(last) = self.table.pop_back()
        {
            self.size -= last.size;
        }
    }
}

/// A value of a length: what an entry without a valid one counts.
fn filler(length: usize) -> HeaderValue {
    HeaderValue::from_bytes(&vec![b'-'; length]).unwrap_or(HeaderValue::from_static(""))
}

/// A number (RFC 7541 section 5.1).
fn number(block: &mut &[u8], prefix: u32) -> Result<usize, Reason> {
    let (first, mut rest) = block.split_first().ok_or(Reason::COMPRESSION_ERROR)?;
    let most = (1_usize << prefix) - 1;
    let mut number = usize::from(*first) & most;
    let mut shift = 0;
    while number >= most {
        let (next, after) = rest.split_first().ok_or(Reason::COMPRESSION_ERROR)?;
        rest = after;
        number += usize::from(next & 0x7f) << shift;
        shift += 7;
        if next & 0x80 == 0 {
            break;
        }
        if number > MAX_NUMBER || shift > 28 {
            return Err(Reason::COMPRESSION_ERROR);
        }
    }
    *block = rest;
    Ok(number)
}

/// A string (RFC 7541 section 5.2), in place of what was there.
fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Reason::COMPRESSION_ERROR)?;
    *block = rest;
    out.clear();
    if coded {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// The table that everybody knows (RFC 7541 appendix A).
static FIXED: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |(text, value): &(&'static str, &'static str)| Entry {
        name: Name::of(text.as_bytes()),
        kind: Kind::of(text.as_bytes()),
        value: HeaderValue::from_static(value),
        size: text.len() + value.len() + OVERHEAD,
    };
    FIXED_TEXT.iter().map(entry).collect()
});

const FIXED_TEXT: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Length of the longest name that has a number below.
const LONGEST_NUMBERED: usize = 19;

/// What a name that is sent often has for a number, and whether its value may be remembered on the way: secrets must
/// not be where others can guess at them (RFC 7541 section 7.1.3).
fn numbered(name: &[u8]) -> (usize, bool) {
    match name {
        b"content-length" => (28, true),
        b"content-type" => (31, true),
        b"date" => (33, true),
        b"server" => (54, true),
        b"user-agent" => (58, true),
        b"accept" => (19, true),
        b"accept-encoding" => (16, true),
        b"cache-control" => (24, true),
        b"etag" => (34, true),
        b"location" => (46, true),
        b"vary" => (59, true),
        b"cookie" => (32, false),
        b"set-cookie" => (55, false),
        b"authorization" => (23, false),
        b"proxy-authorization" => (49, false),
        _ => (0, true),
    }
}

/// Appends a field. Its name goes in small letters.
pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let mut small = [0; LONGEST_NUMBERED];
    let (index, open) = match small.get_mut(..name.len()) {
        Some(small) => {
            small.copy_from_slice(name);
            small.make_ascii_lowercase();
            numbered(small)
        }
        None => (0, true),
    };
    put_number(out, if open { 0 } else { 0x10 }, 4, index);
    if index == 0 {
        put_string(out, name);
        let begin = out.len() - name.len();
        out[begin..].make_ascii_lowercase();
    }
    put_string(out, value);
}

/// Appends `:status`.
pub(super) fn status(out: &mut Vec<u8>, status: http::StatusCode) {
    let known = [200, 204, 206, 304, 400, 404, 500].iter().position(|known| *known == status.as_u16());
    pseudo(out, known.map(|place| 8 + place), 8, status.as_str().as_bytes());
}

/// Appends the pseudo-fields of a request: whatever there is of them.
pub(super) fn request(out: &mut Vec<u8>, method: &http::Method, uri: &http::Uri) {
    let known = match method.as_str() {
        "GET" => Some(2),
        "POST" => Some(3),
        _ => None,
    };
    pseudo(out, known, 2, method.as_str().as_bytes());
    if let Some(scheme) = uri.scheme_str() {
        let known = if scheme == "http" { Some(6) } else { Some(7).filter(|_| scheme == "https") };
        pseudo(out, known, 6, scheme.as_bytes());
    }
    if let Some(authority) = uri.authority() {
        pseudo(out, None, 1, authority.as_str().as_bytes());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    pseudo(out, Some(4).filter(|_| path == "/"), 4, path.as_bytes());
}

/// `whole`: the number of the field with this value; `named`: that of its name.
fn pseudo(out: &mut Vec<u8>, whole: Option<usize>, named: usize, value: &[u8]) {
    match whole {
        Some(index) => put_number(out, 0x80, 7, index),
        None => {
            put_number(out, 0, 4, named);
            put_string(out, value);
        }
    }
}

/// Says how much is remembered of what is sent: nothing ever is, and a peer that allows less is told that it is no more.
pub(super) fn table_size(out: &mut Vec<u8>, size: usize) {
    put_number(out, 0x20, 5, size);
}

fn put_number(out: &mut Vec<u8>, flags: u8, prefix: u32, number: usize) {
    let most = (1_usize << prefix) - 1;
    if number < most {
        return out.push(flags | number as u8);
    }
    out.push(flags | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, 0, 7, text.len());
    out.extend_from_slice(text);
}
