//! Where the numbers come from.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;

use crate::facts::{Auth, Ca, KeyRef, Prometheus, Source};
use crate::refusal::Refusals;
use crate::rollout::{KeySpec, PrometheusSpec, SourceSpec};
use crate::text::DurationText;

const PATH: &str = "spec.analysis.source";
const DEFAULT_TIMEOUT: &str = "5s";
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);

pub(super) fn admit(source: Option<&SourceSpec>, refusals: &mut Refusals) -> Option<Source> {
    let Some(source) = source else { return Some(Source::Default) };
    match (source.prometheus.as_ref(), source.proxy.as_ref()) {
        (Some(prometheus), None) => admit_prometheus(prometheus, refusals).map(Source::Prometheus),
        (None, Some(_)) => Some(Source::Proxy),
        (Some(_), Some(_)) | (None, None) => {
            let remedy = "write `prometheus: {address: http://HOST:9090}` or `proxy: {}`";
            refusals.add(PATH, "neither or both of prometheus and proxy", remedy);
            None
        }
    }
}

fn admit_prometheus(spec: &PrometheusSpec, refusals: &mut Refusals) -> Option<Prometheus> {
    let path = format!("{PATH}.prometheus");
    let address = admit_address(&format!("{path}.address"), spec.address.as_deref(), refusals);
    let timeout = admit_timeout(&format!("{path}.timeout"), spec.timeout.as_ref(), refusals);
    let auth = admit_auth(&path, spec, refusals);
    let ca = admit_ca(&path, spec.ca_secret.as_ref(), spec.ca_config_map.as_ref(), refusals);
    let (uri, address) = address?;
    if spec.ca_secret.is_some() || spec.ca_config_map.is_some() {
        let secure = uri.scheme_str() == Some("https");
        refuse_unless(secure, &path, "a CA, and an address without https", HTTPS, refusals)?;
    }
    let named = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if auth.as_ref().is_some_and(Option::is_some) && named {
        let remedy = "leave user and password out of the address";
        refusals.add(format!("{path}.address"), "a user, although a Secret says who asks", remedy);
        return None;
    }
    Some(Prometheus { address, timeout: timeout?, auth: auth?, ca: ca? })
}

const HTTPS: &str = "write an address that begins with https://, or remove the CA";

pub(super) fn refuse_unless(
    well: bool,
    path: &str,
    problem: &str,
    remedy: &str,
    refusals: &mut Refusals,
) -> Option<()> {
    if !well {
        refusals.add(path, problem, remedy);
    }
    well.then_some(())
}

fn admit_address(path: &str, address: Option<&str>, refusals: &mut Refusals) -> Option<(Uri, String)> {
    let remedy = "write an address such as http://prometheus.monitoring:9090";
    let Some(address) = address else {
        refusals.add(path, "missing", remedy);
        return None;
    };
    let uri: Option<Uri> = address.parse().ok();
    let scheme = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    let host = |uri: &Uri| uri.host().is_some_and(|host| !host.is_empty());
    let uri = uri.filter(|uri| scheme(uri) && host(uri) && uri.query().is_none());
    if uri.is_none() {
        refusals.add(path, format!("`{address}` is no address of a Prometheus server"), remedy);
    }
    uri.map(|uri| (uri, address.trim_end_matches('/').to_owned()))
}

fn admit_timeout(path: &str, text: Option<&DurationText>, refusals: &mut Refusals) -> Option<Duration> {
    let default = DurationText::from(DEFAULT_TIMEOUT);
    let timeout = refusals.take(path, text.unwrap_or(&default).parse())?;
    let fits = TIMEOUTS.contains(&timeout);
    refuse_unless(
        fits,
        path,
        "outside 1ms to 30s",
        "write a duration between them, for instance 5s",
        refusals,
    )?;
    Some(timeout)
}

/// `Some(None)`: nobody in particular asks; `None`: refused.
fn admit_auth(path: &str, spec: &PrometheusSpec, refusals: &mut Refusals) -> Option<Option<Auth>> {
    match (&spec.bearer_token_secret, &spec.basic_auth_secret) {
        (None, None) => Some(None),
        (Some(token), None) => {
            let path = format!("{path}.bearerTokenSecret");
            admit_key(&path, token, refusals).map(|key| Some(Auth::Bearer(key)))
        }
        (None, Some(secret)) => {
            let path = format!("{path}.basicAuthSecret.name");
            admit_name(&path, secret.name.as_deref(), refusals).map(|name| Some(Auth::Basic(name)))
        }
        (Some(_), Some(_)) => {
            let remedy = "remove one of bearerTokenSecret and basicAuthSecret";
            refusals.add(path, "two ways to say who asks", remedy);
            None
        }
    }
}

/// `Some(None)`: as the system has it; `None`: refused.
pub(super) fn admit_ca(
    path: &str,
    secret: Option<&KeySpec>,
    config_map: Option<&KeySpec>,
    refusals: &mut Refusals,
) -> Option<Option<Ca>> {
    match (secret, config_map) {
        (None, None) => Some(None),
        (Some(key), None) => {
            admit_key(&format!("{path}.caSecret"), key, refusals).map(|key| Some(Ca::Secret(key)))
        }
        (None, Some(key)) => {
            admit_key(&format!("{path}.caConfigMap"), key, refusals).map(|key| Some(Ca::ConfigMap(key)))
        }
        (Some(_), Some(_)) => {
            refusals.add(path, "two CAs", "remove one of caSecret and caConfigMap");
            None
        }
    }
}

pub(super) fn admit_key(path: &str, spec: &KeySpec, refusals: &mut Refusals) -> Option<KeyRef> {
    let name = admit_name(&format!("{path}.name"), spec.name.as_deref(), refusals);
    let path = format!("{path}.key");
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = |key: &&str| (1..=253).contains(&key.len()) && key.bytes().all(allowed);
    let words = ("no key of a Secret or ConfigMap", "write letters, digits, -, _ and .");
    let key = named(&path, spec.key.as_deref(), fits, words, refusals);
    Some(KeyRef { name: name?, key: key? })
}

/// A name as RFC 1123 has subdomains, which names of Secrets and ConfigMaps are.
fn admit_name(path: &str, name: Option<&str>, refusals: &mut Refusals) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = |name: &str| name.starts_with(['-', '.']) || name.ends_with(['-', '.']);
    let fits = |name: &&str| (1..=253).contains(&name.len()) && name.bytes().all(allowed) && !ends(name);
    let words = ("no name of an object", "write the name of one in the Rollout's own namespace");
    named(path, name, fits, words, refusals)
}

fn named(
    path: &str,
    text: Option<&str>,
    fits: impl Fn(&&str) -> bool,
    (what, remedy): (&str, &str),
    refusals: &mut Refusals,
) -> Option<String> {
    if let Some(text) = text.filter(fits) {
        return Some(text.to_owned());
    }
    let problem = text.map_or("missing".to_owned(), |text| format!("`{text}` is {what}"));
    refusals.add(path, problem, remedy);
    None
}
