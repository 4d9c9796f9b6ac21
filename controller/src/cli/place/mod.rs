//! Where the Rollouts are: in a folder of this machine, or on a cluster.

mod choose;
mod cluster;
mod folder;

use std::time::Duration;

use anyhow::Result;
use penstock_core::observation::OrderKind;
use penstock_core::time::Time;
use penstock_crds::{DecisionRecord, Rollout};
use serde::Deserialize;
use serde_json::Value;

use super::logs::{Say, Wanted};
use super::paint::clean;

pub(crate) use choose::{Either, HELP, Where};
pub(crate) use cluster::Cluster;

/// A place with Rollouts.
pub(crate) trait Place {
    /// All Rollouts in `scope`, by namespace and name.
    fn all(&self, scope: &Scope) -> Result<Vec<Saved>>;

    /// One Rollout.
    ///
    /// Errors: [`NotFound`] when there is none of this name; also when there are several and it is not said which.
    fn find(&self, target: &Target) -> Result<Saved>;

    /// The Rollouts again and again: at every change, and otherwise each second. Ends with an error only.
    fn watch(&self, target: Option<&Target>, scope: &Scope, show: Show<'_>) -> Result<()>;

    /// Gives an order.
    ///
    /// Errors: it could not be written, or nobody followed it while `patience` lasted.
    fn give(&self, to: &Saved, wish: Wish, patience: Patience) -> Result<Told>;

    /// The revisions that are kept, with their templates; in no order.
    fn kept(&self, of: &Saved) -> Result<Vec<Kept>>;

    /// What the pods of a revision say.
    ///
    /// Errors: [`NotFound`] when there is none and none is waited for.
    fn logs(&self, of: &Saved, wanted: &Wanted, say: Say<'_>) -> Result<()>;

    /// That there is nothing, as a sentence.
    fn empty(&self, scope: &Scope) -> String;
}

/// What is done with the Rollouts that a watch sees.
pub(crate) type Show<'a> = &'a mut dyn FnMut(Vec<Saved>) -> Result<()>;

/// Which Rollouts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Those of a namespace; when left out, all of a folder, and of a cluster those of the context's namespace.
    pub(crate) namespace: Option<String>,
    /// Those of all namespaces.
    pub(crate) everywhere: bool,
}

/// One Rollout by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Target {
    /// From `NAME`, `NAMESPACE/NAME`, or as kubectl prints it, `rollout.penstock.dev/NAME`.
    pub(crate) fn new(text: &str, namespace: Option<&str>) -> Target {
        let (first, name) = text.split_once('/').unwrap_or(("", text));
        let kind = ["", "rollout.penstock.dev", "rollouts.penstock.dev"];
        let namespace = if kind.contains(&first) { namespace } else { Some(first) };
        Target { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }
}

/// One Rollout as it was saved last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saved {
    pub(crate) object: Value,
    pub(crate) rollout: Rollout,
}

impl Saved {
    pub(crate) fn new(object: Value) -> Saved {
        Saved { rollout: typed(&object), object }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.rollout.metadata.namespace.as_deref().unwrap_or("default")
    }

    pub(crate) fn name(&self) -> &str {
        self.rollout.metadata.name.as_deref().unwrap_or_default()
    }

    /// The decisions that are remembered, oldest first.
    pub(crate) fn decisions(&self) -> &[DecisionRecord] {
        self.rollout.status.as_ref().map_or(&[], |status| &status.decisions)
    }
}

/// A spec that is refused may have fields of wrong types; the status is to be seen all the same.
fn typed(object: &Value) -> Rollout {
    Rollout::deserialize(object).unwrap_or_else(|_| {
        let part = |name: &str| object.get(name).cloned().unwrap_or_default();
        let mut rollout = Rollout::new("", Default::default());
        rollout.metadata = serde_json::from_value(part("metadata")).unwrap_or_default();
        rollout.status = serde_json::from_value(part("status")).ok();
        rollout
    })
}

/// A revision that is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) revision: String,
    /// When it was made.
    pub(crate) created: Option<Time>,
    /// Its pod template.
    pub(crate) template: Value,
}

impl Kept {
    /// The images of its containers.
    pub(crate) fn images(&self) -> Vec<String> {
        let containers = self.template.pointer("/spec/containers").and_then(Value::as_array);
        let images = containers.into_iter().flatten().filter_map(|container| container["image"].as_str());
        images.map(clean).collect()
    }
}

/// What a person wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) kind: OrderKind,
    /// Who wants it; `None`: who the place knows the person as.
    pub(crate) who: Option<String>,
    /// Why; may be empty.
    pub(crate) reason: String,
}

/// How long to wait until an order is followed; `None`: not at all.
pub(crate) type Patience = Option<Duration>;

/// What came of an order.
#[derive(Debug)]
pub(crate) enum Told {
    /// It was followed or refused.
    Answered(Box<DecisionRecord>),
    /// It is written; in words, who will follow it and when.
    Written(String),
}

/// What was asked for is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotFound(pub(crate) String);

/// What was asked for contradicts itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misused(pub(crate) String);

/// The known name that is nearest to one that is not known, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|k| (strsim::damerau_levenshtein(name, k), k));
    near.min().filter(|(distance, _)| *distance <= 1 + name.len() / 4).map(|(_, known)| known)
}

/// `a, b, c`, or `a, b and 7 more`.
pub(crate) fn listed(names: &[String], most: usize) -> String {
    if names.len() <= most {
        return names.join(", ");
    }
    format!("{} and {} more", names[..most].join(", "), names.len() - most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_people_and_kubectl_write_it() {
        let told = |text, namespace| {
            let Target { namespace, name } = Target::new(text, namespace);
            format!("{} {name}", namespace.unwrap_or_default())
        };
        assert_eq!(told("checkout", None), " checkout");
        assert_eq!(told("shop/checkout", Some("test")), "shop checkout");
        assert_eq!(told("rollout.penstock.dev/checkout", Some("test")), "test checkout");
    }

    #[test]
    fn a_slip_of_the_pen_is_told_what_was_meant() {
        assert_eq!(nearest("chekcout", ["cart", "checkout"]), Some("checkout"));
        assert_eq!(nearest("x", ["cart", "checkout"]), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        assert_eq!((listed(&names, 3), listed(&names, 2)), ("a, b, c".into(), "a, b and 1 more".into()));
    }
}
