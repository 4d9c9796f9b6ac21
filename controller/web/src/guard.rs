//! What every request passes before it is answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::routes::App;
use crate::trouble::Trouble;

/// The header without which no order is taken: another site can't send it unasked.
pub(crate) const ORDER: HeaderName = HeaderName::from_static("x-penstock-order");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
];

/// Under which names the page may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Those of this machine itself only: nobody is asked who he is, and a name that somebody else has made lead here
    /// would let his site speak for a visitor.
    Loopback,
    /// Any: each request brings a token of its own.
    Any,
}

impl Hosts {
    fn fits(self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        match self {
            Hosts::Any => !host.is_empty(),
            Hosts::Loopback => {
                bare.eq_ignore_ascii_case("localhost")
                    || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }
}

/// Looks where a request comes from and how many there were; sends headers along that keep the page to itself.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let mut response = match look(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(trouble) => trouble.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if api || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn look(app: &App, request: &Request) -> Result<(), Trouble> {
    let host = host(request)?;
    if !app.hosts.fits(host) {
        let text = "this page is served to this machine only, under the names localhost and 127.0.0.1";
        return Err(Trouble::new(StatusCode::MISDIRECTED_REQUEST, "WrongHost", text).remedy(
            "call it by one of these; from elsewhere, through a tunnel: `ssh -L PORT:127.0.0.1:PORT HOST`",
        ));
    }
    let peer = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
    if peer.is_some_and(|peer| !app.requests.take(&peer)) {
        app.refused.tell("requests");
        return Err(Trouble::busy());
    }
    if request.uri().path().starts_with("/api/") {
        same_site(request.headers())?;
    }
    if *request.method() == Method::POST {
        own(request.headers(), host)?;
    }
    Ok(())
}

fn host(request: &Request) -> Result<&str, Trouble> {
    let mut named = request.headers().get_all(header::HOST).iter();
    match (named.next().and_then(|host| host.to_str().ok()), named.next()) {
        (Some(host), None) => Ok(host),
        _ => Err(Trouble::new(StatusCode::BAD_REQUEST, "NoHost", "one Host is needed")),
    }
}

/// What browsers say of a request that another site makes.
fn same_site(headers: &HeaderMap) -> Result<(), Trouble> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if matches!(site, None | Some(b"same-origin" | b"none")) { Ok(()) } else { Err(foreign()) }
}

/// An order comes from the page itself, or from a program that says so.
fn own(headers: &HeaderMap, host: &str) -> Result<(), Trouble> {
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let ours = |origin: &str| {
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        site.is_some_and(|site| site.eq_ignore_ascii_case(host))
    };
    let json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if origin.is_some_and(|origin| !ours(origin)) || !headers.contains_key(ORDER) || !json {
        return Err(foreign());
    }
    Ok(())
}

fn foreign() -> Trouble {
    let text = "this request comes from another site, or does not say that it comes from this one";
    Trouble::new(StatusCode::FORBIDDEN, "ForeignSite", text)
        .remedy(format!("send JSON with the header `{ORDER}: 1`, from the page's own address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_tokens_answers_to_names_of_this_machine_only() {
        for host in ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "127.9.9.9", "[::1]:7070", "[::1]"] {
            assert!(Hosts::Loopback.fits(host), "{host}");
        }
        for host in [
            "",
            "evil.example:7070",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1:7070",
            "::1:x",
        ] {
            assert!(!Hosts::Loopback.fits(host), "{host}");
        }
        assert!(Hosts::Any.fits("penstock.example") && !Hosts::Any.fits(""));
    }

    #[test]
    fn an_order_says_that_it_comes_from_the_page() {
        let headers = |all: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            all.iter().map(pair).collect::<HeaderMap>()
        };
        let (kind, order) = (("content-type", "application/json"), ("x-penstock-order", "1"));
        let told = |all: &[_]| own(&headers(all), "localhost:7070").is_ok();
        assert!(told(&[kind, order]) && told(&[kind, order, ("origin", "http://localhost:7070")]));
        assert!(!told(&[kind]) && !told(&[order]) && !told(&[]));
        for origin in
            ["http://localhost:7071", "null", "http://evil.example", "http://localhost:7070.evil.example", ""]
        {
            assert!(!told(&[kind, order, ("origin", origin)]), "{origin}");
        }
        assert!(!told(&[("content-type", "text/plain"), order]));
        assert!(same_site(&headers(&[("sec-fetch-site", "cross-site")])).is_err());
        assert!(same_site(&headers(&[("sec-fetch-site", "same-origin")])).is_ok());
    }
}
