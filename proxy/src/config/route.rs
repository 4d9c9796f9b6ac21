//! Translates an HTTPRoute.

use std::time::Duration;

use gateway_api::httproutes::{
    HttpRoute, HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesFilters, HttpRouteRulesFiltersType,
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeadersType, HttpRouteRulesMatchesMethod,
    HttpRouteRulesMatchesPath, HttpRouteRulesMatchesPathType, HttpRouteRulesMatchesQueryParamsType,
};
use http::{HeaderName, Method};
use penstock_proxy_api::object;
use penstock_proxy_core::cohort::Sticky;
use penstock_proxy_core::route::{Match, PathMatch, ValueMatch, expression};
use regex::Regex;

use crate::series::MAX_LIMITS;

const MAX_WEIGHT: u32 = 1_000_000;
const MAX_RULES: usize = 64;
const MAX_BACKENDS: usize = 64;
const MAX_MATCHES: usize = 128;

/// What an HTTPRoute says.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The Rollout's namespace and name.
    pub(crate) rollout: (String, String),
    pub(crate) generation: u64,
    pub(crate) parent: Parent,
    /// The port to listen on, if the route names it.
    pub(crate) listen: Option<u16>,
    pub(crate) sticky: Option<Sticky>,
    pub(crate) limits: Vec<f64>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) backends: Vec<Backend>,
    /// The rule whose weights are the split.
    pub(crate) split: Option<usize>,
    /// The revision that marked requests go to.
    pub(crate) marked: Option<String>,
}

/// The Service that clients call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) name: String,
    pub(crate) port: Option<i32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) matches: Vec<Match>,
    /// Index of each backend, and its weight.
    pub(crate) backends: Vec<(usize, u32)>,
    pub(crate) timeout: Option<Duration>,
}

/// A Service that rules send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) port: Option<i32>,
    pub(crate) revision: String,
}

/// Translates `route`. What is left out is pushed to `notes`. Errors: the field that makes it unusable, and what to
/// write instead.
pub(crate) fn translate(
    route: &HttpRoute,
    namespace: &str,
    notes: &mut Vec<String>,
) -> Result<Route, String> {
    let rollout = rollout(route);
    let rules = route.spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() || rules.len() > MAX_RULES {
        return Err(format!("spec.rules: has {} rules; write 1 to {MAX_RULES}", rules.len()));
    }
    let mut backends = Vec::new();
    let mut translated = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        let reader = Reader { path: &path, namespace, rollout: &rollout };
        translated.push(reader.rule(rule, &mut backends, notes)?);
    }
    let split = split(&translated);
    let mark = annotation(route, object::MARK).and_then(|mark| mark.split_once('='));
    let marked = mark.and_then(|mark| marked(&translated, mark, &backends));
    let (generation, parent, listen) = (generation(route)?, parent(route, namespace)?, listen(route)?);
    note_unsupported(route, notes);
    let (sticky, limits) = (sticky(route, notes), limits(route, notes));
    let (rollout, rules) = ((namespace.to_owned(), rollout), translated);
    Ok(Route { rollout, generation, parent, listen, sticky, limits, rules, backends, split, marked })
}

/// The Rollout that a route belongs to.
pub(crate) fn rollout(route: &HttpRoute) -> String {
    let label = route.metadata.labels.as_ref().and_then(|l| l.get(object::ROLLOUT));
    label.or(route.metadata.name.as_ref()).cloned().unwrap_or_default()
}

fn annotation<'a>(route: &'a HttpRoute, name: &str) -> Option<&'a str> {
    route.metadata.annotations.as_ref()?.get(name).map(|v| v.trim())
}

fn annotation_path(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}

fn generation(route: &HttpRoute) -> Result<u64, String> {
    let Some(text) = annotation(route, object::GENERATION) else { return Ok(0) };
    let path = annotation_path(object::GENERATION);
    text.parse().map_err(|_| format!("{path}: {text:?} is no whole number; write one, higher than the last"))
}

