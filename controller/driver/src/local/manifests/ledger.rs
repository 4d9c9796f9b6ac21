//! What each file said last, and what follows from all of them. It does no I/O.

use std::collections::{BTreeMap, BTreeSet};

use penstock_crds::{Document, ReadError, Refusal, clashes, read};

use super::{Key, Manifest, Problem, Wanted};

/// Text of a file, or why it cannot be read.
pub(super) type Text = Result<Vec<u8>, String>;
/// Files by name.
pub(super) type Listing = BTreeMap<String, Text>;

/// What each file said last.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files: BTreeMap<String, File>,
    wanted: Wanted,
    news: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Debug, Default)]
struct File {
    text: Vec<u8>,
    manifests: Vec<Manifest>,
    problems: Vec<Problem>,
    missing: bool,
}

impl Ledger {
    /// Takes a look at the folder. A file that is missing is believed to be gone at the second look.
    pub(super) fn take(&mut self, listing: &Listing) -> Wanted {
        self.miss(listing);
        for (name, text) in listing {
            match text {
                Ok(text) if is_blank(text) && self.files.contains_key(name) => {}
                Ok(text) => self.read(name, text),
                Err(why) => self.unreadable(name, why),
            }
        }
        self.wanted = self.agree();
        self.wanted.clone()
    }

    /// Whether another look is due soon.
    pub(super) fn is_missing_something(&self) -> bool {
        self.files.values().any(|file| file.missing)
    }

    /// Good texts since the last call, and files that are gone.
    pub(super) fn news(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        std::mem::take(&mut self.news)
    }

