//! Whom a request is for: targets and Host, RFC 9112 section 3.2.

use crate::harness::Rig;
use crate::harness::cases::{Case, Want, denied, either, passed, refused, run};

fn target(name: &'static str, first_line: &str, want: Want) -> Case {
    (name, format!("{first_line}\r\nhost: shop\r\n\r\n").into_bytes(), want)
}

fn same(target: &'static str, first_line: &'static str) -> Case {
    (target, format!("{first_line}\r\nhost: shop\r\n\r\n").into_bytes(), passed(first_line, ""))
}

#[test]
fn a_path_is_passed_on_as_it_is() {
    run(&[
        same("the root", "GET / HTTP/1.1"),
        same("a query", "GET /?a=b&c=d?e HTTP/1.1"),
        same("an empty query", "GET /a? HTTP/1.1"),
        same("escapes", "GET /a%20b%2fc%2F%00%0d%0a HTTP/1.1"),
        same("dots", "GET /a/../b/./c//d HTTP/1.1"),
        same("two slashes in front", "GET //other/a HTTP/1.1"),
        same("all that may be in it", "GET /az09-._~!$&'()*+,;=:@/?/? HTTP/1.1"),
        same("what looks like a scheme", "GET /http://other/ HTTP/1.1"),
        same("a star that is a path", "GET /* HTTP/1.1"),
        same("all of a server", "OPTIONS * HTTP/1.1"),
    ]);
}

#[test]
fn what_is_no_target_is_refused() {
    run(&[
        target("a fragment", "GET /a#b HTTP/1.1", denied()),
        target("a fragment alone", "GET # HTTP/1.1", denied()),
        target("a relative path", "GET a/b HTTP/1.1", denied()),
        target("a query alone", "GET ?a HTTP/1.1", denied()),
        target("an authority", "GET shop:80 HTTP/1.1", denied()),
        target("a star without OPTIONS", "GET * HTTP/1.1", denied()),
        target("more than a star", "OPTIONS *a HTTP/1.1", denied()),
        target("a control character", "GET /a\x01b HTTP/1.1", refused()),
        target("DEL", "GET /a\x7fb HTTP/1.1", refused()),
        target("NUL", "GET /\0 HTTP/1.1", refused()),
        target("a tab", "GET /a\tb HTTP/1.1", refused()),
        target("an authority with userinfo", "GET http://user:secret@shop/ HTTP/1.1", denied()),
        target("no authority", "GET http:///a HTTP/1.1", denied()),
        target("no slashes", "GET http:/a HTTP/1.1", denied()),
        target("no host before the port", "GET http://:80/a HTTP/1.1", denied()),
        target("a port that is none", "GET http://shop:port/a HTTP/1.1", denied()),
        target("a fragment behind an authority", "GET http://shop/a#b HTTP/1.1", denied()),
        target("an authority that is no name", "GET http://sh\"op/a HTTP/1.1", denied()),
    ]);
}

/// RFC 3986 does not allow them, and servers and browsers differ. Passed on unchanged, or not at all.
#[test]
fn odd_paths_are_never_changed() {
    let odd =
        ["/\"", "/<>", "/[a]", "/\\", "/^", "/`", "/{a}", "/a|b", "/%", "/%zz", "/\u{e9}", "/?[]{}|\"<>"];
    let rig = Rig::new();
    for path in odd {
        let mut client = rig.client();
        client.try_send(format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n"));
        let (status, heard) = (client.answer().status(), rig.tape.take());
        match status {
            200 => {
                let latin: String = path.bytes().map(char::from).collect();
                let line = heard[0].message.as_ref().map(|m| m.line.clone());
                assert_eq!(line, Ok(format!("GET {latin} HTTP/1.1")));
            }
            400 => assert!(heard.is_empty()),
            other => panic!("{path}: {other}"),
        }
    }
}

fn absolute(target: &str, host: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{host}\r\n").into_bytes()
}

#[test]
fn an_absolute_target_becomes_a_path_and_a_host() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("http://shop/a?b", "host: shop\r\n", "GET /a?b HTTP/1.1", "shop"),
        ("http://shop:81/a", "host: shop:81\r\n", "GET /a HTTP/1.1", "shop:81"),
        ("http://other/a", "host: shop\r\n", "GET /a HTTP/1.1", "other"),
        ("HTTP://other/a", "host: shop\r\n", "GET /a HTTP/1.1", "other"),
        ("http://shop", "host: shop\r\n", "GET / HTTP/1.1", "shop"),
        ("http://shop?b", "host: shop\r\n", "GET /?b HTTP/1.1", "shop"),
        ("http://[::1]:81/a", "host: shop\r\n", "GET /a HTTP/1.1", "[::1]:81"),
    ];
    let rig = Rig::new();
    for (target, field, line, host) in cases {
        let mut client = rig.client();
        client.try_send(absolute(target, field));
        assert_eq!(client.answer().status(), 200, "{target}");
        let heard = rig.tape.messages().remove(0);
        assert_eq!((heard.line.as_str(), heard.one("host")), (*line, Some(*host)), "{target}");
    }
}

