//! Where a request ends: RFC 9112 section 6. Two that disagree about it let one client speak for another.

use crate::harness::cases::{Case, Want, either, passed, refused, run};

const LINE: &str = "POST /a HTTP/1.1";

/// A POST with these fields and this body.
fn post(name: &'static str, fields: &str, body: &str, want: Want) -> Case {
    let fields: String = fields.split('|').filter(|f| !f.is_empty()).map(|f| format!("{f}\r\n")).collect();
    (name, format!("{LINE}\r\nhost: shop\r\n{fields}\r\n{body}").into_bytes(), want)
}

const CODING: Want = Want::Refused(&[400, 501]);

#[test]
fn a_length_is_taken_as_it_is_or_refused() {
    let hello = || passed(LINE, "hello");
    let length = |value: &str| format!("content-length: {value}");
    run(&[
        post("a length", "content-length: 5", "hello", hello()),
        post("no length is no body", "", "", passed(LINE, "")),
        post("a length of zero", "content-length: 0", "", passed(LINE, "")),
        post("zeros before it", "content-length: 0005", "hello", hello()),
        post("blanks and tabs around it", "content-length: \t 5 \t", "hello", hello()),
        post("no blank before it", "Content-Length:5", "hello", hello()),
        post("twice the same", "content-length: 5|content-length: 5", "hello", either(LINE, "hello")),
        post("a list of the same", "content-length: 5, 5", "hello", either(LINE, "hello")),
        post("two lengths", "content-length: 5|content-length: 6", "hello", refused()),
        post("two lengths, the other way", "content-length: 0|content-length: 5", "hello", refused()),
        post(
            "two lengths with others between",
            "content-length: 5|x: y|Content-length: 0",
            "hello",
            refused(),
        ),
        post("a list of two", "content-length: 5, 6", "hello", refused()),
        post("a plus sign", "content-length: +5", "hello", refused()),
        post("a minus sign", "content-length: -5", "hello", refused()),
        post("minus zero", "content-length: -0", "", refused()),
        post("two numbers", "content-length: 5 5", "hello", refused()),
        post("hexadecimal", "content-length: 0x5", "hello", refused()),
        post("hexadecimal digits", "content-length: a", "hellohello", refused()),
        post("a number and more", "content-length: 5a", "hello", refused()),
        post("a fraction", "content-length: 5.0", "hello", refused()),
        post("an exponent", "content-length: 5e0", "hello", refused()),
        post("an underscore", "content-length: 0_5", "hello", refused()),
        post("a quoted number", "content-length: \"5\"", "hello", refused()),
        post("nothing", "content-length:", "", refused()),
        post("a comma behind it", "content-length: 5,", "hello", refused()),
        post("a comma before it", "content-length: ,5", "hello", refused()),
        post("2^64", &length("18446744073709551616"), "", refused()),
        post("2^64 and 5", &length("18446744073709551621"), "hello", refused()),
        post("2^128 and 5", &length("340282366920938463463374607431768211461"), "hello", refused()),
        post("many digits", &length(&"9".repeat(300)), "", refused()),
        post("a vertical tab", "content-length: \x0b5", "hello", refused()),
        post("a name that only looks like it", "content_length: 9|content-length: 5", "hello", hello()),
    ]);
}

#[test]
fn chunked_is_the_only_coding_and_never_comes_with_a_length() {
    let (coding, chunks) = ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n");
    let hello = || passed(LINE, "hello");
    run(&[
        post("chunked", coding, chunks, hello()),
        post("in capitals", "Transfer-Encoding: CHUNKED", chunks, hello()),
        post("blanks around it", "transfer-encoding: \t chunked \t", chunks, hello()),
        post("a length before it", "content-length: 5|transfer-encoding: chunked", chunks, refused()),
        post("a length behind it", "transfer-encoding: chunked|content-length: 5", chunks, refused()),
        post("a length of zero", "content-length: 0|transfer-encoding: chunked", chunks, refused()),
        post("a bad length", "content-length: x|transfer-encoding: chunked", chunks, refused()),
        post("a length, and an odd coding", "content-length: 5|transfer-encoding: x", "hello", CODING),
        post("a length, and no coding", "content-length: 5|transfer-encoding:", "hello", CODING),
        post("twice in two lines", "transfer-encoding: chunked|transfer-encoding: chunked", chunks, CODING),
        post("twice in one line", "transfer-encoding: chunked, chunked", chunks, CODING),
        post("gzip before it", "transfer-encoding: gzip, chunked", chunks, CODING),
        post(
            "gzip before it, in a line",
            "transfer-encoding: gzip|transfer-encoding: chunked",
            chunks,
            CODING,
        ),
        post("gzip behind it", "transfer-encoding: chunked, gzip", chunks, CODING),
        post(
            "gzip behind it, in a line",
            "transfer-encoding: chunked|transfer-encoding: gzip",
            chunks,
            CODING,
        ),
        post("gzip alone", "transfer-encoding: gzip", "hello", CODING),
        post("identity", "transfer-encoding: identity", "", CODING),
        post("identity behind it", "transfer-encoding: chunked, identity", chunks, CODING),
        post(
            "identity in a line behind it",
            "transfer-encoding: chunked|transfer-encoding: identity",
            chunks,
            CODING,
        ),
        post("a letter before it", "transfer-encoding: xchunked", chunks, CODING),
        post("a letter behind it", "transfer-encoding: chunkedx", chunks, CODING),
        post("a parameter", "transfer-encoding: chunked;q=1", chunks, CODING),
        post("in quotes", "transfer-encoding: \"chunked\"", chunks, CODING),
        post("an empty value", "transfer-encoding:", chunks, CODING),
        post("a vertical tab", "transfer-encoding: \x0bchunked", chunks, CODING),
        post("a form feed", "transfer-encoding: chunked\x0c", chunks, CODING),
        post("a blank before the colon", "transfer-encoding : chunked", chunks, refused()),
        post("a comma before it", "transfer-encoding: , chunked", chunks, either(LINE, "hello")),
        post("a comma behind it", "transfer-encoding: chunked,", chunks, either(LINE, "hello")),
        post("on a folded line", "transfer-encoding:\r\n chunked", chunks, either(LINE, "hello")),
        post(
            "a name that only looks like it",
            "transfer_encoding: chunked|content-length: 5",
            "hello",
            hello(),
        ),
    ]);
}

#[test]
fn old_versions_know_no_chunks() {
    let old = |fields: &str, body: &str| {
        format!("POST /a HTTP/1.0\r\nhost: shop\r\n{fields}\r\n\r\n{body}").into_bytes()
    };
    run(&[
        ("a length", old("content-length: 5", "hello"), passed(LINE, "hello")),
        ("chunks", old("transfer-encoding: chunked", "0\r\n\r\n"), Want::Refused(&[400, 501])),
        (
            "a length and chunks",
            old("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
            Want::Refused(&[400, 501]),
        ),
        ("neither", old("x: y", ""), passed(LINE, "")),
    ]);
}

#[test]
fn any_method_may_have_a_body() {
    let with = |method: &str| {
        format!("{method} /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhello").into_bytes()
    };
    run(&[
        ("GET", with("GET"), passed("GET /a HTTP/1.1", "hello")),
        ("HEAD", with("HEAD"), either("HEAD /a HTTP/1.1", "hello")),
        ("DELETE", with("DELETE"), passed("DELETE /a HTTP/1.1", "hello")),
        ("OPTIONS", with("OPTIONS"), passed("OPTIONS /a HTTP/1.1", "hello")),
        ("QUERY", with("QUERY"), passed("QUERY /a HTTP/1.1", "hello")),
    ]);
}