fn listen(route: &HttpRoute) -> Result<Option<u16>, String> {
    let Some(text) = annotation(route, object::LISTEN) else { return Ok(None) };
    let port = text.parse().ok().filter(|port| *port > 0);
    let path = annotation_path(object::LISTEN);
    port.map(Some).ok_or_else(|| format!("{path}: {text:?} is no port; write 1 to 65535"))
}

fn parent(route: &HttpRoute, namespace: &str) -> Result<Parent, String> {
    let parents = route.spec.parent_refs.as_deref().unwrap_or_default();
    let parent = parents.first().ok_or("spec.parentRefs: is empty; name the Service that clients call")?;
    if parent.namespace.as_deref().is_some_and(|n| n != namespace) {
        return Err(format!("spec.parentRefs[0].namespace: must be {namespace}, that of the route"));
    }
    Ok(Parent { name: parent.name.clone(), port: parent.port })
}

fn sticky(route: &HttpRoute, notes: &mut Vec<String>) -> Option<Sticky> {
    let text = annotation(route, object::STICKY)?;
    let sticky = text.parse();
    if sticky.is_err() {
        let path = annotation_path(object::STICKY);
        notes.push(format!("{path}: {text:?} has no effect; write header:NAME or cookie:NAME"));
    }
    sticky.ok()
}

fn limits(route: &HttpRoute, notes: &mut Vec<String>) -> Vec<f64> {
    let path = annotation_path(object::LATENCY_LIMITS);
    let mut limits = Vec::new();
    for text in annotation(route, object::LATENCY_LIMITS).unwrap_or_default().split(',').map(str::trim) {
        match text.parse::<f64>() {
            Ok(limit) if limit.is_finite() && limit > 0.0 && limit < 1e6 => limits.push(limit),
            _ if text.is_empty() => {}
            _ => notes.push(format!("{path}: {text:?} has no effect; write seconds, for instance 0.3")),
        }
    }
    if limits.len() > MAX_LIMITS {
        notes.push(format!("{path}: only the first {MAX_LIMITS} limits have an effect; remove some"));
    }
    limits
}

fn note_unsupported(route: &HttpRoute, notes: &mut Vec<String>) {
    if route.spec.hostnames.as_ref().is_some_and(|h| !h.is_empty()) {
        notes.push("spec.hostnames: has no effect, a Rollout serves any Host; remove it".into());
    }
    if route.spec.parent_refs.as_ref().is_some_and(|p| p.len() > 1) {
        notes.push(
            "spec.parentRefs: only the first one has an effect; write one route for each Service".into(),
        );
    }
}

/// The rule that divides what nothing else claims; for want of one, the first with weights.
fn split(rules: &[Rule]) -> Option<usize> {
    let weighted = |rule: &&Rule| !rule.backends.is_empty();
    let plain = rules.iter().position(|rule| weighted(&rule) && rule.matches.iter().any(Match::is_any));
    plain.or_else(|| rules.iter().position(|rule| rule.backends.len() > 1))
}

/// The only backend of the rule that asks for the mark's header and its value. Rules with other headers are their
/// writers' own.
fn marked(rules: &[Rule], (name, value): (&str, &str), backends: &[Backend]) -> Option<String> {
    let asks = |m: &Match| {
        m.headers.iter().any(|(header, wanted)| {
            header.as_str().eq_ignore_ascii_case(name) && matches!(wanted, ValueMatch::Exact(v) if v == value)
        })
    };
    rules.iter().filter(|rule| rule.matches.iter().any(asks)).find_map(|rule| {
        let mut used = rule.backends.iter().filter(|(_, weight)| *weight > 0);
        let (Some((backend, _)), None) = (used.next(), used.next()) else { return None };
        Some(backends[*backend].revision.clone())
    })
}

struct Reader<'a> {
    path: &'a str,
    namespace: &'a str,
    rollout: &'a str,
}

