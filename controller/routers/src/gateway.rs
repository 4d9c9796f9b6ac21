//! HTTPRoutes of the Gateway API, as GAMMA binds them to a Service: <https://gateway-api.sigs.k8s.io/mesh/>.
//!
//! What is ours in an HTTPRoute: backends named `<rollout>-<revision>`, the rules that have one, and our
//! annotations. Everything else is kept as it stands.
//! - **The split** is in every rule with backends of ours. The first rule that takes all requests is always one of
//!   them: it is put in front of any other such rule.
//! - **The mark** is the rule of ours whose matches all ask for the header that our annotation names.
//! - **Backends of others** keep their weights in rules for some requests: the split divides what is left to ours.
//!   The rule for all requests is the split and nothing else, or 100 % would not be all: they are taken out of it.
//!   Who wants them writes a rule with matches.

mod rule;

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::revision::Revision;
use penstock_core::split::{Generation, Split, Weight};
use penstock_proxy_api::object;
use serde_json::{Map, Value, json};

use rule::{Kind, Names};

/// The `apiVersion` of an HTTPRoute.
pub const API_VERSION: &str = "gateway.networking.k8s.io/v1";
/// The `kind` of an HTTPRoute.
pub const KIND: &str = "HTTPRoute";
/// Annotation of an HTTPRoute: the timeout in it is ours, and goes when the Rollout has none any more.
const TIMEOUT: &str = "penstock.dev/timeout";

/// What an HTTPRoute says beside the split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name, which is the HTTPRoute's, too.
    pub rollout: String,
    /// The Service that clients call.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The port of the revisions' Services.
    pub backend_port: u16,
    /// The header and the whole value that mark requests for a revision; needed where a split has a marked one.
    pub mark: Option<(String, String)>,
    /// What makes requests stick to a revision.
    pub sticky: Option<Sticky>,
    /// Limits that need an edge in the proxies' histograms.
    pub latency_limits: Vec<Duration>,
    /// A request that has no answer after so long fails. `None`: what stands in the object stays.
    pub timeout: Option<Duration>,
    /// The port on which proxies listen for the Rollout. `None`: the Service that clients call says it.
    pub listen: Option<u16>,
}

/// What makes requests stick to a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

/// An HTTPRoute that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("expected an HTTPRoute, found `{kind}` named `{name}`: remove it, or give it another name")]
    Kind {
        /// What it says it is.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Its generation is no number.
    #[error(
        "HTTPRoute `{name}`: metadata.annotations[\"penstock.dev/generation\"] is `{value}`, no number: remove the annotation"
    )]
    Generation {
        /// Its name.
        name: String,
        /// What stands there.
        value: String,
    },
    /// A backend's weight is none.
    #[error(
        "HTTPRoute `{name}`: spec.rules[{rule}]: a weight is `{value}`: write a whole number from 0 to 1000000"
    )]
    Weight {
        /// Its name.
        name: String,
        /// Index of the rule.
        rule: usize,
        /// What stands there.
        value: String,
    },
}

/// The split that stands in an HTTPRoute.
///
/// Weights that do not add up to 100 are read as shares of 100. When no one split stands there (no rule of ours
/// takes all requests, or others share it, or rules of ours disagree), the weights are empty: it differs from any
/// split that was decided. Errors: [`ReadError`].
pub fn read(route: &Value) -> Result<Split, ReadError> {
    let name = text(route, "/metadata/name").to_owned();
    let kind = text(route, "/kind");
    if kind != KIND {
        return Err(ReadError::Kind { kind: kind.to_owned(), name });
    }
    let names = Names::of(route);
    let rules = route.pointer("/spec/rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut splits = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        if names.kind(rule) == Kind::Split {
            let weights = names.weights(rule);
            splits.push(weights.map_err(|value| ReadError::Weight { name: name.clone(), rule: n, value })?);
        }
    }
    let first = rules.iter().find(|rule| rule::takes_all(rule));
    let governed = first.is_some_and(|rule| names.kind(rule) == Kind::Split && names.alone(rule));
    let agreed = splits.windows(2).all(|pair| pair[0] == pair[1]);
    let weights = splits.into_iter().next().filter(|_| governed && agreed).unwrap_or_default();
    let marked = rules.iter().find(|rule| names.kind(rule) == Kind::Mark).and_then(|rule| names.only(rule));
    Ok(Split { generation: generation(route, name)?, weights: percent(weights), marked })
}

/// A fresh HTTPRoute.
pub fn new(split: &Split, shape: &Shape) -> Value {
    let mut route = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": shape.rollout, "namespace": shape.namespace},
        "spec": {"rules": []},
    });
    write(&mut route, split, shape);
    route
}

/// Writes a split into an HTTPRoute and keeps everything that is not ours. Doing it twice is doing it once, and
/// [`read`] gives the same split back.
pub fn write(route: &mut Value, split: &Split, shape: &Shape) {
    let mut names = Names::of(route);
    names.expect(shape);
    let metadata = field(route, "metadata");
    *field(field(metadata, "labels"), object::ROLLOUT) = Value::from(shape.rollout.as_str());
    let had_timeout = write_annotations(field(metadata, "annotations"), split, shape);
    let spec = field(route, "spec");
    if !field(spec, "parentRefs").is_array() {
        *field(spec, "parentRefs") = parents(shape);
    }
    let mut rules = list(field(spec, "rules"));
    write_mark(&mut rules, &names, split.marked.as_ref(), shape);
    write_split(&mut rules, &names, split, shape);
    for rule in rules.iter_mut().filter(|rule| names.kind(rule) != Kind::Foreign) {
        write_timeout(rule, shape.timeout, had_timeout);
    }
    *field(spec, "rules") = Value::Array(rules);
}

