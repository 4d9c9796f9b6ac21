//! The Rollouts that a watch has told of, each kept as compact JSON: most of them are idle most of the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use penstock_crds::{GROUP, Phase};
use penstock_signals::RolloutName;
use serde_json::Value;
use tokio::sync::watch;

/// One Rollout as it was told last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Tells it from an earlier one of the same name.
    pub(super) uid: String,
    /// What a write gives back, to be made on this very version only.
    pub(super) version: String,
    /// Whether it is on its way out.
    pub(super) deleting: bool,
    /// Whether no revision of it has ever served.
    pub(super) new: bool,
    /// Whether by its own word nothing is under way, or nothing has been yet, and nobody has given an order.
    pub(super) calm: bool,
    /// What it takes for itself.
    pub(super) claim: Claim,
    text: Box<str>,
}

impl Entry {
    fn of(mut object: DynamicObject) -> Option<Entry> {
        let uid = object.uid()?;
        let deleting = object.metadata.deletion_timestamp.is_some();
        let version = object.resource_version().unwrap_or_default();
        let claim = Claim::of(&object);
        let ordered = is_ordered(&object);
        let new = object.data.pointer("/status/stableRevision").is_none_or(Value::is_null);
        let calm = !deleting && !ordered && (stands(&object) || new);
        if !ordered {
            // They say who gave an order, and no more is read of them; often they are half of the text.
            object.metadata.managed_fields = None;
        }
        let text = serde_json::to_string(&object).ok()?.into_boxed_str();
        Some(Entry { uid, version, deleting, new, calm, claim, text })
    }

    /// The whole object.
    pub(super) fn object(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// Whether an annotation is ours, as orders are.
fn is_ordered(object: &DynamicObject) -> bool {
    let ours = |name: &String| name.split_once('/').is_some_and(|(domain, _)| domain == GROUP);
    object.annotations().keys().any(ours)
}

/// Whether the status answers the present spec, and says that it is released.
fn stands(object: &DynamicObject) -> bool {
    let phase = object.data.pointer("/status/phase").and_then(Value::as_str);
    let answered = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    phase == Some(Phase::Stable.as_str()) && answered.is_some() && answered == object.metadata.generation
}

/// What a Rollout takes for itself: a Service and pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claim {
    created: i64,
    service: String,
    selector: LabelSelector,
    labels: BTreeMap<String, String>,
}

impl Claim {
    fn of(object: &DynamicObject) -> Claim {
        let read = |path: &str| object.data.pointer(path).cloned().unwrap_or_default();
        Claim {
            created: object.creation_timestamp().map_or(i64::MAX, |at| at.0.as_second()),
            service: read("/spec/service/name").as_str().unwrap_or_default().to_owned(),
            selector: serde_json::from_value(read("/spec/selector")).unwrap_or_default(),
            labels: serde_json::from_value(read("/spec/template/metadata/labels")).unwrap_or_default(),
        }
    }

    /// What both want, as the field's path, what is wrong and what to do.
    fn clash(&self, other: &Claim, of: &RolloutName) -> Option<String> {
        if self.service == other.service {
            let remedy = "name another Service, or delete one of the two";
            return Some(format!(
                "spec.service.name: `{}` belongs to the Rollout {of}: {remedy}",
                self.service
            ));
        }
        let takes = |selector: &LabelSelector, labels: &BTreeMap<String, String>| {
            let selector = kube::core::Selector::try_from(selector.clone()).ok();
            selector.is_some_and(|s| !s.selects_all() && kube::core::SelectorExt::matches(&s, labels))
        };
        let overlaps = takes(&self.selector, &other.labels) || takes(&other.selector, &self.labels);
        let remedy = "give the pods of each a label of their own and select by it";
        overlaps.then(|| format!("spec.selector: it takes pods of the Rollout {of}, too: {remedy}"))
    }
}

/// All Rollouts.
pub(super) struct Rollouts {
    inner: Mutex<Inner>,
    synced: watch::Sender<bool>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    all: BTreeMap<RolloutName, Arc<Entry>>,
    arriving: Option<BTreeMap<RolloutName, Arc<Entry>>>,
}

impl Default for Rollouts {
    fn default() -> Rollouts {
        Rollouts { inner: Mutex::default(), synced: watch::channel(false).0, changes: watch::channel(0).0 }
    }
}

impl Rollouts {
    /// Takes an event in. Returns who is concerned.
    pub(super) fn apply(&self, event: Event<DynamicObject>) -> BTreeSet<RolloutName> {
        let concerned = self.take(event);
        if !concerned.is_empty() {
            self.tell();
        }
        concerned
    }

