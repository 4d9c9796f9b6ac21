//! The index: all objects as they were heard of last. A plain function of what is told, without time or waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::kind::Kind;
use super::seen::Found;
use crate::config::contents::Contents;
use crate::config::object::{Id, Object};

/// What a watch tells.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// These are all objects of the kind for now. Whether changes will be told is another matter.
    Listed(Kind, Vec<Found>),
    /// An object is there, or has changed.
    Put(Kind, Found),
    /// An object is gone.
    Gone(Kind, Id),
    /// Changes will be told from here on: trouble is over.
    Watching(Kind),
    /// Changes can't be told for now, and why.
    Trouble(Kind, String),
}

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct Store(BTreeMap<Kind, Shelf>);

/// The objects of one kind.
#[derive(Debug, Default)]
struct Shelf {
    listed: bool,
    objects: BTreeMap<Id, Kept>,
    trouble: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Kept {
    /// As it was when it was good last, if it ever was.
    object: Option<Object>,
    problem: Option<String>,
    notes: Vec<String>,
}

impl Store {
    /// Takes in what was told. Whether anything differs from before.
    pub(crate) fn apply(&mut self, news: News) -> bool {
        match news {
            News::Listed(kind, all) => self.shelf(kind).replace(all),
            News::Put(kind, found) => self.shelf(kind).put(found),
            News::Gone(kind, id) => self.shelf(kind).objects.remove(&id).is_some(),
            News::Watching(kind) => self.shelf(kind).trouble.take().is_some(),
            News::Trouble(kind, problem) => {
                let trouble = &mut self.shelf(kind).trouble;
                trouble.replace(problem) != *trouble
            }
        }
    }

    /// Whether all kinds have been listed once.
    pub(crate) fn is_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.0.get(kind).is_some_and(|shelf| shelf.listed))
    }

    pub(crate) fn contents(&self) -> Contents<'_> {
        let mut contents = Contents::default();
        let troubles: BTreeSet<String> = self.0.values().filter_map(Shelf::problem).collect();
        contents.problems.extend(troubles);
        for (id, kept) in self.0.values().flat_map(|shelf| &shelf.objects) {
            contents.problems.extend(kept.problems(id));
            let object = kept.object.iter().map(|object| (id, Path::new(""), object));
            contents.objects.extend(object);
        }
        contents
    }

    fn shelf(&mut self, kind: Kind) -> &mut Shelf {
        self.0.entry(kind).or_default()
    }
}

impl Shelf {
    fn replace(&mut self, all: Vec<Found>) -> bool {
        let mut before = std::mem::take(&mut self.objects);
        let (first, count) = (!std::mem::replace(&mut self.listed, true), before.len());
        let mut changed = first;
        for found in all {
            let earlier = before.remove(&found.id);
            let id = found.id.clone();
            let kept = Kept::new(found, earlier.as_ref().and_then(|e| e.object.as_ref()));
            changed |= earlier.as_ref() != Some(&kept);
            self.objects.insert(id, kept);
        }
        changed || count != self.objects.len()
    }

    fn problem(&self) -> Option<String> {
        self.trouble
            .as_ref()
            .map(|trouble| format!("{trouble}; it is tried again, nothing changes until then"))
    }

    fn put(&mut self, found: Found) -> bool {
        let id = found.id.clone();
        let earlier = self.objects.get(&id);
        let kept = Kept::new(found, earlier.and_then(|e| e.object.as_ref()));
        let changed = earlier != Some(&kept);
        self.objects.insert(id, kept);
        changed
    }
}

impl Kept {
    /// An object that can't be read stays what it was before.
    fn new(found: Found, before: Option<&Object>) -> Kept {
        let notes = found.notes;
        match found.object {
            Ok(object) => Kept { object: Some(object), problem: None, notes },
            Err(problem) => Kept { object: before.cloned(), problem: Some(problem), notes },
        }
    }

    fn problems(&self, id: &Id) -> impl Iterator<Item = String> {
        let rest =
            if self.object.is_some() { "its last good state stays in effect" } else { "it has no effect" };
        let problem = self.problem.iter().map(move |problem| format!("{id}: {problem}; {rest}"));
        problem.chain(self.notes.iter().map(move |note| format!("{id}: {note}")))
    }
}

#[cfg(test)]
mod tests {
    use gateway_api::httproutes::HttpRoute;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;
    use crate::config::kube::kind::Watched;
    use crate::config::kube::seen::Seen;

    fn found<K: Watched>(document: serde_json::Value) -> Found {
        serde_json::from_value::<Seen<K>>(document).unwrap().found()
    }

