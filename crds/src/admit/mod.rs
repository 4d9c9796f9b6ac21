//! From a Rollout as it is written to what the rollout machine works with: all defaults and all refusals.

mod analysis;
mod notify;
mod outside;
mod pods;
mod room;
mod source;
mod steps;
mod strategy;

pub(crate) use notify::receiver_of;
pub(crate) use outside::freeze;

use std::collections::BTreeMap;

use penstock_core::strategy::Strategy;
use serde::Deserialize;
use serde_json::Value;

use crate::facts::Facts;
use crate::refusal::{Refusal, Refusals};
use crate::rollout::Rollout;
use crate::shape::{self, nearest};
use crate::{API_VERSION, GROUP, KIND};

/// A Rollout that is well, defaults included.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// What the rollout machine works with.
    pub strategy: Strategy,
    /// What the driver needs beside it.
    pub facts: Facts,
    /// What may be wrong, and refuses nothing.
    pub warnings: Vec<Refusal>,
}

/// Admits a Rollout whose form is known to be right: one that an API server has let through.
///
/// Errors: all that is wrong with it.
pub fn admit(rollout: &Rollout) -> Result<Admitted, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    let admitted = admit_typed(rollout, &mut refusals);
    finished(admitted, refusals)
}

/// Admits a Rollout as it stands in a file: its form is checked, too.
///
/// Errors: all that is wrong with it.
pub fn admit_value(object: &Value) -> Result<Admitted, Vec<Refusal>> {
    let (admitted, warnings) = inspect(object);
    admitted.map(|admitted| Admitted { warnings, ..admitted })
}

/// As [`admit_value`], and what may be wrong, also when the Rollout is refused.
pub fn inspect(object: &Value) -> (Result<Admitted, Vec<Refusal>>, Vec<Refusal>) {
    let (mut refusals, mut warnings) = (Refusals::default(), Refusals::default());
    check_kind(object, &mut refusals);
    let mut object = object.clone();
    shape::check(&mut object, &mut refusals, &mut warnings);
    complete(&mut object);
    let admitted = match Rollout::deserialize(&object) {
        Ok(rollout) => admit_typed(&rollout, &mut refusals),
        Err(error) => {
            refusals.add("spec", error.to_string(), format!("write it as {API_VERSION} has it"));
            None
        }
    };
    (finished(admitted, refusals), warnings.into_vec())
}

/// What was missed has been said: the rest is to be read all the same.
fn complete(object: &mut Value) {
    let Some(members) = object.as_object_mut() else { return };
    members.remove("status");
    for name in ["metadata", "spec"] {
        members.entry(name).or_insert_with(|| Value::Object(Default::default()));
    }
    for (name, value) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        members.insert(name.to_owned(), Value::from(value));
    }
}

/// Two Rollouts that can't live together: the same name twice in a namespace, or one Service for both.
///
/// Returns, for the later of two, its index and what is wrong with it.
pub fn clashes<'a>(all: impl IntoIterator<Item = &'a Facts>) -> Vec<(usize, Refusal)> {
    let (mut names, mut services, mut found) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (n, facts) in all.into_iter().enumerate() {
        let namespace = facts.namespace.as_str();
        let refusal = if names.insert((namespace, facts.name.as_str()), ()).is_some() {
            Some(refusal(
                "metadata.name",
                format!("a second Rollout `{}`", facts.name),
                "give it another name",
            ))
        } else {
            let first =
                *services.entry((namespace, facts.service.name.as_str())).or_insert(facts.name.as_str());
            let problem = || format!("the Service `{}` belongs to the Rollout `{first}`", facts.service.name);
            (first != facts.name).then(|| {
                refusal("spec.service.name", problem(), "name another Service, or remove one Rollout")
            })
        };
        found.extend(refusal.map(|refusal| (n, refusal)));
    }
    found
}

fn refusal(path: &str, problem: String, remedy: &str) -> Refusal {
    Refusal { path: path.to_owned(), problem, remedy: remedy.to_owned() }
}

fn finished(admitted: Option<Admitted>, refusals: Refusals) -> Result<Admitted, Vec<Refusal>> {
    admitted.filter(|_| refusals.is_empty()).ok_or_else(|| refusals.into_vec())
}

fn check_kind(object: &Value, refusals: &mut Refusals) {
    let text = |name| object.get(name).and_then(Value::as_str);
    if !object.is_object() {
        refusals.add("", "no object", format!("write `apiVersion: {API_VERSION}` and `kind: {KIND}`"));
    } else if text("apiVersion") != Some(API_VERSION) {
        let problem = text("apiVersion").map_or("missing".to_owned(), |v| format!("`{v}` is unknown"));
        refusals.add("apiVersion", problem, format!("write {API_VERSION}"));
    }
    if object.is_object() && text("kind") != Some(KIND) {
        let problem = text("kind").map_or("missing".to_owned(), |k| format!("{GROUP} has no kind `{k}`"));
        refusals.add("kind", problem, format!("write {KIND}"));
    }
}

