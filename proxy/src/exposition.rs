//! `/metrics` in Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

use penstock_proxy_api::{Culprit, metric};

use crate::access;
use crate::report::{self, Snapshot};
use crate::series::{CLASSES, Key, Series};
use crate::worker::Shared;

/// All metrics.
pub(crate) fn text(snapshot: &Snapshot, shared: &Shared) -> String {
    let mut page = Page(String::with_capacity(4096 * (snapshot.series.len() + 1)));
    requests(&mut page, snapshot);
    latency(&mut page, snapshot);
    per_revision(&mut page, snapshot);
    per_rollout(&mut page, snapshot);
    proxy(&mut page, snapshot, shared);
    page.0
}

fn requests(page: &mut Page, snapshot: &Snapshot) {
    page.family(metric::REQUESTS, "counter", "Requests that have ended.");
    for series in &snapshot.series {
        let labels = labels(series.key());
        for (class, code) in CLASSES.iter().enumerate() {
            for culprit in Culprit::ALL {
                let (name, value) = (culprit.as_str(), series.requests(class, culprit));
                let more = format!("{labels},{}=\"{code}\",{}=\"{name}\"", metric::CODE, metric::CULPRIT);
                page.sample(metric::REQUESTS, &more, value);
            }
        }
    }
}

fn latency(page: &mut Page, snapshot: &Snapshot) {
    let name = metric::LATENCY;
    page.family(
        name,
        "histogram",
        "Time from a request's arrival to the response's head, or to the failure.",
    );
    let (bucket, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
    for series in of_revisions(snapshot) {
        let (labels, latency) = (labels(series.key()), series.latency());
        let cumulative = latency.cumulative();
        for (edge, below) in latency.edges().iter().zip(&cumulative) {
            page.sample(&bucket, &format!("{labels},le=\"{edge}\""), below);
        }
        let all = cumulative.last().copied().unwrap_or_default();
        page.sample(&bucket, &format!("{labels},le=\"+Inf\""), all);
        page.sample(&sum, &labels, latency.sum());
        page.sample(&count, &labels, all);
    }
}

fn per_revision(page: &mut Page, snapshot: &Snapshot) {
    page.family(metric::IN_FLIGHT, "gauge", "Requests in flight.");
    for series in of_revisions(snapshot) {
        page.sample(metric::IN_FLIGHT, &labels(series.key()), series.in_flight());
    }
    page.family(
        metric::FALLOVERS,
        "counter",
        "Requests that went to another revision for want of an endpoint.",
    );
    for series in of_revisions(snapshot) {
        page.sample(metric::FALLOVERS, &labels(series.key()), series.fallovers());
    }
}

fn per_rollout(page: &mut Page, snapshot: &Snapshot) {
    let lanes = || snapshot.view.lanes.iter().zip(&snapshot.entries);
    let key = |lane: &crate::lane::Lane, revision: &str| Key {
        namespace: lane.namespace.clone(),
        rollout: lane.rollout.clone(),
        revision: revision.to_owned(),
    };
    page.family(metric::GENERATION, "gauge", "The split's generation in effect.");
    for (shown, entry) in lanes() {
        let (namespace, rollout) = (escape(&shown.lane.namespace), escape(&shown.lane.rollout));
        let labels = format!("{}=\"{namespace}\",{}=\"{rollout}\"", metric::NAMESPACE, metric::ROLLOUT);
        page.sample(metric::GENERATION, &labels, entry.table.generation);
    }
    page.family(metric::WEIGHT, "gauge", "Share of the traffic in percent.");
    for (shown, entry) in lanes() {
        for (revision, weight) in report::weights(&entry.table) {
            page.sample(metric::WEIGHT, &labels(&key(&shown.lane, &revision)), weight);
        }
    }
    page.family(metric::ENDPOINTS, "gauge", "Ready endpoints.");
    for (shown, entry) in lanes() {
        for (revision, ready) in report::endpoints(&entry.table) {
            page.sample(metric::ENDPOINTS, &labels(&key(&shown.lane, &revision)), ready);
        }
    }
}

fn proxy(page: &mut Page, snapshot: &Snapshot, shared: &Shared) {
    page.family(metric::PROBLEMS, "gauge", "Files or objects that can't be used as they stand.");
    page.sample(metric::PROBLEMS, "", snapshot.view.problems.len());
    page.family(metric::CONNECTIONS, "gauge", "Open connections of clients.");
    page.sample(metric::CONNECTIONS, "", shared.open_connections());
    page.family(access::DROPPED, "counter", "Lines of the access log that were dropped.");
    page.sample(access::DROPPED, "", shared.access.dropped());
}

/// Those of requests without a revision have neither latency nor flight.
fn of_revisions(snapshot: &Snapshot) -> impl Iterator<Item = &Series> {
    snapshot.series.iter().map(AsRef::as_ref).filter(|s| !s.key().revision.is_empty())
}

fn labels(key: &Key) -> String {
    let (namespace, rollout, revision) =
        (escape(&key.namespace), escape(&key.rollout), escape(&key.revision));
    format!(
        "{}=\"{namespace}\",{}=\"{rollout}\",{}=\"{revision}\"",
        metric::NAMESPACE,
        metric::ROLLOUT,
        metric::REVISION
    )
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            writeln!(self.0, "{name} {value}").ok();
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}").ok();
        }
    }
}