    fn service(name: &str, port: u16) -> Found {
        let metadata = json!({"name": name, "namespace": "shop"});
        found::<Service>(json!({"metadata": metadata, "spec": {"ports": [{"port": port}]}}))
    }

    fn broken(name: &str) -> Found {
        let metadata = json!({"name": name, "namespace": "shop"});
        found::<HttpRoute>(json!({"metadata": metadata, "spec": {"rules": 7}}))
    }

    fn route(name: &str) -> Found {
        let metadata = json!({"name": name, "namespace": "shop"});
        found::<HttpRoute>(json!({"metadata": metadata, "spec": {"rules": []}}))
    }

    fn names(store: &Store) -> Vec<String> {
        store.contents().objects.iter().map(|(id, ..)| id.name.clone()).collect()
    }

    fn listed() -> Store {
        let mut store = Store::default();
        let services = vec![service("a", 80), service("b", 80)];
        assert!(store.apply(News::Listed(Kind::Service, services)));
        store
    }

    #[test]
    fn it_is_complete_when_all_kinds_have_been_listed() {
        let mut store = listed();
        assert!(!store.is_complete());
        assert!(store.apply(News::Listed(Kind::Route, Vec::new())), "an empty list is news the first time");
        assert!(!store.is_complete());
        assert!(store.apply(News::Listed(Kind::Slice, Vec::new())));
        assert!(store.is_complete());
        assert!(!store.apply(News::Listed(Kind::Slice, Vec::new())), "and none the second time");
    }

    #[test]
    fn changes_are_told_from_repetitions() {
        let mut store = listed();
        assert!(!store.apply(News::Put(Kind::Service, service("a", 80))));
        assert!(store.apply(News::Put(Kind::Service, service("a", 81))));
        assert!(store.apply(News::Put(Kind::Service, service("c", 80))));
        assert!(store.apply(News::Gone(Kind::Service, service("b", 80).id)));
        assert!(!store.apply(News::Gone(Kind::Service, service("b", 80).id)));
        assert_eq!(names(&store), ["a", "c"]);
    }

    #[test]
    fn a_new_list_takes_the_place_of_the_old_one_as_a_whole() {
        let mut store = listed();
        assert!(!store.apply(News::Listed(Kind::Service, vec![service("b", 80), service("a", 80)])));
        assert!(store.apply(News::Listed(Kind::Service, vec![service("b", 80)])));
        assert_eq!(names(&store), ["b"]);
        assert!(store.apply(News::Listed(Kind::Service, vec![service("c", 80)])));
        assert_eq!(names(&store), ["c"]);
    }

    #[test]
    fn what_is_there_stays_while_there_is_trouble() {
        let mut store = listed();
        let trouble = || News::Trouble(Kind::Service, "the API server is away".into());
        assert!(store.apply(trouble()));
        assert!(!store.apply(trouble()), "the same again is no news");
        assert_eq!(names(&store), ["a", "b"]);
        let other = News::Trouble(Kind::Slice, "the API server is away".into());
        assert!(store.apply(other));
        assert_eq!(
            store.contents().problems,
            ["the API server is away; it is tried again, nothing changes until then"],
            "the same trouble of two kinds is one"
        );
        assert!(store.apply(News::Watching(Kind::Service)));
        assert!(!store.apply(News::Watching(Kind::Service)));
        assert!(store.apply(News::Listed(Kind::Slice, Vec::new())));
        assert_eq!(store.contents().problems.len(), 1, "a list alone tells of no changes");
        assert!(store.apply(News::Watching(Kind::Slice)));
        assert_eq!((names(&store).len(), store.contents().problems.len()), (2, 0));
    }

    #[test]
    fn an_object_that_breaks_stays_what_it_was_in_a_list_and_in_a_watch() {
        let mut store = Store::default();
        store.apply(News::Listed(Kind::Route, vec![route("a"), broken("b")]));
        assert_eq!(names(&store), ["a"]);
        assert!(store.contents().problems[0].starts_with("HTTPRoute shop/b: spec.rules: "), "{:?}", store);
        assert!(store.contents().problems[0].ends_with("; it has no effect"), "{:?}", store);
        for news in [News::Put(Kind::Route, broken("a")), News::Listed(Kind::Route, vec![broken("a")])] {
            assert!(store.apply(news));
            assert_eq!(names(&store), ["a"]);
            let problems = store.contents().problems;
            assert!(problems[0].ends_with("; its last good state stays in effect"), "{problems:?}");
        }
        assert!(store.apply(News::Put(Kind::Route, route("a"))));
        assert_eq!((names(&store).len(), store.contents().problems.len()), (1, 0));
        assert!(store.apply(News::Gone(Kind::Route, route("a").id)));
        assert_eq!(names(&store).len(), 0);
    }
}