impl Reader<'_> {
    fn rule(
        &self,
        rule: &HttpRouteRules,
        all: &mut Vec<Backend>,
        notes: &mut Vec<String>,
    ) -> Result<Rule, String> {
        let path = self.path;
        let refs = rule.backend_refs.as_deref().unwrap_or_default();
        if refs.is_empty() {
            notes.push(format!("{path}.backendRefs: is empty, its requests get 503; name a Service"));
        }
        if refs.len() > MAX_BACKENDS {
            return Err(format!(
                "{path}.backendRefs: has {} entries; write up to {MAX_BACKENDS}",
                refs.len()
            ));
        }
        let mut backends = Vec::new();
        for (i, backend) in refs.iter().enumerate() {
            backends.push(self.backend(&format!("{path}.backendRefs[{i}]"), backend, all, notes)?);
        }
        self.note_filters(rule.filters.as_deref().unwrap_or_default(), notes);
        Ok(Rule { matches: self.matches(rule)?, backends, timeout: self.timeout(rule, notes)? })
    }

    fn backend(
        &self,
        path: &str,
        backend: &HttpRouteRulesBackendRefs,
        all: &mut Vec<Backend>,
        notes: &mut Vec<String>,
    ) -> Result<(usize, u32), String> {
        let kind = (backend.group.as_deref().unwrap_or(""), backend.kind.as_deref().unwrap_or("Service"));
        if kind != ("", "Service") {
            return Err(format!("{path}.kind: {} can't be sent to; write Service", kind.1));
        }
        if backend.namespace.as_deref().is_some_and(|n| n != self.namespace) {
            return Err(format!("{path}.namespace: must be {}, that of the route", self.namespace));
        }
        let weight = backend.weight.unwrap_or(1);
        let weight = u32::try_from(weight).ok().filter(|w| *w <= MAX_WEIGHT);
        let weight = weight.ok_or_else(|| format!("{path}.weight: is outside 0 to {MAX_WEIGHT}"))?;
        if backend.filters.as_ref().is_some_and(|f| !f.is_empty()) {
            notes.push(format!(
                "{path}.filters: filters of a backend are not supported and left out; remove them"
            ));
        }
        let revision = object::revision_of(self.rollout, &backend.name).to_owned();
        let found = Backend { name: backend.name.clone(), port: backend.port, revision };
        let index = all.iter().position(|b| *b == found).unwrap_or(all.len());
        if index == all.len() {
            all.push(found);
        }
        Ok((index, weight))
    }

    fn note_filters(&self, filters: &[HttpRouteRulesFilters], notes: &mut Vec<String>) {
        for (i, filter) in filters.iter().enumerate() {
            let (path, name) = (self.path, filter_name(&filter.r#type));
            notes.push(format!("{path}.filters[{i}]: {name} is not supported and left out; remove it"));
        }
    }

    fn timeout(&self, rule: &HttpRouteRules, notes: &mut Vec<String>) -> Result<Option<Duration>, String> {
        let Some(timeouts) = &rule.timeouts else { return Ok(None) };
        let path = format!("{}.timeouts", self.path);
        if timeouts.backend_request.is_some() {
            notes
                .push(format!("{path}.backendRequest: is not supported and left out; write request instead"));
        }
        let Some(text) = &timeouts.request else { return Ok(None) };
        duration(text)
            .map(Some)
            .ok_or_else(|| format!("{path}.request: {text:?} is no duration; write 10s or 500ms"))
    }

    fn matches(&self, rule: &HttpRouteRules) -> Result<Vec<Match>, String> {
        let matches = rule.matches.as_deref().unwrap_or_default();
        if matches.len() > MAX_MATCHES {
            return Err(format!(
                "{}.matches: has {} entries; write up to {MAX_MATCHES}",
                self.path,
                matches.len()
            ));
        }
        if matches.is_empty() {
            return Ok(vec![Match::any()]);
        }
        let matches = matches.iter().enumerate();
        matches.map(|(i, m)| one_match(&format!("{}.matches[{i}]", self.path), m)).collect()
    }
}

fn one_match(path: &str, m: &HttpRouteRulesMatches) -> Result<Match, String> {
    let mut found = Match::any();
    if let Some(wanted) = &m.path {
        found.path = path_match(&format!("{path}.path"), wanted)?;
    }
    found.method = m.method.as_ref().map(method);
    for (i, header) in m.headers.iter().flatten().enumerate() {
        let path = format!("{path}.headers[{i}]");
        let name = HeaderName::try_from(&header.name);
        let name = name.map_err(|_| format!("{path}.name: {:?} is no header name", header.name))?;
        let by_expression =
            matches!(header.r#type, Some(HttpRouteRulesMatchesHeadersType::RegularExpression));
        add_once(&mut found.headers, name, value_match(&path, &header.value, by_expression)?);
    }
    for (i, query) in m.query_params.iter().flatten().enumerate() {
        let path = format!("{path}.queryParams[{i}]");
        let by_expression =
            matches!(query.r#type, Some(HttpRouteRulesMatchesQueryParamsType::RegularExpression));
        add_once(&mut found.query, query.name.clone(), value_match(&path, &query.value, by_expression)?);
    }
    Ok(found)
}

/// Of entries with the same name only the first counts (Gateway API, HTTPHeaderMatch and HTTPQueryParamMatch).
fn add_once<N: PartialEq>(all: &mut Vec<(N, ValueMatch)>, name: N, value: ValueMatch) {
    if all.iter().all(|(known, _)| *known != name) {
        all.push((name, value));
    }
}

fn value_match(path: &str, value: &str, by_expression: bool) -> Result<ValueMatch, String> {
    if !by_expression {
        return Ok(ValueMatch::Exact(value.to_owned()));
    }
    usable(&format!("{path}.value"), value).map(ValueMatch::Expression)
}

fn usable(path: &str, text: &str) -> Result<Regex, String> {
    expression(text).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default();
        format!("{path}: {text:?} is no expression that can be used: {reason}")
    })
}

fn path_match(path: &str, wanted: &HttpRouteRulesMatchesPath) -> Result<PathMatch, String> {
    let value = wanted.value.clone().unwrap_or_else(|| "/".into());
    let absolute = value.starts_with('/');
    match wanted.r#type {
        Some(HttpRouteRulesMatchesPathType::RegularExpression) => {
            usable(&format!("{path}.value"), &value).map(PathMatch::Expression)
        }
        _ if !absolute => Err(format!("{path}.value: {value:?} does not begin with a slash; write /{value}")),
        Some(HttpRouteRulesMatchesPathType::Exact) => Ok(PathMatch::Exact(value)),
        None | Some(HttpRouteRulesMatchesPathType::PathPrefix) => Ok(PathMatch::Prefix(value)),
    }
}