    /// Editors replace files: for a moment they are gone, or empty.
    fn miss(&mut self, listing: &Listing) {
        let here =
            |name: &String| listing.get(name).is_some_and(|text| !text.as_ref().is_ok_and(|t| is_blank(t)));
        let gone: Vec<String> = self
            .files
            .iter()
            .filter(|(name, file)| file.missing && !here(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.files.remove(&name);
            self.news.push((name, None));
        }
        for (name, file) in &mut self.files {
            file.missing = !here(name);
        }
    }

    fn read(&mut self, name: &str, text: &[u8]) {
        if self.files.get(name).is_some_and(|file| file.text == text) {
            return;
        }
        let (manifests, problems) = understand(name, text);
        let before = self.files.remove(name).unwrap_or_default();
        let kept = if problems.is_empty() { Vec::new() } else { before.manifests };
        let said: BTreeSet<Key> = manifests.iter().filter_map(key_of).collect();
        let kept =
            kept.into_iter().filter(|manifest| key_of(manifest).is_some_and(|key| !said.contains(&key)));
        if problems.is_empty() {
            self.news.push((name.to_owned(), Some(text.to_owned())));
        }
        let manifests = kept.chain(manifests).collect();
        self.files
            .insert(name.to_owned(), File { text: text.to_owned(), manifests, problems, missing: false });
    }

    fn unreadable(&mut self, name: &str, why: &str) {
        let file = self.files.entry(name.to_owned()).or_default();
        file.text.clear();
        let text = why.to_owned();
        file.problems =
            vec![Problem { file: name.to_owned(), place: None, key: None, refusals: Vec::new(), text }];
    }

    /// Of two that cannot live together the one that is there already stays, else the one of the first file.
    fn agree(&self) -> Wanted {
        let mut all: Vec<&Manifest> = self.files.values().flat_map(|file| &file.manifests).collect();
        all.sort_by_key(|manifest| !self.is_there(manifest));
        let mut problems: Vec<Problem> = self.files.values().flat_map(|file| file.problems.clone()).collect();
        let mut refused = BTreeSet::new();
        for (n, refusal) in clashes(all.iter().map(|manifest| &manifest.admitted.facts)) {
            refused.insert(n);
            problems.push(clash(all[n], refusal));
        }
        let mut rollouts = BTreeMap::new();
        for (n, manifest) in all.iter().enumerate().filter(|(n, _)| !refused.contains(n)) {
            tracing::trace!(n, file = manifest.file, "a manifest is good");
            rollouts.extend(key_of(manifest).map(|key| (key, (*manifest).clone())));
        }
        self.keep_refused(&all, &refused, &mut rollouts);
        problems.sort_by(|a, b| a.file.cmp(&b.file));
        Wanted { rollouts, problems }
    }

    /// A Rollout that would now clash goes on as it was.
    fn keep_refused(
        &self,
        all: &[&Manifest],
        refused: &BTreeSet<usize>,
        rollouts: &mut BTreeMap<Key, Manifest>,
    ) {
        for key in refused.iter().filter_map(|&n| key_of(all[n])) {
            let before =
                self.wanted.rollouts.get(&key).filter(|before| self.files.contains_key(&before.file));
            if let Some(before) = before.filter(|_| !rollouts.contains_key(&key)) {
                rollouts.insert(key, before.clone());
            }
        }
    }

    fn is_there(&self, manifest: &Manifest) -> bool {
        let before = key_of(manifest).and_then(|key| self.wanted.rollouts.get(&key));
        before.is_some_and(|before| {
            before.file == manifest.file
                && before.admitted.facts.service.name == manifest.admitted.facts.service.name
        })
    }
}

/// The Rollouts of a text, and what is wrong with it. Other kinds are left to others.
fn understand(file: &str, text: &[u8]) -> (Vec<Manifest>, Vec<Problem>) {
    let (mut manifests, mut problems) = (Vec::new(), Vec::new());
    for document in read(text, file) {
        match document {
            Err(error) => problems.push(unread(file, &error)),
            Ok(document) if !document.is_rollout() => {
                tracing::debug!(
                    file,
                    kind = document.kind(),
                    "a document that is no Rollout of Penstock is left out"
                );
            }
            Ok(document) => match document.rollout() {
                Ok((rollout, admitted)) => {
                    manifests.push(Manifest { file: file.to_owned(), rollout, admitted })
                }
                Err(refusals) => problems.push(refused(file, &document, refusals)),
            },
        }
    }
    (manifests, problems)
}

fn key_of(manifest: &Manifest) -> Option<Key> {
    let facts = &manifest.admitted.facts;
    Key::new(&facts.namespace, &facts.name).ok()
}

fn unread(file: &str, error: &ReadError) -> Problem {
    Problem {
        file: file.to_owned(),
        place: error.place,
        key: None,
        refusals: Vec::new(),
        text: error.to_string(),
    }
}

fn refused(file: &str, document: &Document, refusals: Vec<Refusal>) -> Problem {
    let line = |refusal: &Refusal| {
        let place =
            document.place(&refusal.path).map_or_else(String::new, |place| format!(":{}", place.line));
        format!("{file}{place}: {refusal}")
    };
    let text = refusals.iter().map(line).collect::<Vec<_>>().join("\n");
    let namespace =
        document.value.pointer("/metadata/namespace").and_then(|n| n.as_str()).unwrap_or("default");
    Problem {
        file: file.to_owned(),
        place: refusals.first().and_then(|refusal| document.place(&refusal.path)),
        key: Key::new(namespace, document.name()).ok(),
        refusals,
        text,
    }
}

fn clash(manifest: &Manifest, refusal: Refusal) -> Problem {
    let text = format!("{}: {refusal}", manifest.file);
    Problem { file: manifest.file.clone(), place: None, key: key_of(manifest), refusals: vec![refusal], text }
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(name: &str, service: &str, replicas: i32) -> String {
        format!(
            "apiVersion: penstock.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: \
             {name}}}}}\n    spec: {{containers: [{{name: app, image: shop/{name}, command: [./app]}}]}}\n  service: {{name: {service}, port: \
             80, targetPort: 8080}}\n"
        )
    }

    fn listing(files: &[(&str, &str)]) -> Listing {
        files.iter().map(|(name, text)| ((*name).to_owned(), Ok(text.as_bytes().to_vec()))).collect()
    }

    fn replicas(wanted: &Wanted, name: &str) -> Option<u32> {
        wanted.rollouts.get(&Key::new("shop", name).unwrap()).map(|m| m.admitted.strategy.replicas)
    }

    #[test]
    fn a_file_that_becomes_invalid_goes_on_as_it_was_and_says_where() {
        let mut ledger = Ledger::default();
        let good = rollout("checkout", "checkout", 3);
        let wanted = ledger.take(&listing(&[("a.yaml", &good)]));
        assert_eq!(
            (replicas(&wanted, "checkout"), wanted.problems.len()),
            (Some(3), 0),
            "{:?}",
            wanted.problems
        );
        for (bad, part) in [
            (good.replace("replicas: 3", "replica: 4"), "a.yaml:5: spec.replica"),
            (good.replace("spec:", "spec: ["), "a.yaml:"),
        ] {
            let wanted = ledger.take(&listing(&[("a.yaml", &bad)]));
            assert_eq!(replicas(&wanted, "checkout"), Some(3));
            assert!(wanted.problems[0].text.starts_with(part), "{}", wanted.problems[0].text);
        }
        let wanted = ledger.take(&listing(&[("a.yaml", &good.replace("replicas: 3", "replicas: 4"))]));
        assert_eq!((replicas(&wanted, "checkout"), wanted.problems.len()), (Some(4), 0));
    }

    #[test]
    fn a_file_that_is_replaced_is_not_gone() {
        let mut ledger = Ledger::default();
        let text = rollout("checkout", "checkout", 3);
        ledger.take(&listing(&[("a.yaml", &text)]));
        for look in [listing(&[]), listing(&[("a.yaml", "")])] {
            assert_eq!(replicas(&ledger.take(&look), "checkout"), Some(3));
            assert!(ledger.is_missing_something());
            assert_eq!(replicas(&ledger.take(&listing(&[("a.yaml", &text)])), "checkout"), Some(3));
            assert!(!ledger.is_missing_something());
        }
        ledger.take(&listing(&[]));
        assert_eq!(ledger.take(&listing(&[])), Wanted::default());
        assert_eq!(ledger.news().last().unwrap(), &("a.yaml".to_owned(), None));
    }

    #[test]
    fn of_two_rollouts_with_one_service_the_first_stays_untouched() {
        let mut ledger = Ledger::default();
        let (b, a) = (rollout("b", "web", 1), rollout("a", "web", 1));
        ledger.take(&listing(&[("b.yaml", &b)]));
        let wanted = ledger.take(&listing(&[("a.yaml", &a), ("b.yaml", &b)]));
        assert_eq!((replicas(&wanted, "a"), replicas(&wanted, "b")), (None, Some(1)));
        assert!(
            wanted.problems[0].text.starts_with("a.yaml: spec.service.name: the Service `web`"),
            "{:?}",
            wanted.problems
        );
        let wanted = Ledger::default().take(&listing(&[("a.yaml", &a), ("b.yaml", &b)]));
        assert_eq!(
            (replicas(&wanted, "a"), replicas(&wanted, "b")),
            (Some(1), None),
            "else the first file's"
        );
    }

    #[test]
    fn a_rollout_that_reaches_for_anothers_service_goes_on_as_it_was() {
        let mut ledger = Ledger::default();
        let (a, b) = (rollout("a", "web", 1), rollout("b", "api", 1));
        ledger.take(&listing(&[("a.yaml", &a), ("b.yaml", &b)]));
        let greedy = rollout("a", "api", 5);
        for _ in 0..3 {
            let wanted = ledger.take(&listing(&[("a.yaml", &greedy), ("b.yaml", &b)]));
            assert_eq!((replicas(&wanted, "a"), replicas(&wanted, "b")), (Some(1), Some(1)));
            assert_eq!(wanted.problems.len(), 1);
        }
    }

    #[test]
    fn a_name_that_comes_twice_belongs_to_the_file_that_had_it() {
        let mut ledger = Ledger::default();
        ledger.take(&listing(&[("b.yaml", &rollout("web", "web", 1))]));
        let both = listing(&[("a.yaml", &rollout("web", "web", 2)), ("b.yaml", &rollout("web", "web", 3))]);
        let wanted = ledger.take(&both);
        assert_eq!((replicas(&wanted, "web"), wanted.problems.len()), (Some(3), 1));
    }
}
