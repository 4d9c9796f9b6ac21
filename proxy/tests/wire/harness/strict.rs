//! HTTP/1 read as strictly as RFC 9112 is written: nothing that a proxy sends has an excuse.

use std::io::{BufRead, Read};

/// Longest line, and longest body, that is read.
const MAX: u64 = 64 << 20;

/// Name, in lower case, and value of a field.
pub type Field = (String, String);

/// A message that was whole and without a fault. Bytes of its head are taken for Latin-1.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub line: String,
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    #[default]
    None,
    Length(u64),
    Chunked,
    Close,
}

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The connection ended before one.
    Closed,
    /// It ended amid one; this much of it had come.
    Cut(Box<Message>),
    /// This is no HTTP/1.
    Wrong(String),
}

/// What the reader of a message knows beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    /// A response to HEAD.
    HeadResponse,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (body, length) =
            (String::from_utf8_lossy(&self.body[..self.body.len().min(60)]), self.body.len());
        write!(
            f,
            "{{{} {:?} {:?} {length} {body:?} {:?}}}",
            self.line, self.fields, self.framing, self.trailers
        )
    }
}

impl Message {
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// A word of the first line.
    pub fn word(&self, n: usize) -> &str {
        self.line.split(' ').nth(n).unwrap_or_default()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of a field that comes once.
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} comes more than once: {all:?}");
        all.first().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads one message.
    pub fn read(reader: &mut impl BufRead, kind: Kind) -> Result<Message, Broken> {
        let mut message = Message::default();
        message.head(reader, kind).map_err(|end| end.of(&message))?;
        message.rest(reader).map_err(|end| end.of(&message))?;
        Ok(message)
    }

    /// Reads the head of a message, and no byte of its body.
    pub fn read_head(reader: &mut impl BufRead, kind: Kind) -> Result<Message, Broken> {
        let mut message = Message::default();
        message.head(reader, kind).map_err(|end| end.of(&message))?;
        Ok(message)
    }

    fn head(&mut self, reader: &mut impl BufRead, kind: Kind) -> Result<(), End> {
        self.line = line(reader)?;
        first_line(&self.line, kind)?;
        fields(reader, &mut self.fields)?;
        self.framing = self.framed(kind)?;
        Ok(())
    }

    fn framed(&self, kind: Kind) -> Result<Framing, End> {
        let (coding, length) = (self.all("transfer-encoding"), self.all("content-length"));
        let bodiless = kind == Kind::HeadResponse
            || kind == Kind::Response && matches!(self.status(), 100..=199 | 204 | 304);
        match (&coding[..], &length[..]) {
            ([], []) if kind == Kind::Response && !bodiless => Ok(Framing::Close),
            ([], []) => Ok(Framing::None),
            ([], ["0"]) if bodiless => Ok(Framing::None),
            _ if kind != Kind::Request && matches!(self.status(), 100..=199 | 204) => {
                wrong("framing of a status that has no body", &self.line)
            }
            ([], [length]) if length.bytes().all(|b| b.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| End::Wrong(format!("length {length}")))?;
                Ok(if bodiless { Framing::None } else { Framing::Length(length) })
            }
            ([coding], [])
                if coding.eq_ignore_ascii_case("chunked") && !self.line.starts_with("HTTP/1.0") =>
            {
                Ok(if bodiless { Framing::None } else { Framing::Chunked })
            }
            _ => wrong("framing", &format!("{coding:?} {length:?}")),
        }
    }

    fn rest(&mut self, reader: &mut impl BufRead) -> Result<(), End> {
        match self.framing {
            Framing::None => Ok(()),
            Framing::Length(length) => take(reader, length, &mut self.body),
            Framing::Chunked => self.chunks(reader),
            Framing::Close => reader.take(MAX).read_to_end(&mut self.body).map(drop).map_err(|_| End::Amid),
        }
    }

    fn chunks(&mut self, reader: &mut impl BufRead) -> Result<(), End> {
        loop {
            let text = line(reader).map_err(End::within)?;
            let size = text.split(';').next().unwrap_or_default();
            let digits = !size.is_empty() && size.bytes().all(|b| b.is_ascii_hexdigit());
            let size = u64::from_str_radix(size, 16).ok().filter(|size| digits && *size <= MAX);
            let Some(size) = size else { return wrong("chunk size", &text) };
            if size == 0 {
                return fields(reader, &mut self.trailers);
            }
            take(reader, size, &mut self.body)?;
            let mut end = Vec::new();
            take(reader, 2, &mut end)?;
            if end != b"\r\n" {
                return wrong("end of a chunk", &latin(&end));
            }
        }
    }
}

/// Why reading ended.
enum End {
    Before,
    Amid,
    Wrong(String),
}

impl End {
    fn of(self, message: &Message) -> Broken {
        match self {
            End::Before => Broken::Closed,
            End::Amid => Broken::Cut(Box::new(message.clone())),
            End::Wrong(what) => Broken::Wrong(what),
        }
    }

    fn within(self) -> End {
        if matches!(self, End::Before) { End::Amid } else { self }
    }
}

fn wrong<T>(what: &str, text: &str) -> Result<T, End> {
    Err(End::Wrong(format!("{what}: {text:?}")))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

/// A line that ends with CRLF and has no other control character than tabs.
fn line(reader: &mut impl BufRead) -> Result<String, End> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX).read_until(b'\n', &mut bytes);
    match read {
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            return wrong("silence after", &latin(&bytes));
        }
        _ if bytes.is_empty() => return Err(End::Before),
        _ if !bytes.ends_with(b"\n") => return Err(End::Amid),
        _ => {}
    }
    let Some(text) = bytes.strip_suffix(b"\r\n") else { return wrong("bare LF", &latin(&bytes)) };
    if text.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
        return wrong("control character", &latin(text));
    }
    Ok(latin(text))
}

fn first_line(line: &str, kind: Kind) -> Result<(), End> {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let good = match (kind, &words[..]) {
        (Kind::Request, [method, target, "HTTP/1.1"]) => {
            let good = |c: char| c.is_ascii_graphic() || c >= '\u{80}';
            is_token(method) && !target.is_empty() && target.chars().all(good)
        }
        (Kind::Response | Kind::HeadResponse, ["HTTP/1.1" | "HTTP/1.0", status, _]) => {
            status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    };
    if good { Ok(()) } else { wrong("first line", line) }
}

fn fields(reader: &mut impl BufRead, to: &mut Vec<Field>) -> Result<(), End> {
    loop {
        let line = line(reader).map_err(End::within)?;
        if line.is_empty() {
            return Ok(());
        }
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_token(name)) else {
            return wrong("field", &line);
        };
        to.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn take(reader: &mut impl BufRead, count: u64, to: &mut Vec<u8>) -> Result<(), End> {
    let read = reader.take(count).read_to_end(to);
    if read.is_ok_and(|read| read as u64 == count) { Ok(()) } else { Err(End::Amid) }
}
