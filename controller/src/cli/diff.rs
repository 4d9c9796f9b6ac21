//! `penstock diff`: what a revision changes in the pod template.

use std::io::{Write, stdout};

use anyhow::{Result, bail};
use clap::Args;
use penstock_crds::RolloutStatus;
use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use super::complete;
use super::paint::{Ink, Paint, clean_line};
use super::place::{Kept, NotFound, Target, Where};
use super::{Exit, called};

/// Lines around a change that are shown, too.
const AROUND: usize = 3;

#[derive(Debug, Args)]
#[command(after_help = "\
Without revisions: of a release, or one that was aborted, against the stable revision; otherwise of the stable revision
against the one before. It ends with 0 whether there are differences or not.

Examples:
  penstock diff checkout
  penstock diff checkout 5c6b7d9f42 7d9f8a0b22")]
pub(super) struct Diff {
    /// The Rollout's name, or NAMESPACE/NAME
    #[arg(value_name = "NAME", add = complete::rollouts())]
    name: String,
    /// The older revision, or the beginning of its name
    #[arg(value_name = "FROM")]
    from: Option<String>,
    /// The newer one; the stable revision when left out
    #[arg(value_name = "TO")]
    to: Option<String>,
}

impl Diff {
    pub(super) fn run(&self, place: &Where) -> Result<Exit> {
        let target = Target::new(&self.name, place.namespace.as_deref());
        let place = place.place()?;
        let saved = place.find(&target)?;
        let kept = place.kept(&saved)?;
        let status = saved.rollout.status.clone().unwrap_or_default();
        let (from, to) = self.pair(&kept, &status)?;
        stdout().write_all(diff(from, to, Paint::for_stdout())?.as_bytes())?;
        Ok(Exit::Good)
    }

    fn pair<'a>(&self, kept: &'a [Kept], status: &RolloutStatus) -> Result<(&'a Kept, &'a Kept)> {
        let stable = || status.stable_revision.as_deref().and_then(|name| named(kept, name).ok());
        let nothing =
            || NotFound(format!("there is nothing to compare with: see `{} history`", called::name()));
        if let Some(from) = &self.from {
            let to = self.to.as_deref().map(|to| named(kept, to)).transpose()?;
            return Ok((named(kept, from)?, to.or_else(stable).ok_or_else(nothing)?));
        }
        let canary = status.canary_revision.as_deref().and_then(|name| named(kept, name).ok());
        let stable = stable().ok_or_else(nothing)?;
        if let Some(canary) = canary.filter(|canary| canary.revision != stable.revision) {
            return Ok((stable, canary));
        }
        let older =
            kept.iter().filter(|kept| kept.revision != stable.revision && kept.created <= stable.created);
        Ok((older.max_by_key(|kept| kept.created).ok_or_else(nothing)?, stable))
    }
}

/// The revision of a name, or of its beginning.
fn named<'a>(kept: &'a [Kept], name: &str) -> Result<&'a Kept> {
    let mut found = kept.iter().filter(|kept| kept.revision.starts_with(name));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(_)) if one.revision == name => Ok(one),
        (Some(_), Some(_)) => bail!("several revisions begin with `{name}`: write more of it"),
        (None, _) => {
            let known: Vec<_> = kept.iter().map(|kept| kept.revision.as_str()).collect();
            bail!(NotFound(format!("no revision `{name}` is kept; there are {}", known.join(", "))))
        }
    }
}

