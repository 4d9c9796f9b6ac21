//! Who is told of what becomes of a release.

use std::collections::BTreeSet;

use penstock_core::decision::What;

use super::{did_you_mean, outside};
use crate::facts::{Receiver, ReceiverKind};
use crate::refusal::{Refusal, Refusals};
use crate::rollout::NotifySpec;
use crate::status::word;

const PATH: &str = "spec.notify";
const MOST: usize = 10;
const LONGEST_TEMPLATE: usize = 2000;

/// What a template may name.
const PLACEHOLDERS: [&str; 9] =
    ["namespace", "rollout", "revision", "weight", "what", "why", "who", "sentence", "link"];

pub(super) fn receivers(specs: Option<&Vec<NotifySpec>>, refusals: &mut Refusals) -> Option<Vec<Receiver>> {
    let specs = specs.map(Vec::as_slice).unwrap_or_default();
    if specs.len() > MOST {
        refusals.add(PATH, format!("{} receivers", specs.len()), format!("write at most {MOST}"));
        return None;
    }
    let mut names = BTreeSet::new();
    let all: Vec<Option<Receiver>> = specs
        .iter()
        .enumerate()
        .map(|(n, spec)| {
            let path = format!("{PATH}[{n}]");
            let receiver = receiver(&path, spec, refusals)?;
            if !names.insert(receiver.name.clone()) {
                refusals.add(format!("{path}.name"), "a second one of this name", "give it another name");
            }
            Some(receiver)
        })
        .collect();
    all.into_iter().collect()
}

/// A receiver as it is written for all Rollouts.
pub(crate) fn receiver_of(text: &str) -> Result<Receiver, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    let spec: Result<NotifySpec, _> = serde_saphyr::from_str(text);
    let admitted = match spec {
        Ok(spec) => receiver("notify", &spec, &mut refusals),
        Err(error) => {
            let remedy = "write {name: ops, slack: {urlSecret: {name: slack, key: url}}}";
            refusals.add("notify", error.to_string(), remedy);
            None
        }
    };
    admitted.filter(|_| refusals.is_empty()).ok_or_else(|| refusals.into_vec())
}

fn receiver(path: &str, spec: &NotifySpec, refusals: &mut Refusals) -> Option<Receiver> {
    let name = name(&format!("{path}.name"), spec.name.as_deref(), refusals);
    let events = events(&format!("{path}.events"), spec.events.as_ref(), refusals);
    let template = template(&format!("{path}.template"), spec.template.as_deref(), refusals);
    let (kind, webhook) = match (&spec.slack, &spec.teams, &spec.webhook) {
        (Some(webhook), None, None) => (ReceiverKind::Slack, webhook),
        (None, Some(webhook), None) => (ReceiverKind::Teams, webhook),
        (None, None, Some(webhook)) => (ReceiverKind::Webhook, webhook),
        _ => {
            let remedy =
                "write one of `slack: {urlSecret: {name: NAME, key: KEY}}`, `teams: …` and `webhook: …`";
            refusals.add(path, "not one of slack, teams and webhook", remedy);
            return None;
        }
    };
    let webhook = outside::webhook(&format!("{path}.{}", kind.as_str()), webhook, refusals);
    Some(Receiver { name: name?, kind, webhook: webhook?, events: events?, template: template? })
}

fn name(path: &str, name: Option<&str>, refusals: &mut Refusals) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let fits = |name: &&str| (1..=63).contains(&name.len()) && name.bytes().all(allowed);
    let fitting = name.filter(fits);
    if fitting.is_none() {
        let problem = if name.is_none() { "missing" } else { "no name of a receiver" };
        refusals.add(path, problem, "write at most 63 letters, digits, - and _");
    }
    fitting.map(str::to_owned)
}

fn events(path: &str, words: Option<&Vec<String>>, refusals: &mut Refusals) -> Option<Vec<What>> {
    let Some(words) = words else {
        let told = |what: &What| !matches!(what, What::Passed | What::Drained);
        return Some(What::ALL.into_iter().filter(told).collect());
    };
    let all = words.iter().take(2 * What::ALL.len()).enumerate().map(|(n, text)| {
        let known = What::ALL.into_iter().find(|what| word(*what) == text);
        if known.is_none() {
            let remedy = did_you_mean(text, &What::ALL.map(word));
            refusals.add(format!("{path}[{n}]"), "no word of a decision", remedy);
        }
        known
    });
    all.collect::<Vec<_>>().into_iter().collect()
}

/// `Some(None)`: the usual text; `None`: refused.
fn template(path: &str, text: Option<&str>, refusals: &mut Refusals) -> Option<Option<String>> {
    let Some(text) = text else { return Some(None) };
    if text.trim().is_empty() || text.chars().count() > LONGEST_TEMPLATE {
        let remedy = format!("write 1 to {LONGEST_TEMPLATE} characters, or leave it out");
        refusals.add(path, "no text of a message", remedy);
        return None;
    }
    let names = text.split("{{").skip(1).map(|rest| rest.split_once("}}").map(|(name, _)| name.trim()));
    for name in names {
        let Some(name) = name else {
            refusals.add(path, "a `{{` without `}}`", "write a placeholder as {{why}}");
            return None;
        };
        if !PLACEHOLDERS.contains(&name) {
            let shown: String = name.chars().take(40).collect();
            refusals.add(
                path,
                format!("unknown placeholder `{{{{{shown}}}}}`"),
                did_you_mean(name, &PLACEHOLDERS),
            );
            return None;
        }
    }
    Some(Some(text.to_owned()))
}
