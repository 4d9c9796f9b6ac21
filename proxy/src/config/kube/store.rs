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
    /// These are all objects of the kind.
    Listed(Kind, Vec<Found>),
    /// An object is there, or has changed.
    Put(Kind, Found),
    /// An object is gone.
    Gone(Kind, Id),
    /// Changes will be told from here on.
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
            let object = kept.object.iter().map(|object| (id.clone(), (Path::new(""), object)));
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
        let mut changed = first || self.trouble.take().is_some();
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
        let rest = if self.listed {
            "what was read before stays in effect, and it is tried again"
        } else {
            "nothing is served until then; it is tried again"
        };
        self.trouble.as_ref().map(|trouble| format!("{trouble}; {rest}"))
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
