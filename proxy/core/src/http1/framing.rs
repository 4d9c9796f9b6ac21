//! How long a body is: RFC 9112 section 6.3, without its leniencies.

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// With the connection. Responses only.
    UntilClose,
}

/// What `Content-Length` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// Nothing.
    #[default]
    None,
    /// So many bytes.
    Bytes(u64),
    /// It stands there twice, or is no number.
    Bad,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Nothing.
    #[default]
    None,
    /// `chunked` and nothing else.
    Chunked,
    /// A coding that is not known here.
    Unknown,
    /// `chunked` twice or not at the end, or an empty list.
    Bad,
}

/// Most digits of a length: below 10^18, so that no sum of lengths is too large.
const MAX_DIGITS: usize = 18;

impl Length {
    /// Takes note of one field's value.
    pub(crate) fn add(&mut self, value: &[u8]) {
        *self = match (*self, digits(value)) {
            (Length::None, Some(bytes)) => Length::Bytes(bytes),
            (Length::None | Length::Bytes(_) | Length::Bad, _) => Length::Bad,
        };
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

impl Coding {
    /// Takes note of one field's value. Several fields are one list.
    pub(crate) fn add(&mut self, value: &[u8]) {
        for coding in super::field::tokens(value) {
            *self = match *self {
                Coding::Bad | Coding::Chunked => Coding::Bad,
                Coding::None | Coding::Unknown if coding.is_empty() => Coding::Bad,
                Coding::None if coding.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
                Coding::None | Coding::Unknown => Coding::Unknown,
            };
        }
    }
}

/// The framing of a request, or what is wrong with it. `chunks`: its version knows chunks.
pub(crate) fn of_request(length: Length, coding: Coding, chunks: bool) -> Result<Framing, BadFraming> {
    match (coding, length) {
        (Coding::Chunked, Length::None) if chunks => Ok(Framing::Chunked),
        (Coding::Chunked | Coding::Unknown | Coding::Bad, Length::None) if !chunks => {
            Err(BadFraming::Malformed("Transfer-Encoding in HTTP/1.0"))
        }
        (Coding::Unknown, Length::None) => Err(BadFraming::Unknown),
        (Coding::Chunked | Coding::Bad, Length::None) => {
            Err(BadFraming::Malformed("an invalid Transfer-Encoding"))
        }
        (Coding::Chunked | Coding::Unknown | Coding::Bad, Length::Bytes(_) | Length::Bad) => {
            Err(BadFraming::Malformed("both Content-Length and Transfer-Encoding"))
        }
        (Coding::None, Length::Bad) => Err(BadFraming::Malformed("an invalid Content-Length")),
        (Coding::None, Length::None | Length::Bytes(0)) => Ok(Framing::None),
        (Coding::None, Length::Bytes(bytes)) => Ok(Framing::Length(bytes)),
    }
}

/// The framing of a response that may have a body, or what is wrong with it.
pub(crate) fn of_response(length: Length, coding: Coding, chunks: bool) -> Result<Framing, BadFraming> {
    match (coding, length) {
        (Coding::None, Length::None) => Ok(Framing::UntilClose),
        (Coding::Unknown, Length::None) => Err(BadFraming::Malformed("an unknown Transfer-Encoding")),
        (coding, length) => of_request(length, coding, chunks),
    }
}

/// What is wrong with a framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFraming {
    /// It can be read in more than one way, or in none.
    Malformed(&'static str),
    /// A transfer coding that is not known here.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(values: &[&str]) -> Length {
        values.iter().fold(Length::None, |mut length, value| {
            length.add(value.as_bytes());
            length
        })
    }

    fn coding(values: &[&str]) -> Coding {
        values.iter().fold(Coding::None, |mut coding, value| {
            coding.add(value.as_bytes());
            coding
        })
    }

    #[test]
    fn one_number_is_a_length() {
        assert_eq!(length(&["0"]), Length::Bytes(0));
        assert_eq!(length(&["00012"]), Length::Bytes(12));
        assert_eq!(length(&["999999999999999999"]), Length::Bytes(999_999_999_999_999_999));
    }

    #[test]
    fn anything_else_is_none() {
        for odd in ["", "-1", "+1", "1 ", "0x1", "1,1", "1.0", "1e3", "18446744073709551616", "\u{661}"] {
            assert_eq!(length(&[odd]), Length::Bad, "{odd:?}");
        }
        assert_eq!(length(&["5", "5"]), Length::Bad, "twice is once too often");
        assert_eq!(length(&["x", "5"]), Length::Bad);
    }

    #[test]
    fn chunked_stands_alone() {
        assert_eq!(coding(&["Chunked"]), Coding::Chunked);
        for bad in [&["chunked, chunked"][..], &["chunked", "gzip"], &[""], &["gzip", ""], &["chunked,"]] {
            assert_eq!(coding(bad), Coding::Bad, "{bad:?}");
        }
        for unknown in
            [&["gzip, chunked"][..], &["identity"], &["xchunked"], &["chunked;q=1"], &["gzip", "chunked"]]
        {
            assert_eq!(coding(unknown), Coding::Unknown, "{unknown:?}");
        }
    }

    #[test]
    fn a_request_with_length_and_coding_is_refused() {
        for coding in [Coding::Chunked, Coding::Unknown, Coding::Bad] {
            for length in [Length::Bytes(0), Length::Bytes(4), Length::Bad] {
                assert!(matches!(of_request(length, coding, true), Err(BadFraming::Malformed(_))));
                assert!(of_response(length, coding, true).is_err());
            }
        }
    }

    #[test]
    fn a_request_has_no_body_unless_it_says_so() {
        assert_eq!(of_request(Length::None, Coding::None, true), Ok(Framing::None));
        assert_eq!(of_request(Length::Bytes(0), Coding::None, true), Ok(Framing::None));
        assert_eq!(of_request(Length::Bytes(7), Coding::None, false), Ok(Framing::Length(7)));
        assert_eq!(of_request(Length::None, Coding::Chunked, true), Ok(Framing::Chunked));
        assert_eq!(of_request(Length::None, Coding::Unknown, true), Err(BadFraming::Unknown));
        assert!(of_request(Length::None, Coding::Chunked, false).is_err(), "HTTP/1.0 knows no chunks");
    }

    #[test]
    fn a_response_goes_on_until_the_end_unless_it_says_when() {
        assert_eq!(of_response(Length::None, Coding::None, true), Ok(Framing::UntilClose));
        assert_eq!(of_response(Length::Bytes(0), Coding::None, true), Ok(Framing::None));
        assert!(of_response(Length::None, Coding::Unknown, true).is_err());
        assert!(of_response(Length::None, Coding::Chunked, false).is_err());
    }
}
