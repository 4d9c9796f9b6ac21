//! Chunks, checked as they pass: RFC 9112 section 7.1.
//!
//! Nothing is copied. [`Chunks::next`] says what the next bytes are; those that are as they should be can be passed on
//! as they stand, extensions are left out.

use crate::http1::field::{Kind, MAX_FIELDS};

/// Most digits of a chunk's size: below 2^60.
const MAX_SIZE_DIGITS: u8 = 15;
/// Most bytes of a chunk's extension.
const MAX_EXTENSION: u16 = 1024;
/// Most bytes of the extensions of a whole body that has no more data than that: who sends little data in many
/// extensions wants to cost work.
const MAX_EXTENSIONS: u64 = 16 << 10;
/// Most bytes of the trailers.
pub const MAX_TRAILERS: usize = 8 << 10;

/// How far a chunked body has been read.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    state: State,
    /// Bytes of the chunk that are still to come.
    left: u64,
    digits: u8,
    extension: u16,
    extensions: u64,
    data: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In a size.
    #[default]
    Size,
    /// In blanks behind a size.
    Blank,
    /// In an extension.
    Extension,
    /// After the CR of a size.
    SizeEnd,
    Data,
    /// Before the CR of a chunk.
    DataCr,
    /// Before the LF of a chunk.
    DataLf,
    Trailers,
    End,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of framing, to be passed on as they stand.
    Frame(usize),
    /// So many bytes of data.
    Data(usize),
    /// So many bytes of extensions, to be left out.
    Extension(usize),
    /// The trailers, so many bytes with the empty line after them: see [`trailers`]. 2 if there are none.
    Trailers(usize),
    /// More bytes are needed.
    More,
    /// The body has ended; the next bytes are not part of it.
    End,
}

/// Chunks that are not as they should be, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk(pub &'static str);

impl Chunks {
    /// What the first of these bytes are. They are taken as read, except with [`Piece::More`]: bytes after it must be
    /// offered again with more behind them, which is only asked for in trailers and with an empty input.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        match self.state {
            State::End => return Ok(Piece::End),
            State::Trailers => return self.trailers(input),
            State::Data if !input.is_empty() => return Ok(self.take_data(input)),
            State::Blank | State::Extension if !matches!(input.first(), None | Some(b'\r')) => {
                return self.skip_extension(input);
            }
            State::Size
            | State::SizeEnd
            | State::Data
            | State::DataCr
            | State::DataLf
            | State::Blank
            | State::Extension => {}
        }
        let mut used = 0;
        while let Some(byte) = input.get(used).filter(|_| self.is_in_frame()) {
            if self.state == State::Size && begins_extension(*byte) {
                break;
            }
            self.frame(*byte)?;
            used += 1;
        }
        match (used, input.first()) {
            (0, None) => Ok(Piece::More),
            (0, Some(_)) => self.begin_extension(input),
            (used, _) => Ok(Piece::Frame(used)),
        }
    }

    /// How many of these bytes can be passed on as they stand: frames and data up to the first extension or trailer.
    /// Trailers that are empty are passed on, too. 0: see [`Chunks::next`].
    pub fn run(&mut self, input: &[u8]) -> Result<usize, BadChunk> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if !self.is_plain(rest) {
                return Ok(used);
            }
            match self.next(rest)? {
                Piece::Frame(bytes) | Piece::Data(bytes) | Piece::Trailers(bytes) => used += bytes,
                Piece::Extension(_) | Piece::More | Piece::End => return Ok(used),
            }
        }
    }

    /// Whether the body has ended.
    pub fn is_ended(&self) -> bool {
        self.state == State::End
    }

    /// Bytes of data in all chunks whose sizes have been read.
    pub fn data(&self) -> u64 {
        self.data
    }

    /// Bytes of the chunk under way that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether the next piece of these bytes can be passed on as it stands.
    fn is_plain(&self, input: &[u8]) -> bool {
        match self.state {
            State::End => false,
            State::Trailers => input.starts_with(b"\r\n"),
            State::Size => input.first().is_some_and(|b| !begins_extension(*b)),
            State::Blank | State::Extension => input.first() == Some(&b'\r'),
            State::SizeEnd | State::Data | State::DataCr | State::DataLf => !input.is_empty(),
        }
    }

    fn is_in_frame(&self) -> bool {
        match self.state {
            State::Size
            | State::SizeEnd
            | State::DataCr
            | State::DataLf
            | State::Blank
            | State::Extension => true,
            State::Data | State::Trailers | State::End => false,
        }
    }

    fn frame(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeEnd,
            (State::Size, _) => return self.digit(byte),
            (State::Blank | State::Extension, b'\r') => State::SizeEnd,
            (State::SizeEnd, b'\n') => self.begin_chunk(),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            _ => return Err(BadChunk("a chunk without CRLF")),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), BadChunk> {
        let digit = char::from(byte).to_digit(16).ok_or(BadChunk("a chunk size that is no number"))?;
        if self.digits == MAX_SIZE_DIGITS {
            return Err(BadChunk("a chunk size that is too long"));
        }
        self.digits += 1;
        self.left = self.left * 16 + u64::from(digit);
        Ok(())
    }

    fn begin_chunk(&mut self) -> State {
        (self.digits, self.extension) = (0, 0);
        self.data = self.data.saturating_add(self.left);
        if self.left == 0 { State::Trailers } else { State::Data }
    }

    fn take_data(&mut self, input: &[u8]) -> Piece {
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        Piece::Data(taken)
    }

    fn begin_extension(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        if self.digits == 0 {
            return Err(BadChunk("a chunk without a size"));
        }
        self.state = State::Blank;
        self.skip_extension(input)
    }

    /// Up to the CR of the line, which is framing again. Nothing but blanks comes before the semicolon.
    fn skip_extension(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        let length = input.iter().position(|b| *b == b'\r').unwrap_or(input.len());
        if self.state == State::Blank {
            match input.iter().take(length).find(|b| !matches!(b, b' ' | b'\t')) {
                Some(b';') => self.state = State::Extension,
                Some(_) => return Err(BadChunk("a chunk size that is no number")),
                None => {}
            }
        }
        let allowed = |b: &u8| matches!(b, b'\t' | b' '..=0x7e | 0x80..);
        if !input.iter().take(length).all(allowed) {
            return Err(BadChunk("an invalid byte in a chunk extension"));
        }
        self.extensions += length as u64;
        self.extension = self.extension.saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
        if self.extension > MAX_EXTENSION || self.extensions > MAX_EXTENSIONS.max(self.data) {
            return Err(BadChunk("chunk extensions that are too long"));
        }
        Ok(Piece::Extension(length))
    }

    fn trailers(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        let Some(length) = trailers_end(input) else {
            let too_long = input.len() > MAX_TRAILERS;
            return if too_long { Err(BadChunk("trailers that are too long")) } else { Ok(Piece::More) };
        };
        if length > MAX_TRAILERS {
            return Err(BadChunk("trailers that are too long"));
        }
        self.state = State::End;
        Ok(Piece::Trailers(length))
    }
}

