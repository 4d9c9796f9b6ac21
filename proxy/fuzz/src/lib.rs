//! A second reader of HTTP/1, naive and strict: what a fuzzer compares the proxy's own with.
//!
//! It follows RFC 9112 word for word, knows no leniency, and shares no code with what it judges.

/// Name and value of a field, as bytes.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// A head: its first line, its fields, and its length in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line, without its end.
    pub line: &'a [u8],
    /// All fields, in order.
    pub fields: Vec<Field<'a>>,
    /// Bytes of all of it, the empty line included.
    pub length: usize,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no word of it.
    Unsaid,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

impl<'a> Head<'a> {
    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let named = |(n, _): &&Field<'a>| n.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|(_, value)| *value).collect()
    }

    /// The framing that the fields tell, if they tell one at most, and without a fault.
    pub fn framing(&self) -> Option<Framing> {
        match (&self.values("transfer-encoding")[..], &self.values("content-length")[..]) {
            ([], []) => Some(Framing::Unsaid),
            ([], [length]) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(length).ok()?.parse().ok().map(Framing::Length)
            }
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
            _ => None,
        }
    }
}

/// Reads a head: lines that end with CRLF, and then an empty one. `None`: it is none, or not all of it.
pub fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let (line, mut at) = crlf_line(bytes, 0)?;
    let mut fields = Vec::new();
    loop {
        let (text, next) = crlf_line(bytes, at)?;
        at = next;
        if text.is_empty() {
            return Some(Head { line, fields, length: at });
        }
        fields.push(field(text)?);
    }
}

fn crlf_line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = bytes.get(from..)?.windows(2).position(|w| w == b"\r\n")? + from;
    let text = &bytes[from..end];
    let clean = text.iter().all(|b| *b == b'\t' || !b.is_ascii_control());
    clean.then_some((text, end + 2))
}

fn field(text: &[u8]) -> Option<Field<'_>> {
    let colon = text.iter().position(|b| *b == b':')?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    (!name.is_empty() && name.iter().all(token)).then(|| (name, trim(value)))
}

/// Without blanks and tabs around it.
pub fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let begin = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(begin, |last| last + 1);
    &value[begin..end]
}

/// A chunked body: its data, its trailers, and its length on the wire. `None`: it is none, or not all of it.
pub fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, Vec<Field<'_>>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let (line, next) = crlf_line(bytes, at)?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let rest = trim(&line[digits..]);
        if digits == 0 || !(rest.is_empty() || rest[0] == b';') {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            let (trailers, end) = trailers(bytes, next)?;
            return Some((data, trailers, end));
        }
        let end = next.checked_add(size)?;
        data.extend(bytes.get(next..end)?);
        (bytes.get(end..end + 2)? == b"\r\n").then_some(())?;
        at = end + 2;
    }
}

fn trailers(bytes: &[u8], mut at: usize) -> Option<(Vec<Field<'_>>, usize)> {
    let mut fields = Vec::new();
    loop {
        let (line, next) = crlf_line(bytes, at)?;
        at = next;
        if line.is_empty() {
            return Some((fields, at));
        }
        fields.push(field(line)?);
    }
}

/// Places to cut an input at, ascending, taken from the input itself.
pub fn cuts(bytes: &[u8], most: usize) -> Vec<usize> {
    let mut state = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state as usize
    };
    let count = next() % (most + 1);
    let mut cuts: Vec<usize> = (0..count).map(|_| next() % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_its_faults_are_seen() {
        let head = head(b"GET / HTTP/1.1\r\nHost: a\r\nx:\t y \r\n\r\nrest").unwrap();
        assert_eq!(
            (head.line, head.values("host"), head.values("X")),
            (&b"GET / HTTP/1.1"[..], vec![&b"a"[..]], vec![&b"y"[..]])
        );
        assert_eq!(head.length, 37 - 2);
        for bad in [
            "GET / HTTP/1.1\nx: y\r\n\r\n",
            "a\r\nx : y\r\n\r\n",
            "a\r\n: y\r\n\r\n",
            "a\r\nx: y\r\n",
            "a\r\n x: y\r\n\r\n",
            "a\r\nx: \0\r\n\r\n",
        ] {
            assert_eq!(super::head(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn chunks_are_read_and_their_faults_are_seen() {
        let (data, trailers, length) = chunked(b"2;a\r\nhi\r\n0\r\nx: y\r\n\r\nrest").unwrap();
        assert_eq!((&data[..], trailers, length), (&b"hi"[..], vec![(&b"x"[..], &b"y"[..])], 20));
        for bad in [
            "2\r\nhi",
            "2\nhi\r\n0\r\n\r\n",
            "+2\r\nhi\r\n0\r\n\r\n",
            "2\r\nhi!\r\n0\r\n\r\n",
            "0\r\n",
            "x\r\n\r\n",
        ] {
            assert_eq!(chunked(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
