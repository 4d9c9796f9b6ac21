//! One Rollout with its revisions, pods and verdicts.

use std::time::Duration;

use penstock_core::state::spoken;
use penstock_core::strategy::Step;
use penstock_core::time::Time;
use penstock_crds::{
    DecisionRecord, Measurement, PodStatus, RevisionStatus, Role, Rollout, RolloutStatus, TrafficStatus,
    Verdict, admit, time_of, words,
};

use super::Past;
use crate::cli::paint::{Ink, Paint, age, clean};

/// One Rollout with its revisions, pods and verdicts.
#[cfg(test)]
pub(super) fn tree(rollout: &Rollout, now: Time, paint: Paint, wide: bool) -> String {
    live(rollout, &Past::default(), now, paint, wide)
}

/// One Rollout with its revisions, pods and verdicts, and what a watch has seen so far.
pub(crate) fn live(rollout: &Rollout, past: &Past, now: Time, paint: Paint, wide: bool) -> String {
    let none = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&none);
    let mut lines = head(rollout, status, paint);
    lines.extend(progress(rollout, status, now));
    lines.push(String::new());
    lines.extend(revisions(rollout, &status.revisions, past, now, paint, wide));
    if !status.measurements.is_empty() {
        lines.push(String::new());
        lines.extend(measurements(rollout, &status.measurements, past, now, paint));
    }
    if wide && !status.conditions.is_empty() {
        lines.push(String::new());
        lines.extend(conditions(status, now, paint));
    }
    if let Some(last) = status.decisions.last() {
        lines.push(String::new());
        lines.push(latest(last, now, paint));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn head(rollout: &Rollout, status: &RolloutStatus, paint: Paint) -> Vec<String> {
    let name = clean(rollout.metadata.name.as_deref().unwrap_or_default());
    let namespace = clean(rollout.metadata.namespace.as_deref().unwrap_or("default"));
    let title =
        format!("{}  {}", paint.ink(Ink::Bold, &format!("{namespace}/{name}")), paint.phase(status.phase));
    let message = status.message.as_deref().map(|message| format!("  {}", clean(message)));
    let unseen = rollout.metadata.generation.filter(|g| status.observed_generation.is_some_and(|o| o < *g));
    let unseen = unseen.map(|_| "  a newer spec has been written and is not worked on yet".to_owned());
    [Some(title), message, unseen].into_iter().flatten().collect()
}

fn progress(rollout: &Rollout, status: &RolloutStatus, now: Time) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((step, steps)) = status.step.zip(status.steps) {
        lines.push(format!("  {}", step_line(rollout, status, step, steps, now)));
    }
    if let Some(split) = &status.split {
        let applied = if split.acknowledged {
            "acknowledged by all proxies"
        } else {
            "not acknowledged by all proxies yet"
        };
        lines.push(format!("  split {}: {applied}", split.generation));
    }
    if lines.is_empty() { lines } else { [vec![String::new()], lines].concat() }
}

fn step_line(rollout: &Rollout, status: &RolloutStatus, step: i32, steps: i32, now: Time) -> String {
    if step >= steps {
        return format!("all {steps} steps are done");
    }
    let since = status.step_since.as_ref().map(|since| format!(", {} in it", age(now, time_of(since))));
    let known = admit(rollout).map(|admitted| admitted.strategy.steps).unwrap_or_default();
    let same = i32::try_from(known.len()).is_ok_and(|n| n == steps);
    let what = usize::try_from(step).ok().and_then(|n| known.get(n)).filter(|_| same);
    let left = what.and_then(|step| left(step, status, now)).unwrap_or_default();
    let what = what.map(|step| format!(": {}", words::step(step)));
    format!("step {} of {steps}{}{}{left}", step + 1, what.unwrap_or_default(), since.unwrap_or_default())
}

/// What is left of a pause that ends by itself; when it is over, something else is waited for.
fn left(step: &Step, status: &RolloutStatus, now: Time) -> Option<String> {
    let (Step::Pause(Some(pause)), Some(since)) = (step, &status.step_since) else { return None };
    let left = pause.saturating_sub(now.since(time_of(since)));
    let left = Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
    (!left.is_zero()).then(|| format!(", {} left", spoken(left)))
}

fn revisions(
    rollout: &Rollout,
    all: &[RevisionStatus],
    past: &Past,
    now: Time,
    paint: Paint,
    wide: bool,
) -> Vec<String> {
    let shown: Vec<_> =
        all.iter().filter(|r| wide || r.role != Role::Old || r.scale > 0 || r.weight > 0).collect();
    let mut lines = Vec::new();
    for (n, revision) in shown.iter().enumerate() {
        let (joint, stem) = branch(n + 1 == shown.len());
        lines.push(format!("{joint}{}", revision_line(revision, now, paint)));
        if let Some(traffic) = &revision.traffic {
            let pictures = past.pictures(rollout, &revision.name);
            lines.push(format!("{stem}   {}", traffic_line(traffic, &pictures, paint)));
        }
        if let Some(trouble) = &revision.trouble {
            lines.push(format!("{stem}   {}", paint.ink(Ink::Red, &clean(trouble))));
        }
        for (n, pod) in revision.pods.iter().enumerate() {
            let (joint, _) = branch(n + 1 == revision.pods.len());
            lines.push(format!("{stem}{joint}{}", pod_line(pod, paint, wide)));
        }
    }
    let hidden = all.len() - shown.len();
    if hidden > 0 {
        lines.push(paint.ink(Ink::Dim, &format!("   and {hidden} kept without pods")));
    }
    lines
}

