//! Annotations of people that are orders, and those that nearly are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use penstock_core::observation::{Order, OrderKind};
use penstock_core::revision::Revision;
use penstock_core::time::Time;
use penstock_crds::GROUP;
use penstock_proxy_api::object;
use serde_json::Value;

use super::{LONGEST_REASON, LONGEST_WHO, ORDERS, annotation_of_who, line};

/// The words of orders. Of two that were given at one time, the later one here holds.
const WORDS: [&str; 7] = ["resume", "retry", "undo", "promote", "promote-full", "pause", "abort"];
/// Annotations of ours on a Rollout that are no orders.
const OTHERS: [&str; 2] = [ORDERS, object::LISTEN];
/// Most problems that are told at a time.
const MOST_PROBLEMS: usize = 8;

/// An order as a person has written it.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    /// The whole name of its annotation.
    pub(super) annotation: String,
    /// That of who gives it, if it is there.
    pub(super) annotation_of_who: Option<String>,
    kind: OrderKind,
    who: String,
    reason: String,
    at: Time,
}

impl Wish {
    pub(super) fn order(&self, id: String) -> Order {
        let Wish { kind, who, reason, at, .. } = self;
        Order { id, kind: kind.clone(), who: who.clone(), reason: reason.clone(), at: *at }
    }
}

/// All orders that are written, those first that were given first, and what is wrong with others.
pub(super) fn all(metadata: &ObjectMeta, now: Time) -> (Vec<Wish>, Vec<String>) {
    let mut problems = Vec::new();
    let mut wishes = Vec::new();
    for word in WORDS {
        match wish(metadata, word, now) {
            Ok(wish) => wishes.extend(wish),
            Err(problem) => problems.push(problem),
        }
    }
    // Stable: those of one time stay in the order of the words.
    wishes.sort_by_key(|wish| wish.at);
    problems.extend(unknown(metadata));
    problems.truncate(MOST_PROBLEMS);
    (wishes, problems)
}

fn wish(metadata: &ObjectMeta, word: &str, now: Time) -> Result<Option<Wish>, String> {
    let annotation = format!("{GROUP}/{word}");
    let Some(value) = value(metadata, &annotation) else { return Ok(None) };
    let mut reason = value;
    let kind = match word {
        "abort" => OrderKind::Abort,
        "promote" => OrderKind::Promote,
        "promote-full" => OrderKind::PromoteFull,
        "pause" => OrderKind::Pause,
        "resume" => OrderKind::Resume,
        "retry" => OrderKind::Retry,
        _ => {
            let (name, why) = value.split_once(':').unwrap_or((value, ""));
            reason = why;
            OrderKind::Undo(revision(metadata, name)?)
        }
    };
    let reason = line(reason, LONGEST_REASON);
    let writer = writer(metadata, &annotation);
    let at =
        writer.and_then(|writer| writer.time.as_ref()).map_or(now, |at| time(at.0.as_millisecond()).min(now));
    let beside = annotation_of_who(&annotation);
    let named = self::value(metadata, &beside).map(str::trim);
    let annotation_of_who = named.map(|_| beside);
    let by = named.filter(|who| !who.is_empty()).or(writer.and_then(|writer| writer.manager.as_deref()));
    let who = by.map_or_else(|| "somebody".to_owned(), |who| line(who, LONGEST_WHO));
    Ok(Some(Wish { annotation, annotation_of_who, kind, who, reason, at }))
}

/// The revision of an `undo`: its name, also as its ReplicaSet has it, or nothing for the one before. The reason stands
/// behind a colon, which no name has.
fn revision(metadata: &ObjectMeta, value: &str) -> Result<Option<Revision>, String> {
    let rollout = metadata.name.as_deref().unwrap_or_default();
    let name = object::revision_of(rollout, value.trim());
    if name.is_empty() {
        return Ok(None);
    }
    Revision::new(name).map(Some).map_err(|_| {
        let shown = line(name, 63);
        format!("the annotation {GROUP}/undo names `{shown}`, which is no revision: write one of status.revisions, or nothing for the one before; a reason goes behind a colon")
    })
}

/// Who wrote an annotation last: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.
fn writer<'a>(metadata: &'a ObjectMeta, annotation: &str) -> Option<&'a ManagedFieldsEntry> {
    let field = format!("f:{annotation}");
    let wrote = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
        fields
            .pointer("/f:metadata/f:annotations")
            .is_some_and(|annotations| annotations.get(&field).is_some())
    };
    metadata.managed_fields.iter().flatten().filter(wrote).max_by_key(|entry| entry.time.clone())
}

fn value<'a>(metadata: &'a ObjectMeta, annotation: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(annotation).map(String::as_str)
}

fn time(millis: i64) -> Time {
    Time(u64::try_from(millis).unwrap_or(0))
}

/// Annotations that look like orders and are none.
fn unknown(metadata: &ObjectMeta) -> impl Iterator<Item = String> {
    let names = metadata.annotations.iter().flat_map(|annotations| annotations.keys());
    let ours = names.filter(|name| !OTHERS.contains(&name.as_str()));
    ours.filter_map(|name| {
        let word = name.strip_prefix(GROUP)?.strip_prefix('/')?;
        let order = word.strip_suffix("-by").unwrap_or(word);
        (!WORDS.contains(&order)).then(|| {
            let shown = line(word, 63);
            format!("the annotation {GROUP}/{shown} is no order: {}", remedy(word))
        })
    })
}

fn remedy(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&word, known);
    let near = WORDS.iter().min_by_key(distance).filter(|known| distance(known) <= 2.min(known.len() / 2));
    match near {
        Some(near) => format!("did you mean {GROUP}/{near}?"),
        None => format!("orders are {}", WORDS.join(", ")),
    }
}