    fn take(&self, event: Event<DynamicObject>) -> BTreeSet<RolloutName> {
        let mut inner = self.lock();
        match event {
            Event::Init => inner.arriving = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                if let Some((key, entry)) = entry(object) {
                    inner.arriving.get_or_insert_default().insert(key, Arc::new(entry));
                }
            }
            Event::InitDone => {
                let arrived = inner.arriving.take().unwrap_or_default();
                let before = std::mem::replace(&mut inner.all, arrived);
                let keys: BTreeSet<_> = before.keys().chain(inner.all.keys()).cloned().collect();
                let same = |key: &RolloutName| {
                    before.get(key).map(|e| &e.version) == inner.all.get(key).map(|e| &e.version)
                };
                let concerned = keys.into_iter().filter(|key| !same(key)).collect();
                drop(inner);
                self.synced.send_replace(true);
                return concerned;
            }
            Event::Apply(object) => {
                return entry(object)
                    .and_then(|(key, entry)| put(&mut inner, key, entry))
                    .into_iter()
                    .collect();
            }
            Event::Delete(object) => {
                let Some((key, _)) = entry(object) else { return BTreeSet::new() };
                inner.all.remove(&key);
                return [key].into();
            }
        }
        BTreeSet::new()
    }

    /// Takes in what a read or a write has returned, before the watch tells of it.
    pub(super) fn put(&self, object: DynamicObject) {
        if let Some((key, entry)) = entry(object) {
            put(&mut self.lock(), key, entry);
            self.tell();
        }
    }

    /// Forgets one that is gone.
    pub(super) fn remove(&self, key: &RolloutName) {
        self.lock().all.remove(key);
        self.tell();
    }

    /// All of them with their versions.
    pub(super) fn versions(&self) -> Vec<(RolloutName, String)> {
        self.lock().all.iter().map(|(key, entry)| (key.clone(), entry.version.clone())).collect()
    }

    /// Rings when any of them has changed, come or gone.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn tell(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// One Rollout.
    pub(super) fn get(&self, key: &RolloutName) -> Option<Arc<Entry>> {
        self.lock().all.get(key).cloned()
    }

    /// The Rollouts of a namespace with their uids.
    pub(super) fn within(&self, namespace: &str) -> Vec<(RolloutName, Arc<Entry>)> {
        let first = RolloutName { namespace: namespace.to_owned(), name: String::new() };
        let inner = self.lock();
        let all = inner.all.range(first..).take_while(|(key, _)| key.namespace == namespace);
        all.map(|(key, entry)| (key.clone(), Arc::clone(entry))).collect()
    }

    /// All of them.
    pub(super) fn keys(&self) -> Vec<RolloutName> {
        self.lock().all.keys().cloned().collect()
    }

    /// Why a Rollout can't live beside an earlier one of its namespace, in words.
    pub(super) fn clash(&self, key: &RolloutName, mine: &Entry) -> Option<String> {
        let age = |key: &RolloutName, claim: &Claim| (claim.created, key.name.clone());
        let all = self.within(&key.namespace);
        let earlier = all.iter().filter(|(other, entry)| {
            other != key && !entry.deleting && age(other, &entry.claim) < age(key, &mine.claim)
        });
        earlier.into_iter().find_map(|(other, entry)| mine.claim.clash(&entry.claim, other))
    }

