//! The head of a response.

use std::mem::MaybeUninit;

use crate::http1::field::{Fields, MAX_FIELDS, Span};
use crate::http1::framing::{self, BadFraming, Framing};
use crate::http1::{Parsed, Version};

/// Largest head in bytes.
pub const MAX_HEAD: usize = 64 << 10;

/// The head of a response, as spans of the bytes that it was read from. Meant to be used again and again.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Its status, from 100 to 599.
    pub status: u16,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub fields: Fields,
    /// Where its fields begin.
    pub(crate) first_field: u32,
}

/// A response that can't be passed on: its reader could take it for another one. And what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadResponse(pub &'static str);

impl ResponseHead {
    /// Reads a head from the first of these bytes.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Parsed, BadResponse> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        if bytes.first().is_some_and(|first| *first != b'H') {
            return Err(BadResponse("no status line"));
        }
        let status = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
            .map_err(refused)?;
        let httparse::Status::Complete(end) = status else {
            return if bytes.len() >= MAX_HEAD {
                Err(BadResponse("a head that is too large"))
            } else {
                Ok(Parsed::Partial)
            };
        };
        if end > MAX_HEAD {
            return Err(BadResponse("a head that is too large"));
        }
        self.version = Version::of(parsed.version);
        self.status =
            parsed.code.filter(|code| (100..600).contains(code)).ok_or(BadResponse("an invalid status"))?;
        let first = parsed.headers.first();
        let first =
            first.map_or(end.saturating_sub(2), |first| Span::of(first.name.as_bytes(), bytes).start());
        self.first_field = u32::try_from(first).unwrap_or(0);
        self.fields.read(bytes, parsed.headers, end).map_err(|bad| BadResponse(bad.0))?;
        if bytes.get(first.wrapping_sub(2)..first) != Some(b"\r\n") {
            return Err(BadResponse("an invalid status line"));
        }
        Ok(Parsed::Complete(end))
    }

    /// Whether another response follows this one.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// How long its body is. `to_head`: it answers HEAD.
    pub fn framing(&self, to_head: bool) -> Result<Framing, BadResponse> {
        let chunks = self.version == Version::Http11;
        let framing = framing::of_response(self.fields.facts.length, self.fields.facts.coding, chunks);
        let framing = framing.map_err(|bad| match bad {
            BadFraming::Malformed(what) => BadResponse(what),
            BadFraming::Unknown => BadResponse("a transfer coding that is not known"),
        })?;
        let bodiless = to_head || matches!(self.status, 100..=199 | 204 | 304);
        Ok(if bodiless { Framing::None } else { framing })
    }

    /// Whether the endpoint keeps the connection.
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !self.fields.facts.close,
            Version::Http10 => self.fields.facts.keep_alive && !self.fields.facts.close,
        }
    }

    /// All values of the fields with this name, in order.
    pub fn values<'a>(&'a self, bytes: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.values(bytes, name)
    }
}

fn refused(error: httparse::Error) -> BadResponse {
    BadResponse(match error {
        httparse::Error::TooManyHeaders => "too many headers",
        httparse::Error::HeaderName => "an invalid header name",
        httparse::Error::HeaderValue => "an invalid header value",
        httparse::Error::NewLine => "an invalid line break",
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status => {
            "an invalid status line"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<(ResponseHead, usize), BadResponse> {
        let mut head = ResponseHead::default();
        match head.parse(text.as_bytes())? {
            Parsed::Complete(length) => Ok((head, length)),
            Parsed::Partial => Err(BadResponse("partial")),
        }
    }

    fn framing(text: &str, to_head: bool) -> Result<Framing, BadResponse> {
        told(text)?.0.framing(to_head)
    }

    #[test]
    fn a_response_says_how_long_it_is() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", false), Ok(Framing::Length(5)));
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false),
            Ok(Framing::Chunked)
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", false), Ok(Framing::UntilClose));
        assert_eq!(framing("HTTP/1.0 200\r\n\r\n", false), Ok(Framing::UntilClose));
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        assert_eq!(framing("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true), Ok(Framing::None));
        for status in ["100", "103", "204", "304"] {
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(framing(&text, false), Ok(Framing::None), "{status}");
        }
    }

    #[test]
    fn odd_responses_are_refused() {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 X\r\n\r\n",
            "HTTP/1.1 600 X\r\n\r\n",
            "HTTP/1.1 20 X\r\n\r\n",
            "HTTP/1.1 200 OK\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(framing(text, false).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_all_there_is_waited_for_up_to_a_limit() {
        let mut head = ResponseHead::default();
        assert_eq!(head.parse(b"HTTP/1.1 200 OK\r\na: b\r\n"), Ok(Parsed::Partial));
        let large = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD));
        assert!(head.parse(large.as_bytes()).is_err());
    }

    #[test]
    fn connections_are_kept_as_their_version_has_it() {
        for (text, kept) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(told(text).unwrap().0.keeps_alive(), kept, "{text:?}");
        }
    }
}
