//! Chunks of a request: RFC 9112 section 7.1. Each must be read as it is meant, or not at all.

use crate::harness::Rig;
use crate::harness::cases::{Case, Want, either, passed, run};
use crate::harness::strict::Framing;

const LINE: &str = "POST /a HTTP/1.1";

fn chunked(name: &'static str, chunks: &str, want: Want) -> Case {
    let head = format!("{LINE}\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n");
    (name, (head + chunks).into_bytes(), want)
}

#[test]
fn chunks_are_read_as_they_are_meant() {
    let hello = || passed(LINE, "hello");
    run(&[
        chunked("no chunk", "0\r\n\r\n", passed(LINE, "")),
        chunked("one", "5\r\nhello\r\n0\r\n\r\n", hello()),
        chunked("several", "1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n", hello()),
        chunked("a small letter", "a\r\nhellohello\r\n0\r\n\r\n", passed(LINE, "hellohello")),
        chunked("a capital letter", "A\r\nhellohello\r\n0\r\n\r\n", passed(LINE, "hellohello")),
        chunked("zeros before the size", "0005\r\nhello\r\n000\r\n\r\n", hello()),
        chunked("an extension", "5;a\r\nhello\r\n0;b\r\n\r\n", hello()),
        chunked("an extension with a value", "5;a=b\r\nhello\r\n0\r\n\r\n", hello()),
        chunked("an extension in quotes", "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", hello()),
        chunked("several extensions", "5;a;b=c;d=\"e\"\r\nhello\r\n0\r\n\r\n", hello()),
        chunked(
            "a body that looks like a last chunk",
            "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            passed(LINE, "\r\n0\r\n\r\n"),
        ),
        chunked("a trailer", "5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n", hello()),
    ]);
}

/// Some may be forgiven, if what is passed on is without a fault.
#[test]
fn odd_chunks_are_mended_or_refused() {
    let many_zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(30));
    let hello = || either(LINE, "hello");
    run(&[
        chunked("a blank behind the size", "5 \r\nhello\r\n0\r\n\r\n", hello()),
        chunked("a tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n", hello()),
        chunked("blanks before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n", hello()),
        chunked("many zeros before the size", &many_zeros, hello()),
        chunked("a bare LF behind a trailer", "5\r\nhello\r\n0\r\nx-sum: 7\n\r\n", hello()),
    ]);
}

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1 << 20));
    let digits = format!("{}5\r\nhello\r\n0\r\n\r\n", "1".repeat(1 << 10));
    run(&[
        chunked("a plus sign", "+5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a minus sign", "-5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("0x", "0x5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a letter beyond f", "5g\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("an underscore", "0_5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("no size", "\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("an extension without a size", ";a\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a blank before the size", " 5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a blank amid the size", "0 5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a comma", "5,5\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("2^64 and 5", "10000000000000005\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("2^64", "10000000000000000\r\n\r\n", Want::Broken),
        chunked("many digits", &digits, Want::Broken),
        chunked("a bare LF behind the size", "5\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a bare LF behind the data", "5\r\nhello\n0\r\n\r\n", Want::Broken),
        chunked("a bare LF behind the last size", "5\r\nhello\r\n0\n\r\n", Want::Broken),
        chunked("a bare LF at the end", "5\r\nhello\r\n0\r\n\n", Want::Broken),
        chunked("two bare LF at the end", "5\r\nhello\r\n0\n\n", Want::Broken),
        chunked("a bare CR behind the size", "5\rhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a bare CR behind the data", "5\r\nhello\r0\r\n\r\n", Want::Broken),
        chunked("a bare CR amid the size line", "5\r;a\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("a bare LF in quotes", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("data longer than the size", "5\r\nhello!\r\n0\r\n\r\n", Want::Broken),
        chunked("data much longer than the size", "5\r\nhelloXX0\r\n\r\n", Want::Broken),
        chunked("data shorter than the size", "6\r\nhello\r\n0\r\n\r\n", Want::Broken),
        chunked("an extension without an end", &long, Want::Broken),
        chunked("another request as the size", "GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n", Want::Broken),
    ]);
}

#[test]
fn trailers_that_are_no_fields_are_refused() {
    let last = |trailers: &str| format!("5\r\nhello\r\n0\r\n{trailers}\r\n\r\n");
    let (long, many) = (format!("x: {}", "y".repeat(1 << 20)), "x: y\r\n".repeat(10_000) + "x: y");
    run(&[
        chunked("no colon", &last("x-sum"), Want::Broken),
        chunked("a blank before the colon", &last("x-sum : 7"), Want::Broken),
        chunked("a blank in front", &last(" x-sum: 7"), Want::Broken),
        chunked("no name", &last(": 7"), Want::Broken),
        chunked("a bare CR", &last("x-sum: 7\rx: 8"), Want::Broken),
        chunked("NUL", &last("x-sum: \0"), Want::Broken),
        chunked("a request", &last("GET /smuggled HTTP/1.1"), Want::Broken),
        chunked("too long", &last(&long), Want::Broken),
        chunked("too many", &last(&many), Want::Broken),
    ]);
}

#[test]
fn a_chunked_body_stays_one_when_it_comes_byte_by_byte() {
    let rig = Rig::new();
    let mut client = rig.client();
    let (_, sent, _) = chunked("", "5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 7\r\n\r\n", Want::Broken);
    for byte in &sent {
        assert!(client.try_send([*byte]));
    }
    assert_eq!(client.answer().text(), "ok");
    let heard = rig.tape.messages();
    assert_eq!((heard[0].framing, heard[0].text().as_str()), (Framing::Chunked, "hello world"));
}
