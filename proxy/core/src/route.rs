//! Which rule a request falls under, as the Gateway API orders matches: the exact path, then a regular expression,
//! then the longest prefix; then a method, then most headers, then most query parameters, then the first rule.

use std::borrow::Cow;
use std::cmp::Reverse;

use http::Method;
use http::header::HeaderName;
use regex::Regex;

use crate::head::Head;

/// How a path is matched.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The whole path, by a regular expression.
    Expression(Regex),
    /// The first segments of the path; a slash at the end makes no difference.
    Prefix(String),
}

/// How the value of a header or of a query parameter is matched.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// The whole value.
    Exact(String),
    /// The whole value, by a regular expression.
    Expression(Regex),
}

/// One match of a rule: all its parts must hold.
#[derive(Clone, Debug)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The method, if it matters.
    pub method: Option<Method>,
    /// Headers that must be there with such a value.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Query parameters that must be there with such a value.
    pub query: Vec<(String, ValueMatch)>,
}

/// All matches of a table, the best first.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<(Match, usize)>);

impl Routes {
    /// Orders the matches of rules: pairs of a match and its rule's index.
    pub fn new(mut matches: Vec<(Match, usize)>) -> Routes {
        matches.sort_by_key(|(m, rule)| (Reverse(m.precedence()), *rule));
        Routes(matches)
    }

    /// The index of the rule that a request falls under.
    pub fn rule(&self, head: &impl Head) -> Option<usize> {
        self.0.iter().find(|(m, _)| m.holds(head)).map(|(_, rule)| *rule)
    }
}

/// The greater, the better the match.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Precedence {
    path: PathPrecedence,
    method: bool,
    headers: usize,
    query: usize,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathPrecedence {
    Prefix(usize),
    Expression,
    Exact,
}

impl Match {
    /// Matches every request.
    pub fn any() -> Match {
        Match { path: PathMatch::Prefix("/".into()), method: None, headers: Vec::new(), query: Vec::new() }
    }

    /// Whether it matches every request.
    pub fn is_any(&self) -> bool {
        let whole = matches!(&self.path, PathMatch::Prefix(p) if p.trim_end_matches('/').is_empty());
        whole && self.method.is_none() && self.headers.is_empty() && self.query.is_empty()
    }

    fn precedence(&self) -> Precedence {
        let path = match &self.path {
            PathMatch::Exact(_) => PathPrecedence::Exact,
            PathMatch::Expression(_) => PathPrecedence::Expression,
            PathMatch::Prefix(prefix) => PathPrecedence::Prefix(prefix.len()),
        };
        let (headers, query) = (self.headers.len(), self.query.len());
        Precedence { path, method: self.method.is_some(), headers, query }
    }

    fn holds(&self, head: &impl Head) -> bool {
        self.path.holds(head)
            && self.method.as_ref().is_none_or(|m| m.as_str() == head.method())
            && self.headers.iter().all(|(name, value)| header_holds(head, name, value))
            && (self.query.is_empty() || self.query_holds(head.query().unwrap_or_default()))
    }

    fn query_holds(&self, query: &str) -> bool {
        let value = |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name);
        self.query.iter().all(|(name, wanted)| {
            let found: Option<Cow<'_, str>> = value(name).map(|(_, v)| v);
            found.is_some_and(|v| wanted.holds(&v))
        })
    }
}

fn header_holds(head: &impl Head, name: &HeaderName, wanted: &ValueMatch) -> bool {
    head.values(name.as_str()).any(|v| std::str::from_utf8(v).is_ok_and(|v| v.is_ascii() && wanted.holds(v)))
}