fn admit_typed(rollout: &Rollout, refusals: &mut Refusals) -> Option<Admitted> {
    let spec = &rollout.spec;
    let (namespace, name) = (namespace(rollout, refusals), name(rollout, refusals));
    let pods = pods::admit(spec, refusals);
    let (service, timeout) = (pods::service(spec, refusals), strategy::timeout(spec, refusals));
    let (way, room) = (strategy::admit(spec, refusals), room::admit(spec, refusals));
    let analysis = analysis::admit(spec.analysis.as_ref(), refusals);
    let receivers = notify::receivers(spec.notify.as_ref(), refusals);
    let freezes = outside::freezes(spec.freeze.as_ref(), refusals);
    let (pods, way, room, (source, analysis)) = (pods?, way?, room?, analysis?);
    let strategy = Strategy {
        revision: pods.revision,
        replicas: pods.replicas,
        steps: way.steps,
        paused: spec.paused.unwrap_or(false),
        marks_canary: way.marks.is_some(),
        analysis,
        progress_deadline: way.progress_deadline,
        max_surge: room.surge,
        max_unavailable: room.unavailable,
        history_limit: way.history_limit,
    };
    let (marks, sticky) = (way.marks, way.sticky);
    let (selector, template) = (pods.selector, pods.template);
    let facts = Facts {
        namespace: namespace?,
        name: name?,
        service: service?,
        selector,
        template,
        source,
        gates: way.gates,
        freezes: freezes?,
        receivers: receivers?,
        marks,
        sticky,
        timeout,
        min_ready_seconds: pods.min_ready_seconds,
    };
    Some(Admitted { strategy, facts, warnings: Vec::new() })
}

/// The longest name to which a Service can add `-` and a revision.
const LONGEST_NAME: usize = 63 - 1 - crate::revision::DIGITS;

fn name(rollout: &Rollout, refusals: &mut Refusals) -> Option<String> {
    let path = "metadata.name";
    let Some(name) = rollout.metadata.name.as_deref().filter(|name| !name.is_empty()) else {
        refusals.add(path, "missing", "write a name, for instance checkout");
        return None;
    };
    if name.len() > LONGEST_NAME {
        let problem = format!("`{name}` has {} characters", name.len());
        refusals.add(
            path,
            problem,
            format!("write at most {LONGEST_NAME}: its Services add a revision to it"),
        );
        return None;
    }
    names_a_service(path, name, refusals).then(|| name.to_owned())
}

fn namespace(rollout: &Rollout, refusals: &mut Refusals) -> Option<String> {
    let name = rollout.metadata.namespace.as_deref().unwrap_or("default");
    let fits = is_label(name);
    if !fits {
        let remedy = "write at most 63 of a-z, 0-9 and -, neither beginning nor ending with -";
        refusals.add("metadata.namespace", format!("`{name}` is no name of a namespace"), remedy);
    }
    fits.then(|| name.to_owned())
}

/// Whether a Service may have this name: a label as RFC 1035 has it.
fn names_a_service(path: &str, name: &str, refusals: &mut Refusals) -> bool {
    let fits = is_label(name) && !name.starts_with(|c: char| c.is_ascii_digit());
    if !fits {
        let remedy = "write at most 63 of a-z, 0-9 and -, beginning with a letter and not ending with -";
        refusals.add(path, format!("`{name}` is no name of a Service"), remedy);
    }
    fits
}

/// Whether a name is a label as RFC 1123 has it: 1 to 63 of a-z, 0-9 and `-`, neither beginning nor ending with `-`. Names
/// of namespaces are.
pub fn is_label(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edged = name.starts_with('-') || name.ends_with('-');
    (1..=63).contains(&name.len()) && name.bytes().all(allowed) && !edged
}

/// A whole number within a range.
fn within<T: TryFrom<i64>>(
    path: &str,
    number: impl Into<i64>,
    range: std::ops::RangeInclusive<i64>,
    refusals: &mut Refusals,
) -> Option<T> {
    let number = number.into();
    if !range.contains(&number) {
        let (low, high) = range.into_inner();
        let limit =
            if high >= i64::from(i32::MAX) { format!("{low} or more") } else { format!("{low} to {high}") };
        refusals.add(path, format!("{number} is outside {limit}"), format!("write {limit}"));
        return None;
    }
    T::try_from(number).ok()
}

/// What to write instead of an unknown word.
fn did_you_mean(word: &str, known: &[&str]) -> String {
    let names: Vec<String> = known.iter().map(|&k| k.to_owned()).collect();
    match nearest(word, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", known.join(" or ")),
    }
}
