//! Route tables: the rule of a request, found by the table and by a naive reader of the Gateway API's precedence.
#![no_main]

use std::cmp::Reverse;

use http::{HeaderName, Method, Request};
use libfuzzer_sys::fuzz_target;
use penstock_proxy_core::route::{Match, PathMatch, Routes, ValueMatch, expression};

/// Takes choices from the input; zeros when it is used up.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() % all.len()]
    }

    /// Up to 15 bytes of text.
    fn text(&mut self) -> Option<&'a str> {
        let length = (self.byte() % 16).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

const PATHS: [&str; 9] = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b", "/A", "//a"];
const NAMES: [&str; 3] = ["x-a", "x-b", "cookie"];
const VALUES: [&str; 4] = ["", "1", "2", "12"];
const EXPRESSIONS: [&str; 6] = ["/a.*", ".*", "1|2", "[0-9]+", "/a|/b", ""];

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let count = choices.byte() % 12;
    let all: Vec<Match> = (0..count).filter_map(|_| one(&mut choices)).collect();
    let Some(request) = request(&mut choices) else { return };
    let routes = Routes::new(all.iter().cloned().enumerate().map(|(rule, m)| (m, rule)).collect());
    let found = routes.rule(&request);
    // How letters are written in a query is known to the library alone.
    if request.uri().query().is_some_and(|query| query.contains(['%', '+'])) {
        return;
    }
    let best = all
        .iter()
        .enumerate()
        .filter(|(_, m)| holds(m, &request))
        .max_by_key(|(rule, m)| (rank(m), Reverse(*rule)));
    assert_eq!(found, best.map(|(rule, _)| rule), "{all:?} {request:?}");
});

fn one(choices: &mut Choices<'_>) -> Option<Match> {
    let path = match choices.byte() % 8 {
        0..3 => PathMatch::Prefix(choices.of(&PATHS).into()),
        3..5 => PathMatch::Exact(choices.of(&PATHS).into()),
        5 => PathMatch::Exact(format!("/{}", choices.text()?)),
        6 => PathMatch::Expression(expression(choices.of(&EXPRESSIONS)).ok()?),
        _ => PathMatch::Expression(expression(choices.text()?).ok()?),
    };
    let method = choices.of(&[None, None, Some(Method::GET.as_str()), Some("POST")]);
    let headers =
        (0..choices.byte() % 3).map(|_| (HeaderName::from_static(choices.of(&NAMES)), value(choices)));
    let headers = headers.collect();
    let query =
        (0..choices.byte() % 3).map(|_| (choices.of(&["q", "r", ""]).to_owned(), value(choices))).collect();
    Some(Match { path, method: method.and_then(|m| m.parse().ok()), headers, query })
}

fn value(choices: &mut Choices<'_>) -> ValueMatch {
    let exact = ValueMatch::Exact(choices.of(&VALUES).into());
    if choices.byte() % 3 > 0 {
        return exact;
    }
    expression(choices.of(&EXPRESSIONS)).map_or(exact, ValueMatch::Expression)
}

fn request(choices: &mut Choices<'_>) -> Option<Request<()>> {
    let mut target = choices.of(&PATHS).to_owned();
    if choices.byte() % 2 == 0 {
        target += &format!("?{}", choices.of(&["", "q=1", "q=1&r=2", "r=&q=12", "q=2&q=1", "=1", "q"]));
    }
    if choices.byte() % 4 == 0 {
        target += choices.text()?;
    }
    let mut request = Request::builder().method(choices.of(&["GET", "POST", "PUT"])).uri(target);
    for _ in 0..choices.byte() % 4 {
        request = request.header(choices.of(&NAMES), choices.of(&VALUES));
    }
    request.body(()).ok()
}

fn holds(m: &Match, request: &Request<()>) -> bool {
    let path = request.uri().path();
    let path_holds = match &m.path {
        PathMatch::Exact(wanted) => path == wanted,
        PathMatch::Expression(wanted) => {
            wanted.find(path).is_some_and(|found| found.range() == (0..path.len()))
        }
        PathMatch::Prefix(wanted) => {
            let wanted = wanted.strip_suffix('/').unwrap_or(wanted);
            wanted.is_empty() || path == wanted || path.starts_with(&format!("{wanted}/"))
        }
    };
    let is = |wanted: &ValueMatch, value: &str| match wanted {
        ValueMatch::Exact(text) => text == value,
        ValueMatch::Expression(wanted) => {
            wanted.find(value).is_some_and(|found| found.range() == (0..value.len()))
        }
    };
    let headers = m.headers.iter().all(|(name, wanted)| {
        request.headers().get_all(name).iter().any(|v| v.to_str().is_ok_and(|v| is(wanted, v)))
    });
    let first = |name: &str| {
        let query = request.uri().query().unwrap_or_default();
        let mut pairs =
            query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")));
        pairs.find(|(n, _)| *n == name).map(|(_, v)| v.to_owned())
    };
    let query = m.query.iter().all(|(name, wanted)| first(name).is_some_and(|v| is(wanted, &v)));
    path_holds && m.method.as_ref().is_none_or(|m| m == request.method()) && headers && query
}

/// The exact path, an expression, the longest prefix; then a method, most headers, most query parameters.
fn rank(m: &Match) -> (u8, usize, bool, usize, usize) {
    let (kind, length) = match &m.path {
        PathMatch::Exact(_) => (2, 0),
        PathMatch::Expression(_) => (1, 0),
        PathMatch::Prefix(prefix) => (0, prefix.len()),
    };
    (kind, length, m.method.is_some(), m.headers.len(), m.query.len())
}
