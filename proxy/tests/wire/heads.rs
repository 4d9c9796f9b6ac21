//! Heads of requests: RFC 9112 sections 2, 3 and 5. What is not one is refused, and never reaches an endpoint.

use crate::harness::Rig;
use crate::harness::cases::{Case, Want, either, passed, refused, run};

const LINE: &str = "GET /a HTTP/1.1";

/// A request with this first line.
fn line(name: &'static str, line: &str, want: Want) -> Case {
    (name, format!("{line}\r\nhost: shop\r\n\r\n").into_bytes(), want)
}

/// A request with this between its first line and its end.
fn fields(name: &'static str, fields: &str, want: Want) -> Case {
    (name, format!("{LINE}\r\nhost: shop\r\n{fields}\r\n\r\n").into_bytes(), want)
}

const VERSION: Want = Want::Refused(&[400, 505]);
const METHOD: Want = Want::Refused(&[400, 405, 501]);

#[test]
fn a_first_line_has_three_words_and_a_version_that_is_known() {
    run(&[
        line("as it should be", LINE, passed(LINE, "")),
        line("two blanks", "GET  /a HTTP/1.1", refused()),
        line("two blanks behind the target", "GET /a  HTTP/1.1", refused()),
        line("a blank in front", " GET /a HTTP/1.1", refused()),
        line("a blank at the end", "GET /a HTTP/1.1 ", VERSION),
        line("a tab", "GET\t/a HTTP/1.1", refused()),
        line("a tab before the version", "GET /a\tHTTP/1.1", refused()),
        line("four words", "GET /a b HTTP/1.1", VERSION),
        line("no version", "GET /a", VERSION),
        line("no target", "GET HTTP/1.1", refused()),
        line("one word", "GET", refused()),
        line("HTTP/0.9", "GET /a HTTP/0.9", VERSION),
        line("HTTP/2.0", "GET /a HTTP/2.0", VERSION),
        line("HTTP/3", "GET /a HTTP/3", VERSION),
        line("HTTP/1.10", "GET /a HTTP/1.10", VERSION),
        line("HTTP/1.", "GET /a HTTP/1.", VERSION),
        line("HTTP/11", "GET /a HTTP/11", VERSION),
        line("HTTP/1.1x", "GET /a HTTP/1.1x", VERSION),
        line("HTTP/01.1", "GET /a HTTP/01.1", VERSION),
        line("http/1.1", "GET /a http/1.1", VERSION),
        line("HTTPS/1.1", "GET /a HTTPS/1.1", VERSION),
        line("another protocol", "GET /a ICY/1.1", VERSION),
        line("HTTP/1.2 may be taken for 1.1", "GET /a HTTP/1.2", either(LINE, "")),
        line("NUL", "GET /a\0 HTTP/1.1", refused()),
        line("a bare CR", "GET /a HTTP/1.1\rx: y", VERSION),
        line("a bare CR amid", "GET /a\rb HTTP/1.1", refused()),
        ("lines before it", format!("\r\n{LINE}\r\nhost: shop\r\n\r\n").into_bytes(), either(LINE, "")),
        ("another protocol's greeting", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), refused()),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec(), refused()),
    ]);
}

#[test]
fn a_method_is_a_token_and_is_passed_on_as_it_is() {
    let custom = "CHECK-IN!#$%&'*+.^_`|~09 /a HTTP/1.1";
    run(&[
        line("another one", "PROPFIND /a HTTP/1.1", passed("PROPFIND /a HTTP/1.1", "")),
        line("one of our own", custom, passed(custom, "")),
        line("in small letters is another one", "get /a HTTP/1.1", passed("get /a HTTP/1.1", "")),
        line("none", " /a HTTP/1.1", refused()),
        line("a slash in it", "GE/T /a HTTP/1.1", METHOD),
        line("a colon in it", "GET: /a HTTP/1.1", METHOD),
        line("an at in it", "GE@T /a HTTP/1.1", METHOD),
        line("brackets", "[GET] /a HTTP/1.1", METHOD),
        line("quotes", "\"GET\" /a HTTP/1.1", METHOD),
        line("a control character", "GE\x01T /a HTTP/1.1", METHOD),
        line("a letter that is not ASCII", "GÉT /a HTTP/1.1", METHOD),
        line("CONNECT", "CONNECT shop:80 HTTP/1.1", Want::Denied(&[400, 405, 501])),
        line("CONNECT to a path", "CONNECT /a HTTP/1.1", Want::Denied(&[400, 405, 501])),
    ]);
}

