//! The target of a request and its host: RFC 9112 section 3.2, RFC 3986.

use crate::http1::field::Span;

/// A target in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Who is asked, if the target says so.
    pub authority: Option<Span>,
    /// The path; empty for a target without one.
    pub path: Span,
    /// The query, without the question mark.
    pub query: Option<Span>,
    /// Path and query as they stand; may begin with the question mark, or be empty.
    pub rest: Span,
}

/// A target that can't be understood, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget(pub &'static str);

/// Takes the target at `start` of `whole` apart.
pub(crate) fn read(whole: &[u8], span: Span, method: &[u8]) -> Result<Target, BadTarget> {
    let target = span.bytes(whole);
    if !target.iter().all(|b| matches!(b, 0x21..=0x7e) && *b != b'#') {
        return Err(BadTarget("an invalid byte in its target"));
    }
    match target {
        [b'/', ..] => Ok(parts(whole, span, None)),
        b"*" if method == b"OPTIONS" => Ok(Target { path: span, rest: span, ..Target::default() }),
        _ if method == b"CONNECT" => of_connect(whole, span),
        _ => absolute(whole, span),
    }
}

fn of_connect(whole: &[u8], span: Span) -> Result<Target, BadTarget> {
    let host = span.bytes(whole);
    if host.is_empty() || !is_host(host) {
        return Err(BadTarget("an invalid target"));
    }
    let end = Span::new(span.end(), span.end());
    Ok(Target { authority: Some(span), path: end, query: None, rest: end })
}

fn absolute(whole: &[u8], span: Span) -> Result<Target, BadTarget> {
    let target = span.bytes(whole);
    let scheme = target.iter().position(|b| *b == b':').ok_or(BadTarget("an invalid target"))?;
    let is = |known: &[u8]| target[..scheme].eq_ignore_ascii_case(known);
    if !(is(b"http") || is(b"https")) || !target[scheme..].starts_with(b"://") {
        return Err(BadTarget("an invalid target"));
    }
    let begin = scheme + 3;
    let length = target[begin..].iter().position(|b| matches!(b, b'/' | b'?'));
    let end = length.map_or(target.len(), |length| begin + length);
    let authority = Span::new(span.start() + begin, span.start() + end);
    let host = authority.bytes(whole);
    if matches!(host, [] | [b':', ..]) || !is_host(host) {
        return Err(BadTarget("an invalid authority in its target"));
    }
    Ok(parts(whole, Span::new(authority.end(), span.end()), Some(authority)))
}

fn parts(whole: &[u8], rest: Span, authority: Option<Span>) -> Target {
    let mark = rest.bytes(whole).iter().position(|b| *b == b'?');
    let end = mark.map_or(rest.end(), |mark| rest.start() + mark);
    let query = mark.map(|_| Span::new(end + 1, rest.end()));
    Target { authority, path: Span::new(rest.start(), end), query, rest }
}

/// Whether this is a host with or without a port (RFC 3986 section 3.2.2); an empty one is. Never with user
/// information.
pub fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            let valid =
                end > 1 && rest[..end].iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
            if !valid {
                return false;
            }
            (&[][..], &rest[end + 1..])
        }
        _ => host.split_at(host.iter().position(|b| *b == b':').unwrap_or(host.len())),
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port && name.iter().all(|b| is_name_byte(*b))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(method: &str, target: &str) -> Option<(Option<String>, String, Option<String>)> {
        let bytes = format!("{method} {target}");
        let whole = bytes.as_bytes();
        let read = read(whole, Span::new(method.len() + 1, whole.len()), method.as_bytes()).ok()?;
        let text = |span: Span| span.text(whole).to_owned();
        Some((read.authority.map(text), text(read.path), read.query.map(text)))
    }

    #[test]
    fn each_form_is_taken_apart() {
        let told = |method, target| {
            let (authority, path, query) = told(method, target).unwrap();
            [authority.unwrap_or("-".into()), path, query.unwrap_or("-".into())].join(" ")
        };
        assert_eq!(told("GET", "/"), "- / -");
        assert_eq!(told("GET", "/a/b?c=/d?e"), "- /a/b c=/d?e");
        assert_eq!(told("GET", "//a?"), "- //a ");
        assert_eq!(told("OPTIONS", "*"), "- * -");
        assert_eq!(told("GET", "http://shop:81/a?b"), "shop:81 /a b");
        assert_eq!(told("GET", "HTTPS://[::1]?b"), "[::1]  b");
        assert_eq!(told("GET", "http://shop"), "shop  -");
        assert_eq!(told("CONNECT", "shop:443"), "shop:443  -");
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for target in [
            "*",
            "shop:80",
            "a",
            "",
            "/a#b",
            "/\u{7f}",
            "/\u{e9}",
            "/a\tb",
            "http:///a",
            "http://u@shop/",
            "http:/a",
            "ftp://shop/",
            "http://shop:x/",
            "http://a b/",
            "http://shop:1:2/",
            "http://[::1/",
            "http://[]/",
            "http://a,b/",
        ] {
            assert_eq!(told("GET", target), None, "{target:?}");
        }
        assert_eq!(told("CONNECT", "/a").map(|t| t.1), Some("/a".into()), "refused for its method");
    }

    #[test]
    fn hosts_have_no_users_and_at_most_one_port() {
        for host in
            ["", "shop", "shop:80", "shop:", "10.0.0.1", "[::1]:80", "[::ffff:1.2.3.4]", "a_b", "%41", "SHOP"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in
            ["a/b", "u@a", "a b", "a,b", "a:b", "a:123456", "[::1", "[x]", "[::1]a", "a:1:2", "a\"b", "a?b"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