impl PathMatch {
    fn holds(&self, head: &impl Head) -> bool {
        match self {
            PathMatch::Exact(wanted) => wanted == head.path(),
            PathMatch::Expression(regex) => regex.is_match(head.path()),
            PathMatch::Prefix(prefix) if prefix == "/" => true,
            PathMatch::Prefix(prefix) => {
                let rest = head.path().strip_prefix(prefix.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl ValueMatch {
    fn holds(&self, value: &str) -> bool {
        match self {
            ValueMatch::Exact(wanted) => wanted == value,
            ValueMatch::Expression(regex) => regex.is_match(value),
        }
    }
}

/// Largest compiled size of an expression in bytes.
const EXPRESSION_SIZE: usize = 256 << 10;

/// An expression that must match the whole text. Errors: what is wrong with it, or that it is too large.
pub fn expression(text: &str) -> Result<Regex, regex::Error> {
    regex::Regex::new(text)?;
    regex::RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(EXPRESSION_SIZE)
        .dfa_size_limit(EXPRESSION_SIZE)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(routes: &Routes, method: &str, target: &str, header: Option<(&str, &str)>) -> Option<usize> {
        let mut request = http::Request::builder().method(method).uri(target);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        routes.rule(&parts)
    }

    fn prefix(path: &str) -> Match {
        Match { path: PathMatch::Prefix(path.into()), ..Match::any() }
    }

    #[test]
    fn the_better_match_wins_wherever_it_stands() {
        let exact = Match { path: PathMatch::Exact("/a/b".into()), ..Match::any() };
        let expression =
            Match { path: PathMatch::Expression(expression("/a/[bc]").unwrap()), ..Match::any() };
        let get = Match { method: Some(Method::GET), ..prefix("/a") };
        let marked = Match {
            headers: vec![("x-canary".parse().unwrap(), ValueMatch::Exact("1".into()))],
            ..Match::any()
        };
        let asked = Match { query: vec![("v".into(), ValueMatch::Exact("a b".into()))], ..Match::any() };
        let matches = vec![Match::any(), prefix("/a"), get, expression, exact, marked, asked];
        let routes = Routes::new(matches.into_iter().enumerate().map(|(i, m)| (m, i)).collect());
        assert_eq!(rule(&routes, "POST", "/x", None), Some(0));
        assert_eq!(rule(&routes, "POST", "/a/x", None), Some(1));
        assert_eq!(rule(&routes, "GET", "/a/x", None), Some(2));
        assert_eq!(rule(&routes, "GET", "/a/c", None), Some(3));
        assert_eq!(rule(&routes, "GET", "/a/b", None), Some(4));
        assert_eq!(rule(&routes, "GET", "/x", Some(("x-canary", "1"))), Some(5));
        assert_eq!(rule(&routes, "GET", "/x", Some(("x-canary", "2"))), Some(0));
        assert_eq!(rule(&routes, "GET", "/x?u=1&v=a%20b", None), Some(6));
        assert_eq!(
            rule(&routes, "GET", "/a/x", Some(("x-canary", "1"))),
            Some(2),
            "a longer path weighs more"
        );
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let routes = Routes::new(vec![(prefix("/foo/"), 0)]);
        assert_eq!(rule(&routes, "GET", "/foo", None), Some(0));
        assert_eq!(rule(&routes, "GET", "/foo/bar", None), Some(0));
        assert_eq!(rule(&routes, "GET", "/foobar", None), None);
    }

    #[test]
    fn of_equal_matches_the_first_rule_wins() {
        let routes = Routes::new(vec![(Match::any(), 1), (Match::any(), 0)]);
        assert_eq!(rule(&routes, "GET", "/", None), Some(0));
    }

    #[test]
    fn an_expression_must_match_the_whole_value() {
        let wanted = ValueMatch::Expression(expression("a|b").unwrap());
        assert!(wanted.holds("b"));
        assert!(!wanted.holds("ab"));
        assert!(expression("(").is_err());
        assert!(expression("a)|(b").is_err());
        assert!(expression("(a{1000}){1000}").is_err());
    }

    #[test]
    fn a_target_without_a_path_falls_under_the_root() {
        let routes = Routes::new(vec![(Match::any(), 0)]);
        assert_eq!(rule(&routes, "OPTIONS", "*", None), Some(0));
    }
}