    /// Whether a first list is complete.
    pub(super) fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until a first list is complete.
    pub(super) async fn synced(&self) {
        // The sender lives as long as this does.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(object: DynamicObject) -> Option<(RolloutName, Entry)> {
    let key = RolloutName { namespace: object.namespace()?, name: object.name_any() };
    Some((key, Entry::of(object)?))
}

/// `None`: it is no newer than what is known.
fn put(inner: &mut Inner, key: RolloutName, entry: Entry) -> Option<RolloutName> {
    let number = |version: &str| version.parse::<u64>().ok();
    let newer = |known: &Arc<Entry>| {
        known.uid != entry.uid
            || number(&entry.version).zip(number(&known.version)).is_none_or(|(new, old)| new > old)
    };
    if !inner.all.get(&key).is_none_or(newer) {
        return None;
    }
    inner.all.insert(key.clone(), Arc::new(entry));
    Some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(name: &str, second: u32, service: &str, app: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1",
                         "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"service": {"name": service}, "selector": {"matchLabels": {"app": app}},
                     "template": {"metadata": {"labels": {"app": app}}}},
        }))
        .unwrap()
    }

    fn clash(all: &Rollouts, name: &str) -> Option<String> {
        let key = RolloutName { namespace: "shop".into(), name: name.into() };
        all.clash(&key, &all.get(&key).unwrap())
    }

    #[test]
    fn of_two_with_one_service_the_later_is_refused_and_the_first_untouched() {
        let all = Rollouts::default();
        for (name, second, service, app) in [("cart", 9, "web", "cart"), ("checkout", 3, "web", "checkout")] {
            all.apply(Event::Apply(rollout(name, second, service, app)));
        }
        assert_eq!(clash(&all, "checkout"), None);
        assert!(
            clash(&all, "cart")
                .unwrap()
                .starts_with("spec.service.name: `web` belongs to the Rollout shop/checkout")
        );
    }

    #[test]
    fn of_two_with_overlapping_selectors_the_later_is_refused() {
        let all = Rollouts::default();
        all.apply(Event::Apply(rollout("cart", 1, "cart", "web")));
        all.apply(Event::Apply(rollout("checkout", 2, "checkout", "web")));
        assert_eq!(clash(&all, "cart"), None);
        assert!(
            clash(&all, "checkout")
                .unwrap()
                .starts_with("spec.selector: it takes pods of the Rollout shop/cart")
        );
        all.apply(Event::Delete(rollout("cart", 1, "cart", "web")));
        assert_eq!(clash(&all, "checkout"), None);
    }

    #[test]
    fn calm_is_who_says_so_of_the_present_spec_and_has_no_order() {
        let calm = |path: &str, value: serde_json::Value| {
            let mut object = serde_json::to_value(rollout("cart", 1, "cart", "cart")).unwrap();
            object["metadata"]["generation"] = json!(3);
            object["metadata"]["annotations"] = json!({"shop.example/team": "carts"});
            object["status"] = json!({"phase": "Stable", "observedGeneration": 3, "stableRevision": "1"});
            *object.pointer_mut(path).unwrap() = value;
            Entry::of(serde_json::from_value(object).unwrap()).unwrap().calm
        };
        assert!(calm("/metadata/name", json!("cart")));
        assert!(!calm("/metadata/generation", json!(4)), "a new spec");
        assert!(!calm("/metadata/annotations", json!({"penstock.dev/abort": "p99"})), "an order");
        assert!(!calm("/status/phase", json!("Paused")), "a release");
        assert!(!calm("/status", json!({"phase": "Stable", "stableRevision": "1"})), "not of this spec");
        assert!(calm("/status", json!({})), "it is new");
    }

    #[test]
    fn who_wrote_what_is_kept_as_long_as_an_order_waits() {
        let kept = |annotation: &str| {
            let mut object = rollout("cart", 1, "cart", "cart");
            object.metadata.annotations = Some([(annotation.to_owned(), "1".to_owned())].into());
            object.metadata.managed_fields = Some(vec![Default::default()]);
            Entry::of(object).unwrap().object().pointer("/metadata/managedFields").is_some()
        };
        assert!(kept("penstock.dev/abort") && !kept("shop.example/team"));
    }

    #[test]
    fn a_late_event_does_not_undo_what_a_write_returned() {
        let all = Rollouts::default();
        let mut newer = rollout("cart", 1, "cart", "web");
        newer.metadata.resource_version = Some("7".into());
        all.put(newer);
        all.apply(Event::Apply(rollout("cart", 1, "old", "web")));
        assert_eq!(all.within("shop")[0].1.version, "7");
        assert_eq!(all.within("shop")[0].1.object()["metadata"]["resourceVersion"], "7");
    }
}
