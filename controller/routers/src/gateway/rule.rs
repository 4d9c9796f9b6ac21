//! One rule of an HTTPRoute.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_core::revision::Revision;
use penstock_core::split::Weight;
use penstock_proxy_api::object;
use serde_json::{Map, Value, json};

use super::{Shape, field, list, text};

/// What a rule is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It divides requests among revisions.
    Split,
    /// It sends marked requests to one revision.
    Mark,
    /// It has no backend of ours.
    Foreign,
}

/// Tells backends of ours from others.
pub(super) struct Names {
    rollout: String,
    namespace: String,
    /// Headers that mark requests, and their values.
    marks: Vec<(String, String)>,
}

/// The largest weight that the Gateway API allows.
const HEAVIEST: u64 = 1_000_000;

impl Names {
    pub(super) fn of(route: &Value) -> Names {
        let labels = route.pointer("/metadata/labels");
        let label = labels.and_then(|labels| labels.get(object::ROLLOUT)).and_then(Value::as_str);
        Names {
            rollout: label.unwrap_or_else(|| text(route, "/metadata/name")).to_owned(),
            namespace: text(route, "/metadata/namespace").to_owned(),
            marks: mark_of(route).into_iter().collect(),
        }
    }

    /// What is going to stand there counts, too.
    pub(super) fn expect(&mut self, shape: &Shape) {
        self.rollout.clone_from(&shape.rollout);
        self.marks.extend(shape.mark.clone());
    }

    pub(super) fn kind(&self, rule: &Value) -> Kind {
        let ours = backends(rule).iter().any(|backend| self.revision(backend).is_some());
        let marked = || self.marks.iter().any(|(name, value)| asks_for(rule, name, value));
        match ours {
            false => Kind::Foreign,
            true if marked() => Kind::Mark,
            true => Kind::Split,
        }
    }

    /// The weights of our backends as they stand. Errors: a weight that is none.
    pub(super) fn weights(&self, rule: &Value) -> Result<BTreeMap<Revision, u64>, String> {
        let mut weights = BTreeMap::new();
        for backend in backends(rule) {
            let Some(revision) = self.revision(backend) else { continue };
            let weight = match backend.get("weight") {
                None | Some(Value::Null) => 1,
                Some(weight) => {
                    weight.as_u64().filter(|w| *w <= HEAVIEST).ok_or_else(|| weight.to_string())?
                }
            };
            *weights.entry(revision).or_insert(0) += weight;
        }
        Ok(weights)
    }

    /// The revision of the only backend; none when there are several.
    pub(super) fn only(&self, rule: &Value) -> Option<Revision> {
        let [backend] = backends(rule) else { return None };
        self.revision(backend)
    }

    /// Whether all backends are ours.
    pub(super) fn alone(&self, rule: &Value) -> bool {
        backends(rule).iter().all(|backend| self.revision(backend).is_some())
    }

    /// Our backends get these weights. New ones come last; what is no longer in the split goes, and in a rule for
    /// all requests what is not ours.
    pub(super) fn divide(&self, rule: &mut Value, weights: &BTreeMap<Revision, Weight>, port: u16) {
        let (mut missing, shared) = (weights.clone(), !takes_all(rule));
        let mut kept = list(field(rule, "backendRefs"));
        kept.retain_mut(|backend| {
            let Some(revision) = self.revision(backend) else { return shared };
            let Some(weight) = missing.remove(&revision) else { return false };
            set(backend, port, u64::from(weight.percent()));
            true
        });
        let new = missing
            .into_iter()
            .map(|(revision, weight)| self.backend(&revision, port, u64::from(weight.percent())));
        kept.extend(new);
        *field(rule, "backendRefs") = Value::Array(kept);
    }

    /// The only backend is this revision.
    pub(super) fn send_all(&self, rule: &mut Value, revision: &Revision, port: u16) {
        let backends = list(field(rule, "backendRefs"));
        let mut backend = backends.into_iter().next().unwrap_or_else(|| self.backend(revision, port, 1));
        set(&mut backend, port, 1);
        *field(&mut backend, "name") = Value::from(object::backend_of(&self.rollout, revision.as_str()));
        *field(rule, "backendRefs") = json!([backend]);
    }