fn host(name: &'static str, fields: &str, want: Want) -> Case {
    (name, format!("GET / HTTP/1.1\r\n{fields}\r\n").into_bytes(), want)
}

#[test]
fn a_request_has_one_host_that_is_one() {
    let line = "GET / HTTP/1.1";
    run(&[
        host("a name", "host: shop\r\n", passed(line, "")),
        host("a name and a port", "host: shop:8080\r\n", passed(line, "")),
        host("in capitals", "HOST: SHOP\r\n", passed(line, "")),
        host("a dot at the end", "host: shop.example.\r\n", passed(line, "")),
        host("an address", "host: 127.0.0.1:80\r\n", passed(line, "")),
        host("an address of IPv6", "host: [::1]:80\r\n", passed(line, "")),
        host("what names may have", "host: a-b_c.d~e\r\n", passed(line, "")),
        host("a port that is empty", "host: shop:\r\n", either(line, "")),
        host("escapes", "host: sh%6fp\r\n", either(line, "")),
        host("an empty one", "host:\r\n", either(line, "")),
        host("none", "", denied()),
        host("none, but other fields", "x-host: shop\r\n", denied()),
        host("two", "host: shop\r\nhost: other\r\n", denied()),
        host("twice the same", "host: shop\r\nhost: shop\r\n", denied()),
        host("two with others between", "host: shop\r\nx: y\r\nHost: other\r\n", denied()),
        host("a list", "host: shop, other\r\n", denied()),
        host("a blank", "host: shop other\r\n", denied()),
        host("a path", "host: shop/a\r\n", denied()),
        host("a query", "host: shop?a\r\n", denied()),
        host("a fragment", "host: shop#a\r\n", denied()),
        host("userinfo", "host: user@shop\r\n", denied()),
        host("a scheme", "host: http://shop\r\n", denied()),
        host("a backslash", "host: shop\\a\r\n", denied()),
        host("quotes", "host: \"shop\"\r\n", denied()),
        host("angles", "host: <shop>\r\n", denied()),
        host("a port that is none", "host: shop:http\r\n", denied()),
        host("a port with a sign", "host: shop:+80\r\n", denied()),
        host("two ports", "host: shop:80:80\r\n", denied()),
        host("a bracket that is not closed", "host: [::1\r\n", denied()),
        host("a bracket that is not opened", "host: ::1]\r\n", denied()),
        host("something behind the bracket", "host: [::1]a\r\n", denied()),
        host("a name that is not ASCII", "host: sh\u{f6}p\r\n", denied()),
        host("a blank before the colon", "host : shop\r\n", refused()),
        host("on a folded line", "host:\r\n shop\r\n", either(line, "")),
        ("no host, absolute", absolute("http://shop/", ""), either(line, "")),
        ("two hosts, absolute", absolute("http://shop/", "host: a\r\nhost: b\r\n"), either(line, "")),
        ("an old client needs none", b"GET / HTTP/1.0\r\n\r\n".to_vec(), passed(line, "")),
        ("an old client with two", b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n".to_vec(), denied()),
    ]);
}