/// Both templates as a unified diff.
fn diff(from: &Kept, to: &Kept, paint: Paint) -> Result<String> {
    let (old, new) = (template(from)?, template(to)?);
    if old == new {
        return Ok(format!("the templates of {} and {} are the same\n", from.revision, to.revision));
    }
    let diff = TextDiff::from_lines(&old, &new);
    let mut text = String::new();
    let mut say = |ink: Option<Ink>, line: &str| {
        let line = clean_line(line);
        text.push_str(&ink.map_or_else(|| line.clone(), |ink| paint.ink(ink, &line)));
        text.push('\n');
    };
    say(Some(Ink::Bold), &format!("--- {}", from.revision));
    say(Some(Ink::Bold), &format!("+++ {}", to.revision));
    for hunk in diff.unified_diff().context_radius(AROUND).iter_hunks() {
        say(Some(Ink::Blue), &hunk.header().to_string());
        for change in hunk.iter_changes() {
            let (sign, ink) = match change.tag() {
                ChangeTag::Delete => ("-", Some(Ink::Red)),
                ChangeTag::Insert => ("+", Some(Ink::Green)),
                ChangeTag::Equal => (" ", None),
            };
            say(ink, &format!("{sign}{}", change.value().trim_end_matches('\n')));
        }
    }
    Ok(text)
}

/// A template as people have written it: without what was added to tell revisions apart.
fn template(kept: &Kept) -> Result<String> {
    let mut template = kept.template.clone();
    for part in ["/metadata/labels", "/metadata/annotations"] {
        if let Some(Value::Object(entries)) = template.pointer_mut(part) {
            entries.retain(|name, _| !name.starts_with("penstock.dev/"));
        }
    }
    prune(&mut template);
    Ok(serde_saphyr::to_string(&template)?)
}

/// Takes nothing and empty things away: they say nothing.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            let mut kept = Map::new();
            let all = std::mem::take(fields).into_iter();
            kept.extend(all.filter(|(name, value)| !value.is_null() && name != "creationTimestamp"));
            *fields = kept;
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use penstock_core::time::Time;
    use serde_json::json;

    use super::*;

    fn kept(revision: &str, at: u64, image: &str) -> Kept {
        let labels = json!({"app": "checkout", "penstock.dev/revision": revision});
        let template = json!({
            "metadata": {"labels": labels, "creationTimestamp": null},
            "spec": {"containers": [{"name": "web", "image": image, "env": [{"name": "A", "value": "1"}]}]},
        });
        Kept { revision: revision.to_owned(), created: Some(Time(at)), template }
    }

    fn pair(arguments: [Option<&str>; 2], status: &Value) -> Result<(String, String), String> {
        let [from, to] = arguments.map(|text| text.map(str::to_owned));
        let diff = Diff { name: "checkout".to_owned(), from, to };
        let all = [kept("aaa1", 1, "a:1"), kept("bbb2", 2, "a:2"), kept("bbb3", 3, "a:3")];
        let status = serde_json::from_value(status.clone()).unwrap();
        let pair = diff.pair(&all, &status).map_err(|error| error.to_string())?;
        Ok((pair.0.revision.clone(), pair.1.revision.clone()))
    }

    #[test]
    fn what_was_changed_is_shown_and_nothing_of_ours() {
        let text =
            diff(&kept("aaa1", 1, "shop/checkout:1"), &kept("bbb2", 2, "shop/checkout:2"), Paint::default());
        insta::assert_snapshot!(text.unwrap());
        let same = diff(&kept("aaa1", 1, "a:1"), &kept("bbb2", 2, "a:1"), Paint::default()).unwrap();
        assert!(same.contains("are the same"), "{same}");
    }

    #[test]
    fn without_names_the_release_or_the_last_one_is_meant() {
        let ok = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        let releasing = json!({"stableRevision": "bbb2", "canaryRevision": "bbb3"});
        let stable = json!({"stableRevision": "bbb2"});
        assert_eq!(pair([None, None], &releasing), ok("bbb2", "bbb3"));
        assert_eq!(pair([None, None], &stable), ok("aaa1", "bbb2"));
        assert_eq!(pair([Some("aaa"), None], &stable), ok("aaa1", "bbb2"));
        assert_eq!(pair([Some("a"), Some("bbb3")], &stable), ok("aaa1", "bbb3"));
        assert!(pair([Some("bbb"), None], &stable).unwrap_err().contains("write more"));
        assert!(pair([Some("x"), None], &stable).unwrap_err().contains("there are aaa1, bbb2, bbb3"));
        assert!(
            pair([None, None], &json!({"stableRevision": "aaa1"}))
                .unwrap_err()
                .contains("nothing to compare")
        );
    }
}