fn begins_extension(byte: u8) -> bool {
    matches!(byte, b';' | b' ' | b'\t')
}

/// The length of the trailers with the empty line after them, if all of it is there.
fn trailers_end(input: &[u8]) -> Option<usize> {
    if input.starts_with(b"\r\n") {
        return Some(2);
    }
    input.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// The trailers of `section` that may be passed on, checked and in order: none that frames, routes, or is between two
/// neighbours only (RFC 9110 section 6.5.1). `section` is what [`Piece::Trailers`] spans.
pub fn trailers(section: &[u8]) -> Result<Vec<(&str, &[u8])>, BadChunk> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let parsed = match httparse::parse_headers(section, &mut headers) {
        Ok(httparse::Status::Complete((used, parsed))) if used == section.len() => parsed,
        Ok(_) | Err(_) => return Err(BadChunk("invalid trailers")),
    };
    let lines = section.split(|b| *b == b'\n');
    if !lines.filter(|line| !line.is_empty()).all(|line| line.ends_with(b"\r")) {
        return Err(BadChunk("trailers without CRLF"));
    }
    let passes =
        |name: &str| Kind::of(name.as_bytes()) == Kind::Other && !name.eq_ignore_ascii_case("trailer");
    Ok(parsed.iter().filter(|h| passes(h.name)).map(|h| (h.name, h.value)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is passed on, the data, and what follows the body.
    type Read = Result<(Vec<u8>, Vec<u8>, Option<Vec<u8>>), BadChunk>;

    /// Reads input that comes in parts.
    fn read(parts: &[&[u8]]) -> Read {
        let (mut chunks, mut passed, mut data) = (Chunks::default(), Vec::new(), Vec::new());
        let mut input = Vec::new();
        for part in parts {
            input.extend_from_slice(part);
            loop {
                let piece = chunks.next(&input)?;
                let used = match piece {
                    Piece::Frame(n) | Piece::Data(n) | Piece::Extension(n) | Piece::Trailers(n) => n,
                    Piece::More | Piece::End => break,
                };
                assert!(used > 0 && used <= input.len(), "{piece:?}");
                let bytes: Vec<u8> = input.drain(..used).collect();
                match piece {
                    Piece::Frame(_) => passed.extend(bytes),
                    Piece::Data(_) => {
                        passed.extend(&bytes);
                        data.extend(bytes);
                    }
                    Piece::Trailers(_) => {
                        for (name, value) in trailers(&bytes)? {
                            passed.extend(
                                name.bytes().chain(*b": ").chain(value.iter().copied()).chain(*b"\r\n"),
                            );
                        }
                        passed.extend(b"\r\n");
                    }
                    Piece::Extension(_) | Piece::More | Piece::End => {}
                }
            }
        }
        Ok((passed, data, chunks.is_ended().then_some(input)))
    }

    fn whole(text: &str) -> Read {
        read(&[text.as_bytes()])
    }

    #[test]
    fn chunks_pass_as_they_are() {
        let text = "5\r\nhello\r\n0A\r\n0123456789\r\n000\r\n\r\nGET /";
        let (passed, data, rest) = whole(text).unwrap();
        assert_eq!(passed, &text.as_bytes()[..text.len() - 5]);
        assert_eq!(data, b"hello0123456789");
        assert_eq!(rest, Some(b"GET /".to_vec()));
    }

    #[test]
    fn extensions_are_left_out() {
        let (passed, ..) = whole("5;a=\"b;\";c\r\nhello\r\n0 ;x\r\n\r\n").unwrap();
        assert_eq!(passed, b"5\r\nhello\r\n0\r\n\r\n");
    }

    #[test]
    fn trailers_that_frame_or_route_are_left_out() {
        let text = "0\r\nx-sum: 7\r\nContent-Length: 5\r\nTrailer: x\r\nhost: a\r\nx-forwarded-for: b\r\nconnection: close\r\n\r\n";
        let (passed, ..) = whole(text).unwrap();
        assert_eq!(passed, b"0\r\nx-sum: 7\r\n\r\n");
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for bad in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello",
            " 5\r\nhello",
            ";a\r\n",
            "5\nhello\n",
            "5\r\nhello0\r\n",
            "5\r\nhello\n0\r\n",
            "5\r\nhello!\r\n",
            "5\rhello",
            "5;a\nb\r\nhello",
            "5;\0\r\nhello",
            "1000000000000000\r\n",
            "0 5\r\nhello",
            "5 a\r\nhello",
            "0\r\nx\r\n\r\n",
            "0\r\n x: 1\r\n\r\n",
            "0\r\nx: 1\ny: 2\r\n\r\n",
            "0\r\nx : 1\r\n\r\n",
            "0\r\nx: a\rb\r\n\r\n",
        ] {
            assert!(whole(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn everything_has_a_bound() {
        let long = "x".repeat(2000);
        assert!(whole(&format!("5;{long}\r\nhello\r\n")).is_err());
        assert!(whole(&format!("1;{}\r\na\r\n", &long[..900]).repeat(30)).is_err());
        assert!(whole(&format!("0\r\nx: {}", long.repeat(5))).is_err());
        assert!(whole(&format!("0\r\n{}\r\n", "a: 1\r\n".repeat(101))).is_err());
    }

    #[test]
    fn a_run_ends_where_something_has_to_be_left_out() {
        let mut chunks = Chunks::default();
        let input = b"5\r\nhello\r\n3;a=1\r\nabc\r\n0\r\n\r\nrest";
        let first = chunks.run(input).unwrap();
        assert_eq!(&input[..first], b"5\r\nhello\r\n3");
        assert_eq!(chunks.next(&input[first..]).unwrap(), Piece::Extension(4));
        let second = chunks.run(&input[first + 4..]).unwrap();
        assert_eq!(&input[first + 4..][..second], b"\r\nabc\r\n0\r\n\r\n");
        assert!(chunks.is_ended());
    }

    fn body() -> impl Strategy<Value = String> {
        let chunk = ("[a-z\r\n;0-9]{1,20}", prop::option::of("[ -~]{1,8}"), 0..3usize).prop_map(
            |(data, ext, zeros)| {
                let (extension, zeros) = (ext.map_or(String::new(), |e| format!(";{e}")), "0".repeat(zeros));
                format!("{zeros}{:x}{extension}\r\n{data}\r\n", data.len())
            },
        );
        let trailers = prop::collection::vec("x-[a-z]{1,5}: [a-z ]{0,9}[a-z]\r\n", 0..3);
        (prop::collection::vec(chunk, 0..6), trailers, "[ -~]{0,9}").prop_map(|(chunks, trailers, rest)| {
            format!("{}0\r\n{}\r\n{rest}", chunks.concat(), trailers.concat())
        })
    }

    fn parts<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect()
    }

    proptest! {
        #[test]
        fn however_a_body_comes_it_is_the_same(text in body(), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
            let at_once = whole(&text).unwrap();
            prop_assert!(at_once.2.is_some());
            prop_assert_eq!(read(&parts(text.as_bytes(), &cuts)).unwrap(), at_once);
        }

        #[test]
        fn however_bytes_come_the_verdict_is_the_same(
            text in "[0-9a-f;: x\r\n]{0,60}", cuts in prop::collection::vec(any::<usize>(), 0..9),
        ) {
            prop_assert_eq!(read(&parts(text.as_bytes(), &cuts)), whole(&text));
        }

        #[test]
        fn a_run_is_what_the_pieces_are(text in body()) {
            let (mut by_run, mut by_piece) = (Chunks::default(), Chunks::default());
            let input = text.as_bytes();
            let run = by_run.run(input).unwrap();
            let mut used = 0;
            while used < run {
                match by_piece.next(&input[used..]).unwrap() {
                    Piece::Frame(n) | Piece::Data(n) => used += n,
                    Piece::Trailers(n) => { prop_assert_eq!(n, 2); used += n; }
                    other @ (Piece::Extension(_) | Piece::More | Piece::End) => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(used, run);
        }
    }
}