/// Whether an HTTPRoute says all that [`write`] would write.
pub fn stands(route: &Value, split: &Split, shape: &Shape) -> bool {
    let mut wanted = route.clone();
    write(&mut wanted, split, shape);
    wanted == *route
}

fn parents(shape: &Shape) -> Value {
    json!([{"group": "", "kind": "Service", "name": shape.service, "port": shape.port}])
}

/// Returns whether the timeout that stands in the object is ours.
fn write_annotations(annotations: &mut Value, split: &Split, shape: &Shape) -> bool {
    let seconds = |limit: &Duration| limit.as_secs_f64().to_string();
    let limits: Vec<String> = shape.latency_limits.iter().map(seconds).collect();
    let sticky = shape.sticky.as_ref().map(|sticky| match sticky {
        Sticky::Header(name) => format!("header:{name}"),
        Sticky::Cookie(name) => format!("cookie:{name}"),
    });
    let mark = shape.mark.as_ref().filter(|_| split.marked.is_some());
    let had_timeout = annotations.get(TIMEOUT).is_some();
    let wanted = [
        (object::GENERATION, Some(split.generation.to_string())),
        (object::LATENCY_LIMITS, Some(limits.join(",")).filter(|limits| !limits.is_empty())),
        (object::STICKY, sticky),
        (object::MARK, mark.map(|(name, value)| format!("{name}={value}"))),
        (TIMEOUT, shape.timeout.map(rule::duration)),
        (object::LISTEN, shape.listen.map(|port| port.to_string())),
    ];
    for (name, value) in wanted {
        match value {
            Some(value) => *field(annotations, name) = Value::from(value),
            None => remove(annotations, name),
        }
    }
    had_timeout
}

/// Leaves one mark at most: the first one, so that what else stands in it is kept.
fn write_mark(rules: &mut Vec<Value>, names: &Names, marked: Option<&Revision>, shape: &Shape) {
    let wanted = marked.zip(shape.mark.as_ref());
    let mut seen = false;
    rules.retain_mut(|rule| {
        if names.kind(rule) != Kind::Mark {
            return true;
        }
        let Some((revision, (header, value))) = wanted.filter(|_| !seen) else { return false };
        seen = true;
        rule::ask_for_header(rule, header, value);
        names.send_all(rule, revision, shape.backend_port);
        true
    });
    if let Some((revision, (header, value))) = wanted.filter(|_| !seen) {
        let mut rule = json!({});
        rule::ask_for_header(&mut rule, header, value);
        names.send_all(&mut rule, revision, shape.backend_port);
        rules.insert(0, rule);
    }
}

fn write_split(rules: &mut Vec<Value>, names: &Names, split: &Split, shape: &Shape) {
    for rule in rules.iter_mut().filter(|rule| names.kind(rule) == Kind::Split) {
        names.divide(rule, &split.weights, shape.backend_port);
    }
    if split.weights.is_empty() {
        rules.retain(|rule| rule::has_backends(rule) || names.kind(rule) == Kind::Foreign);
        return;
    }
    let first = rules.iter().position(rule::takes_all);
    let ours = rules.iter().position(|rule| rule::takes_all(rule) && names.kind(rule) == Kind::Split);
    match (first, ours) {
        (Some(first), Some(ours)) if first < ours => rules[first..=ours].rotate_right(1),
        (Some(_), Some(_)) => {}
        (first, None) | (first @ None, Some(_)) => {
            let mut rule = json!({});
            names.divide(&mut rule, &split.weights, shape.backend_port);
            rules.insert(first.unwrap_or(rules.len()), rule);
        }
    }
}

fn write_timeout(rule: &mut Value, timeout: Option<Duration>, had_timeout: bool) {
    match timeout {
        Some(timeout) => *field(field(rule, "timeouts"), "request") = Value::from(rule::duration(timeout)),
        None if had_timeout => {
            remove(field(rule, "timeouts"), "request");
            if field(rule, "timeouts").as_object().is_none_or(Map::is_empty) {
                remove(rule, "timeouts");
            }
        }
        None => {}
    }
}

fn generation(route: &Value, name: String) -> Result<Generation, ReadError> {
    match route.pointer("/metadata/annotations").and_then(|a| a.get(object::GENERATION)) {
        None | Some(Value::Null) => Ok(Generation::default()),
        Some(value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.parse().map(Generation).map_err(|_| ReadError::Generation { name, value: text })
        }
    }
}

/// Shares of 100, the remainders given to those that lose most by rounding down.
fn percent(weights: BTreeMap<Revision, u64>) -> BTreeMap<Revision, Weight> {
    let total: u64 = weights.values().sum();
    if total == 0 {
        return BTreeMap::new();
    }
    let mut shares: Vec<_> =
        weights.into_iter().map(|(r, w)| (r, w * 100 / total, w * 100 % total)).collect();
    let missing = 100 - shares.iter().map(|(_, share, _)| share).sum::<u64>();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&n| std::cmp::Reverse(shares[n].2));
    for &n in order.iter().cycle().take(usize::try_from(missing).unwrap_or(0)) {
        shares[n].1 += 1;
    }
    let weight = |share: u64| u8::try_from(share).ok().and_then(|share| Weight::new(share).ok());
    shares.into_iter().filter_map(|(revision, share, _)| Some((revision, weight(share)?))).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A field of an object; what is no object becomes one, and a field that was missing is null.
fn field<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    &mut value[name]
}

fn remove(value: &mut Value, name: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(name);
    }
}

/// Takes the items of a list; what is no list has none.
fn list(value: &mut Value) -> Vec<Value> {
    match value.take() {
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
    }
}