#[test]
fn a_field_has_a_name_a_colon_and_a_value_on_one_line() {
    run(&[
        fields("a blank before the colon", "x : y", refused()),
        fields("a tab before the colon", "x\t: y", refused()),
        fields("no name", ": y", refused()),
        fields("no colon", "x y", refused()),
        fields("a blank in a name", "x y: z", refused()),
        fields("a bracket in a name", "x(y): z", refused()),
        fields("a slash in a name", "x/y: z", refused()),
        fields("quotes in a name", "\"x\": z", refused()),
        fields("a name that is not ASCII", "é: y", refused()),
        fields("NUL in a name", "x\0: y", refused()),
        fields("a control character in a name", "x\x01: y", refused()),
        fields("NUL in a value", "x: y\0z", refused()),
        fields("a control character in a value", "x: y\x01z", refused()),
        fields("DEL in a value", "x: y\x7fz", refused()),
        fields("a bell in a value", "x: \x07", refused()),
        fields("an escape in a value", "x: \x1b[2J", refused()),
        fields("a bare CR in a value", "x: y\rz: 1", refused()),
        fields("a bare CR in front of a name", "\rx: y", refused()),
        fields("a CR too many", "x: y\r", refused()),
        fields("a folded line may be joined", "x: y\r\n z", either(LINE, "")),
        fields("a folded line with a tab may be joined", "x: y\r\n\tz", either(LINE, "")),
        fields("bare LFs may be mended", "x: y\nz: 1", either(LINE, "")),
        (
            "a fold before the first field",
            format!("{LINE}\r\n x: y\r\nhost: shop\r\n\r\n").into_bytes(),
            refused(),
        ),
        (
            "a bare LF at the end of the head",
            format!("{LINE}\r\nhost: shop\r\n\n").into_bytes(),
            either(LINE, ""),
        ),
        ("bare LFs only", format!("{LINE}\nhost: shop\n\n").into_bytes(), either(LINE, "")),
        (
            "bare CRs only",
            format!("{LINE}\rhost: shop\r\r{LINE}\r\n\r\n").into_bytes(),
            Want::Refused(&[400, 505]),
        ),
    ]);
}

/// What RFC 9110 section 5.5 allows in a value.
#[test]
fn values_are_passed_on_byte_for_byte() {
    let rig = Rig::new();
    let values: [(&[u8], &str); 8] = [
        (b"plain", "plain"),
        (b"", ""),
        (b"  \t around \t ", "around"),
        (b"in\tside  two", "in\tside  two"),
        (b"\"quo\\\"ted\", (comment)", "\"quo\\\"ted\", (comment)"),
        (b"\x80\xff\xe9", "\u{80}\u{ff}\u{e9}"),
        ("žluťoučký".as_bytes(), "Å¾luÅ¥ouÄ\u{8d}kÃ½"),
        (b"a:b;c=d,e", "a:b;c=d,e"),
    ];
    for (value, expected) in values {
        let mut client = rig.client();
        client.try_send([b"GET / HTTP/1.1\r\nhost: shop\r\nx-value:", value, b"\r\n\r\n"].concat());
        assert_eq!(client.answer().status(), 200, "{expected:?}");
        assert_eq!(rig.tape.messages()[0].one("x-value"), Some(expected));
    }
}

#[test]
fn fields_of_one_name_keep_their_order_and_their_lines() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send(
        "GET / HTTP/1.1\r\nx-a: 1\r\nX-B: 2\r\nhost: shop\r\nx-A: 3\r\nx-b: 4,5\r\nX-a:\r\nx-a: 1\r\n\r\n",
    );
    assert_eq!(client.answer().status(), 200);
    let heard = rig.tape.messages().remove(0);
    assert_eq!(heard.all("x-a"), ["1", "3", "", "1"]);
    assert_eq!(heard.all("x-b"), ["2", "4,5"]);
}

#[test]
fn a_head_may_come_byte_by_byte_and_many_at_once() {
    let rig = Rig::new();
    let request = "GET /a HTTP/1.1\r\nhost: shop\r\nx-long: 0123456789\r\n\r\n";
    let mut client = rig.client();
    for byte in request.bytes() {
        assert!(client.try_send([byte]));
    }
    assert_eq!(client.answer().status(), 200);
    client.send(&request.repeat(100));
    (0..100).for_each(|_| assert_eq!(client.answer().text(), "ok"));
    assert!(rig.tape.messages().iter().all(|heard| heard.one("x-long") == Some("0123456789")));
}