fn method(method: &HttpRouteRulesMatchesMethod) -> Method {
    match method {
        HttpRouteRulesMatchesMethod::Get => Method::GET,
        HttpRouteRulesMatchesMethod::Head => Method::HEAD,
        HttpRouteRulesMatchesMethod::Post => Method::POST,
        HttpRouteRulesMatchesMethod::Put => Method::PUT,
        HttpRouteRulesMatchesMethod::Delete => Method::DELETE,
        HttpRouteRulesMatchesMethod::Connect => Method::CONNECT,
        HttpRouteRulesMatchesMethod::Options => Method::OPTIONS,
        HttpRouteRulesMatchesMethod::Trace => Method::TRACE,
        HttpRouteRulesMatchesMethod::Patch => Method::PATCH,
    }
}

fn filter_name(kind: &HttpRouteRulesFiltersType) -> &'static str {
    match kind {
        HttpRouteRulesFiltersType::RequestHeaderModifier => "RequestHeaderModifier",
        HttpRouteRulesFiltersType::ResponseHeaderModifier => "ResponseHeaderModifier",
        HttpRouteRulesFiltersType::RequestMirror => "RequestMirror",
        HttpRouteRulesFiltersType::RequestRedirect => "RequestRedirect",
        HttpRouteRulesFiltersType::UrlRewrite => "URLRewrite",
        HttpRouteRulesFiltersType::ExtensionRef => "ExtensionRef",
        HttpRouteRulesFiltersType::Cors => "CORS",
    }
}

/// A duration as the Gateway API writes it (GEP-2257): `10s`, `1m30s`, `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let duration: gateway_api::Duration = text.parse().ok()?;
    Some(Duration::from_millis(u64::try_from(duration.as_millis()).ok()?))
}