    fn backend(&self, revision: &Revision, port: u16, weight: u64) -> Value {
        let name = object::backend_of(&self.rollout, revision.as_str());
        json!({"group": "", "kind": "Service", "name": name, "port": port, "weight": weight})
    }

    /// The revision that a backend is, if it is one of ours: a Service of our namespace named
    /// `<rollout>-<revision>`.
    fn revision(&self, backend: &Value) -> Option<Revision> {
        let field = |name: &str, default| {
            backend.get(name).filter(|v| !v.is_null()).map_or(Some(default), Value::as_str)
        };
        let service = field("kind", "Service") == Some("Service") && field("group", "") == Some("");
        let here = field("namespace", &self.namespace) == Some(self.namespace.as_str());
        let name = backend.get("name")?.as_str()?;
        let revision = name.strip_prefix(self.rollout.as_str())?.strip_prefix('-')?;
        Revision::new(revision).ok().filter(|_| service && here)
    }
}

fn set(backend: &mut Value, port: u16, weight: u64) {
    *field(backend, "port") = Value::from(port);
    *field(backend, "weight") = Value::from(weight);
}

fn backends(rule: &Value) -> &[Value] {
    rule.get("backendRefs").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn has_backends(rule: &Value) -> bool {
    !backends(rule).is_empty()
}

fn matches(rule: &Value) -> &[Value] {
    rule.get("matches").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a rule takes all requests: no matches, or one that asks for nothing but the path `/`, which is what an
/// API server makes of none.
pub(super) fn takes_all(rule: &Value) -> bool {
    let matches = matches(rule);
    matches.is_empty() || matches.iter().any(takes_any)
}

fn takes_any(one: &Value) -> bool {
    let none = Map::new();
    let mut parts = one.as_object().unwrap_or(&none).iter().filter(|(_, part)| !is_nothing(part));
    parts.all(|(name, part)| {
        let any = |kind: &str| kind == "PathPrefix" || kind.is_empty();
        name == "path" && any(text(part, "/type")) && matches!(text(part, "/value"), "/" | "")
    })
}

fn is_nothing(part: &Value) -> bool {
    part.is_null() || part.as_array().is_some_and(Vec::is_empty)
}

fn headers(one: &Value) -> &[Value] {
    one.get("headers").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether all matches of a rule ask for this header.
fn asks_for(rule: &Value, name: &str, value: &str) -> bool {
    let asks = |header: &Value| {
        let exact = matches!(text(header, "/type"), "Exact" | "");
        exact && text(header, "/name").eq_ignore_ascii_case(name) && text(header, "/value") == value
    };
    let matches = matches(rule);
    !matches.is_empty() && matches.iter().all(|one| headers(one).iter().any(asks))
}

/// All matches ask for this header. When they do already, they stay as they are, with what an API server or a
/// person added.
pub(super) fn ask_for_header(rule: &mut Value, name: &str, value: &str) {
    if !asks_for(rule, name, value) {
        let header = json!({"type": "Exact", "name": name, "value": value});
        *field(rule, "matches") = json!([{"headers": [header]}]);
    }
}

/// The header that the annotation names, and its value.
fn mark_of(route: &Value) -> Option<(String, String)> {
    let annotations = route.pointer("/metadata/annotations")?;
    let (name, value) = annotations.get(object::MARK)?.as_str()?.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// A duration as the Gateway API writes it: GEP-2257.
pub(super) fn duration(duration: Duration) -> String {
    // Five digits at most for each unit.
    let millis = duration.as_millis().min(99_999 * 3_600_000);
    let parts = [
        (millis / 3_600_000, "h"),
        (millis / 60_000 % 60, "m"),
        (millis / 1000 % 60, "s"),
        (millis % 1000, "ms"),
    ];
    let text: String = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}
