//! What watches have told, as an index by Rollout: applying an event is a plain function that says who is concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use penstock_signals::RolloutName;
use tokio::sync::watch;

/// By name, the objects of one Rollout.
type Group<K> = BTreeMap<String, Arc<K>>;

/// All objects of one kind that carry the label of a Rollout.
pub(super) struct Index<K> {
    label: &'static str,
    strip: fn(&mut K),
    inner: Mutex<Inner<K>>,
    synced: watch::Sender<bool>,
}

struct Inner<K> {
    groups: BTreeMap<RolloutName, Group<K>>,
    /// What a list under way has brought.
    arriving: Option<BTreeMap<RolloutName, Group<K>>>,
}

impl<K: Resource> Index<K> {
    /// An empty one; objects belong to whom the value of `label` names. `strip` takes away what nobody reads of them.
    pub(super) fn new(label: &'static str, strip: fn(&mut K)) -> Index<K> {
        let inner = Inner { groups: BTreeMap::new(), arriving: None };
        Index { label, strip, inner: Mutex::new(inner), synced: watch::channel(false).0 }
    }

    /// Takes an event in. Returns who is concerned.
    pub(super) fn apply(&self, event: Event<K>) -> BTreeSet<RolloutName> {
        let event = event.modify(self.strip);
        let mut inner = self.lock();
        match event {
            Event::Init => inner.arriving = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let Some((key, name)) = self.place(&object) else { return BTreeSet::new() };
                let arriving = inner.arriving.get_or_insert_default();
                arriving.entry(key).or_default().insert(name, Arc::new(object));
            }
            Event::InitDone => {
                let arrived = inner.arriving.take().unwrap_or_default();
                let before = std::mem::replace(&mut inner.groups, arrived);
                let concerned = changed(&before, &inner.groups);
                drop(inner);
                self.synced.send_replace(true);
                return concerned;
            }
            Event::Apply(object) => {
                return self
                    .place(&object)
                    .map(|place| put(&mut inner, place, object))
                    .into_iter()
                    .flatten()
                    .collect();
            }
            Event::Delete(object) => {
                let Some((key, name)) = self.place(&object) else { return BTreeSet::new() };
                if let Some(group) = inner.groups.get_mut(&key) {
                    group.remove(&name);
                    if group.is_empty() {
                        inner.groups.remove(&key);
                    }
                }
                return [key].into();
            }
        }
        BTreeSet::new()
    }

    /// Takes in what a write has returned, before the watch tells of it.
    pub(super) fn put(&self, mut object: K) {
        (self.strip)(&mut object);
        if let Some(place) = self.place(&object) {
            put(&mut self.lock(), place, object);
        }
    }

    /// Forgets an object that is gone.
    pub(super) fn remove(&self, key: &RolloutName, name: &str) {
        if let Some(group) = self.lock().groups.get_mut(key) {
            group.remove(name);
        }
    }

    /// One object of a Rollout.
    pub(super) fn get(&self, key: &RolloutName, name: &str) -> Option<Arc<K>> {
        self.lock().groups.get(key)?.get(name).cloned()
    }

    /// All objects of a Rollout.
    pub(super) fn all(&self, key: &RolloutName) -> Vec<Arc<K>> {
        self.lock().groups.get(key).map(|group| group.values().cloned().collect()).unwrap_or_default()
    }

    /// All objects of a namespace.
    pub(super) fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = RolloutName { namespace: namespace.to_owned(), name: String::new() };
        let inner = self.lock();
        let groups = inner.groups.range(first..).take_while(|(key, _)| key.namespace == namespace);
        groups.flat_map(|(_, group)| group.values().cloned()).collect()
    }

    /// Everybody who has objects.
    pub(super) fn keys(&self) -> Vec<RolloutName> {
        self.lock().groups.keys().cloned().collect()
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

    fn place(&self, object: &K) -> Option<(RolloutName, String)> {
        let name = object.meta().labels.as_ref()?.get(self.label)?.clone();
        let namespace = object.meta().namespace.clone()?;
        Some((RolloutName { namespace, name }, object.name_any()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object may have come to another Rollout: both are concerned. What is no newer than what is known is left out.
fn put<K: Resource>(
    inner: &mut Inner<K>,
    (key, name): (RolloutName, String),
    object: K,
) -> BTreeSet<RolloutName> {
    let known = inner.groups.get(&key).and_then(|group| group.get(&name));
    if known.is_some_and(|known| !is_newer(&object, known)) {
        return BTreeSet::new();
    }
    let mut concerned = BTreeSet::from([key.clone()]);
    if known.is_none() {
        let first = RolloutName { namespace: key.namespace.clone(), name: String::new() };
        let others =
            inner.groups.range_mut(first..).take_while(|(other, _)| other.namespace == key.namespace);
        concerned.extend(others.filter_map(|(other, group)| group.remove(&name).map(|_| other.clone())));
    }
    inner.groups.entry(key).or_default().insert(name, Arc::new(object));
    concerned
}

/// Versions of one object rise as numbers (Kubernetes API concepts, "Resource versions"); what is no number is new.
fn is_newer<K: Resource>(object: &K, known: &K) -> bool {
    let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
    let same = object.meta().uid == known.meta().uid;
    !same || version(object).zip(version(known)).is_none_or(|(new, old)| new > old)
}

fn changed<K: Resource>(
    before: &BTreeMap<RolloutName, Group<K>>,
    after: &BTreeMap<RolloutName, Group<K>>,
) -> BTreeSet<RolloutName> {
    let versions = |group: Option<&Group<K>>| -> Vec<(String, Option<String>)> {
        let of = |(name, object): (&String, &Arc<K>)| (name.clone(), object.meta().resource_version.clone());
        group.into_iter().flatten().map(of).collect()
    };
    let all: BTreeSet<&RolloutName> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|key| versions(before.get(key)) != versions(after.get(key))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use kube::api::ObjectMeta;

    const LABEL: &str = "penstock.dev/rollout";

    fn service(rollout: &str, name: &str, version: &str) -> Service {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some("shop".into()),
            labels: Some([(LABEL.to_owned(), rollout.to_owned())].into()),
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        };
        Service { metadata, ..Service::default() }
    }

    fn key(name: &str) -> RolloutName {
        RolloutName { namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn a_list_anew_never_shows_a_half_of_it() {
        let index = Index::new(LABEL, |_| {});
        index.apply(Event::Apply(service("checkout", "a", "1")));
        index.apply(Event::Init);
        index.apply(Event::InitApply(service("checkout", "b", "2")));
        assert_eq!(index.all(&key("checkout"))[0].name_any(), "a");
        assert!(!index.is_synced());
        let concerned = index.apply(Event::InitDone);
        assert_eq!((concerned, index.is_synced()), ([key("checkout")].into(), true));
        assert_eq!(index.all(&key("checkout"))[0].name_any(), "b");
    }

    #[test]
    fn a_list_anew_concerns_only_those_whose_objects_have_changed() {
        let index = Index::new(LABEL, |_| {});
        for list in [["1", "2"], ["1", "3"]] {
            index.apply(Event::Init);
            index.apply(Event::InitApply(service("cart", "a", list[0])));
            index.apply(Event::InitApply(service("checkout", "b", list[1])));
            let concerned = index.apply(Event::InitDone);
            assert_eq!(concerned.contains(&key("cart")), list[1] == "2");
            assert!(concerned.contains(&key("checkout")));
        }
    }

    #[test]
    fn a_late_event_does_not_undo_what_a_write_returned() {
        let index = Index::new(LABEL, |_| {});
        index.put(service("checkout", "a", "10"));
        index.apply(Event::Apply(service("checkout", "a", "9")));
        assert_eq!(index.get(&key("checkout"), "a").unwrap().resource_version().unwrap(), "10");
        index.apply(Event::Delete(service("checkout", "a", "11")));
        assert!(index.all(&key("checkout")).is_empty() && index.keys().is_empty());
    }

    #[test]
    fn what_nobody_reads_is_kept_neither_of_an_event_nor_of_what_a_write_returned() {
        let index = Index::new(LABEL, |service: &mut Service| service.metadata.uid = None);
        let owned = |name: &str| {
            let mut service = service("checkout", name, "1");
            service.metadata.uid = Some("1".into());
            service
        };
        index.put(owned("a"));
        index.apply(Event::Apply(owned("b")));
        let all = index.all(&key("checkout"));
        assert!(all.len() == 2 && all.iter().all(|service| service.metadata.uid.is_none()));
    }

    #[test]
    fn an_object_that_changes_hands_concerns_both() {
        let index = Index::new(LABEL, |_| {});
        index.apply(Event::Apply(service("cart", "a", "1")));
        let concerned = index.apply(Event::Apply(service("checkout", "a", "2")));
        assert_eq!(concerned, [key("cart"), key("checkout")].into());
        assert!(index.all(&key("cart")).is_empty());
        assert_eq!(index.within("shop").len(), 1);
        assert!(index.within("sho").is_empty() && index.within("shopping").is_empty());
    }
}