fn branch(last: bool) -> (&'static str, &'static str) {
    if last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

fn revision_line(revision: &RevisionStatus, now: Time, paint: Paint) -> String {
    let RevisionStatus { name, role, scale, ready, weight, .. } = revision;
    let role_name = match role {
        Role::Stable => "stable",
        Role::Canary => "canary",
        Role::Old => "old   ",
    };
    let created = revision.created.as_ref().map(|time| format!(", {} old", age(now, time_of(time))));
    let bar = paint.bar(*weight, *role);
    let pods = format!(
        "{ready} of {scale} pods ready{}{}",
        restarts(revision.restarts),
        created.unwrap_or_default()
    );
    format!("{role_name}  {:10}  {bar}  {weight:>3} %  {pods}", clean(name))
}

/// What it was sent lately, and how that went while it was watched.
fn traffic_line(traffic: &TrafficStatus, (errors, latency): &(String, String), paint: Paint) -> String {
    let figure = |value: Option<f64>, unit: &str| value.map_or("-".to_owned(), |v| format!("{v} {unit}"));
    let TrafficStatus { rate, quantile, .. } = traffic;
    let failed = figure(traffic.errors, "%");
    let slow = figure(traffic.latency, "ms");
    format!(
        "{rate:>7.1}/s  {failed:>7} failed{}  p{quantile} {slow:>9}{}",
        drawn(errors, paint),
        drawn(latency, paint)
    )
}

fn drawn(picture: &str, paint: Paint) -> String {
    if picture.is_empty() { String::new() } else { format!("  {}", paint.ink(Ink::Blue, picture)) }
}

fn restarts(count: i32) -> String {
    match count {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        many => format!(", {many} restarts"),
    }
}

fn pod_line(pod: &PodStatus, paint: Paint, wide: bool) -> String {
    let state = if pod.ready { paint.ink(Ink::Green, "ready") } else { paint.ink(Ink::Yellow, "not ready") };
    let trouble = pod.trouble.as_deref().map(|trouble| format!(": {}", clean(trouble))).unwrap_or_default();
    let address =
        pod.address.as_deref().filter(|_| wide).map(|a| format!("  {}", clean(a))).unwrap_or_default();
    format!("{}{address}  {state}{}{trouble}", clean(&pod.name), restarts(pod.restarts))
}

fn measurements(rollout: &Rollout, all: &[Measurement], past: &Past, now: Time, paint: Paint) -> Vec<String> {
    let width = |of: fn(&Measurement) -> &str| all.iter().map(|m| of(m).chars().count()).max().unwrap_or(0);
    let name = |m: &Measurement| clean(&m.metric);
    let (names, values) = (width(|m| &m.metric), width(|m| m.value.as_deref().unwrap_or("-")).max(1));
    let line = |m: &Measurement| {
        let value = m.value.as_deref().map_or("-".to_owned(), clean);
        let limit = m.limit.as_deref().map(|limit| format!("  ({})", clean(limit))).unwrap_or_default();
        let counts =
            m.total.zip(m.bad).map(|(total, bad)| format!("  {bad} of {total} requests")).unwrap_or_default();
        let time = m.time.as_ref().map(|t| format!("  {} ago", age(now, time_of(t)))).unwrap_or_default();
        let picture = drawn(&past.picture(rollout, m), paint);
        let verdict = paint.verdict(m.verdict);
        format!("{:names$}  {verdict}  {value:>values$}{limit}{counts}{time}{picture}", name(m))
    };
    // Of a good one, the numbers have said all.
    let why = |m: &Measurement| {
        m.message
            .as_deref()
            .filter(|_| m.verdict != Verdict::Good)
            .map(|why| format!("{:names$}  {}", "", paint.ink(Ink::Dim, &clean(why))))
    };
    all.iter().flat_map(|m| [Some(line(m)), why(m)]).flatten().collect()
}

fn conditions(status: &RolloutStatus, now: Time, paint: Paint) -> Vec<String> {
    let line = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        let then = u64::try_from(c.last_transition_time.0.as_millisecond()).unwrap_or(0);
        let text = format!(
            "{:12}  {:7}  {}, {} ago",
            clean(&c.type_),
            clean(&c.status),
            clean(&c.reason),
            age(now, Time(then))
        );
        if c.status == "True" { text } else { paint.ink(Ink::Dim, &text) }
    };
    status.conditions.iter().map(line).collect()
}

fn latest(decision: &DecisionRecord, now: Time, paint: Paint) -> String {
    let time =
        decision.time.as_ref().map(|time| format!("{} ago ", age(now, time_of(time)))).unwrap_or_default();
    format!("{}{}", paint.ink(Ink::Dim, &time), words::sentence(decision))
}
