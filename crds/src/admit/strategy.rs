//! The way of a release, and what the router is told.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use penstock_core::strategy::Step;

use super::{did_you_mean, steps, within};
use crate::facts::{HeaderMatch, Sticky, Webhook};
use crate::refusal::Refusals;
use crate::rollout::{MarksSpec, RolloutSpec, StickySpec};

pub(super) struct Way {
    pub(super) steps: Vec<Step>,
    pub(super) gates: BTreeMap<usize, Webhook>,
    pub(super) marks: Option<HeaderMatch>,
    pub(super) sticky: Option<Sticky>,
    pub(super) progress_deadline: Duration,
    pub(super) history_limit: usize,
}

const PATH: &str = "spec.strategy.canary";
pub(super) const DEFAULT_DEADLINE: i32 = 600;
const DEFAULT_HISTORY: i32 = 5;

pub(super) fn admit(spec: &RolloutSpec, refusals: &mut Refusals) -> Option<Way> {
    let canary = spec.strategy.as_ref().and_then(|s| s.canary.as_ref());
    let written = canary.and_then(|c| c.steps.as_ref());
    let steps = match written {
        Some(steps) => steps::admit(steps, refusals),
        None => steps::default(),
    };
    let gates = written.map_or_else(|| Some(BTreeMap::new()), |steps| steps::gates(steps, refusals));
    let deadline = spec.progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE);
    let deadline: Option<u64> =
        within("spec.progressDeadlineSeconds", deadline, 1..=i32::MAX.into(), refusals);
    let history = spec.revision_history_limit.unwrap_or(DEFAULT_HISTORY);
    let history = within("spec.revisionHistoryLimit", history, 0..=100, refusals);
    let marks = canary.and_then(|c| c.marks.as_ref()).map(|marks| admit_marks(marks, refusals));
    let sticky = canary.and_then(|c| c.sticky.as_ref()).map(|sticky| admit_sticky(sticky, refusals));
    Some(Way {
        steps: steps?,
        gates: gates?,
        marks: absent_or(marks)?,
        sticky: absent_or(sticky)?,
        progress_deadline: Duration::from_secs(deadline?),
        history_limit: history?,
    })
}

pub(super) fn timeout(spec: &RolloutSpec, refusals: &mut Refusals) -> Option<Duration> {
    let router = spec.router.as_ref()?;
    if let Some(kind) = router.kind.as_deref().filter(|kind| *kind != "Penstock") {
        let remedy = did_you_mean(kind, &["Penstock"]);
        refusals.add("spec.router.type", format!("`{kind}` is no router of this version"), remedy);
    }
    let path = "spec.router.timeout";
    let timeout = refusals.take(path, router.timeout.as_ref()?.parse())?;
    if timeout.is_zero() {
        refusals.add(
            path,
            "every request would fail at once",
            "write the longest time a request may take, or leave it out",
        );
    }
    Some(timeout)
}

/// `Some(None)` for what was left out, `None` for what was refused.
fn absent_or<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |v| v.map(Some))
}

fn admit_marks(marks: &MarksSpec, refusals: &mut Refusals) -> Option<HeaderMatch> {
    let path = format!("{PATH}.marks");
    let name = header(&format!("{path}.header"), marks.header.as_deref(), refusals);
    let value = marks.value.as_deref().unwrap_or("always");
    let fits = !value.is_empty() && value.len() <= 4096 && value.trim() == value && visible(value);
    if !fits {
        let remedy = "write 1 to 4096 visible characters without spaces around them";
        refusals.add(format!("{path}.value"), "no value of a header", remedy);
        return None;
    }
    Some(HeaderMatch { name: name?, value: value.to_owned() })
}

fn visible(value: &str) -> bool {
    value.is_ascii() && HeaderValue::from_str(value).is_ok_and(|v| v.to_str().is_ok())
}

fn header(path: &str, name: Option<&str>, refusals: &mut Refusals) -> Option<String> {
    let Some(name) = name else {
        refusals.add(path, "missing", "write the name of a header, for instance x-canary");
        return None;
    };
    let fits = name.len() <= 256 && HeaderName::from_bytes(name.as_bytes()).is_ok();
    if !fits {
        refusals.add(
            path,
            format!("`{name}` is no name of a header"),
            "write letters, digits and -, for instance x-canary",
        );
    }
    fits.then(|| name.to_owned())
}

fn admit_sticky(sticky: &StickySpec, refusals: &mut Refusals) -> Option<Sticky> {
    let path = format!("{PATH}.sticky");
    match (sticky.header.as_deref(), sticky.cookie.as_deref()) {
        (Some(name), None) => header(&format!("{path}.header"), Some(name), refusals).map(Sticky::Header),
        // A cookie's name is a token like a header's name: RFC 6265, section 4.1.1.
        (None, Some(name)) if name.len() <= 256 && HeaderName::from_bytes(name.as_bytes()).is_ok() => {
            Some(Sticky::Cookie(name.to_owned()))
        }
        (None, Some(name)) => {
            let remedy = "write letters, digits, - and _, for instance session";
            refusals.add(format!("{path}.cookie"), format!("`{name}` is no name of a cookie"), remedy);
            None
        }
        (Some(_), Some(_)) | (None, None) => {
            refusals.add(
                path,
                "neither or both of header and cookie",
                "write `header: NAME` or `cookie: NAME`",
            );
            None
        }
    }
}
