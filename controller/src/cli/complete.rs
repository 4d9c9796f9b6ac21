//! Completion of names: asks the place that the command line names, and gives up soon.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::place::{Saved, Scope, Where};

/// A person waits with a finger on the key.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Most names that are offered.
const MOST: usize = 500;

/// Names of Rollouts.
pub(super) fn rollouts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| named(|place| known(&place), |saved| saved.name().to_owned()))
}

/// Namespaces with a Rollout.
pub(super) fn namespaces() -> ArgValueCandidates {
    let everywhere = |place: Where| {
        let scope = Scope { namespace: None, everywhere: true };
        place.place().and_then(|place| place.all(&scope)).unwrap_or_default()
    };
    ArgValueCandidates::new(move || named(everywhere, |saved| saved.namespace().to_owned()))
}

fn known(place: &Where) -> Vec<Saved> {
    let scope = Scope { namespace: place.namespace.clone(), everywhere: false };
    place.place().and_then(|place| place.all(&scope)).unwrap_or_default()
}

/// Whatever goes wrong, or takes too long, offers nothing: there is nobody to tell.
fn named(
    ask: impl FnOnce(Where) -> Vec<Saved> + Send + 'static,
    name: fn(&Saved) -> String,
) -> Vec<CompletionCandidate> {
    let (told, answer) = mpsc::sync_channel(1);
    let place = meant(env::args_os());
    thread::spawn(move || told.send(ask(place)));
    let all = answer.recv_timeout(PATIENCE).unwrap_or_default();
    let mut names: Vec<_> = all.iter().map(name).collect();
    names.sort();
    names.dedup();
    names.into_iter().take(MOST).map(CompletionCandidate::new).collect()
}

/// What the command line that is completed says of the place so far.
fn meant(words: impl IntoIterator<Item = OsString>) -> Where {
    let mut place = Where::default();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let Some((flag, value)) = flag(&word) else { continue };
        let value = value.or_else(|| words.next());
        let text = || value.as_deref().and_then(OsStr::to_str).map(str::to_owned);
        match flag {
            Flag::Dir => place.dir = value.map(PathBuf::from),
            Flag::Kubeconfig => place.kubeconfig = value.map(PathBuf::from),
            Flag::Context => place.context = text(),
            Flag::Namespace => place.namespace = text(),
        }
    }
    place
}

enum Flag {
    Dir,
    Kubeconfig,
    Context,
    Namespace,
}

/// A flag that says something of the place, with its value where that stands in the same word.
fn flag(word: &OsStr) -> Option<(Flag, Option<OsString>)> {
    let word = word.to_str()?;
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(OsString::from(value))),
        None => (word, None),
    };
    let flag = match name {
        "--dir" => Flag::Dir,
        "--kubeconfig" => Flag::Kubeconfig,
        "--context" => Flag::Context,
        "--namespace" | "-n" => Flag::Namespace,
        _ => return None,
    };
    Some((flag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_from_what_is_typed_so_far() {
        let line = "penstock -- penstock --dir shop abort -n=web --kubeconfig k --reason --context c";
        let place = meant(line.split(' ').map(OsString::from));
        assert_eq!(place.dir, Some("shop".into()));
        assert_eq!((place.namespace.as_deref(), place.context.as_deref()), (Some("web"), Some("c")));
        assert_eq!(place.kubeconfig, Some("k".into()));
        assert!(meant(["penstock".into(), "-n".into()]).namespace.is_none());
    }
}
