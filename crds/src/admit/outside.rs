//! Words from outside: gates and freezes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use http::Uri;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use penstock_core::strategy::Gate;

use super::source::{admit_ca, admit_key, refuse_unless};
use super::within;
use crate::facts::{Address, Webhook};
use crate::freeze::Freeze;
use crate::refusal::Refusals;
use crate::rollout::{FreezeSpec, GateSpec, StepSpec, WebhookSpec};
use crate::text::DurationText;

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(30);
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const DEFAULT: &str = "10s";
const MOST_FREEZES: usize = 20;

/// How a gate is waited for.
pub(super) fn gate(path: &str, spec: &GateSpec, refusals: &mut Refusals) -> Option<Gate> {
    let words = ("outside 100ms to 1h", "write a duration between them, for instance 10s");
    let interval = time(&format!("{path}.interval"), spec.interval.as_ref(), INTERVALS, words, refusals);
    let path = format!("{path}.timeoutSeconds");
    let timeout = spec.timeout_seconds.map(|secs| within::<u64>(&path, secs, 1..=i32::MAX.into(), refusals));
    let timeout = match timeout {
        None => None,
        Some(secs) => Some(Duration::from_secs(secs?)),
    };
    Some(Gate { interval: interval?, timeout })
}

/// The webhooks of gates by the index of their step.
pub(super) fn gates(
    path: &str,
    steps: &[StepSpec],
    refusals: &mut Refusals,
) -> Option<BTreeMap<usize, Webhook>> {
    let gates = steps.iter().enumerate().filter_map(|(n, step)| Some((n, step.gate.as_ref()?)));
    let all: Vec<Option<(usize, Webhook)>> = gates
        .map(|(n, gate)| {
            let path = format!("{path}[{n}].gate.webhook");
            let Some(spec) = gate.webhook.as_ref() else {
                refusals.add(path, "missing", "write `webhook: {url: https://HOST/PATH}`");
                return None;
            };
            Some((n, webhook(&path, spec, refusals)?))
        })
        .collect();
    all.into_iter().collect()
}

pub(super) fn webhook(path: &str, spec: &WebhookSpec, refusals: &mut Refusals) -> Option<Webhook> {
    let address = match (&spec.url, &spec.url_secret) {
        (Some(_), Some(_)) => {
            refusals.add(path, "two addresses", "remove one of url and urlSecret");
            None
        }
        (None, Some(key)) => admit_key(&format!("{path}.urlSecret"), key, refusals).map(Address::Secret),
        (url, None) => address(&format!("{path}.url"), url.as_deref(), refusals).map(Address::Plain),
    };
    let words = ("outside 1ms to 30s", "write a duration between them, for instance 10s");
    let timeout = time(&format!("{path}.timeout"), spec.timeout.as_ref(), TIMEOUTS, words, refusals);
    let secret = match &spec.secret {
        None => Some(None),
        Some(key) => admit_key(&format!("{path}.secret"), key, refusals).map(Some),
    };
    let ca = admit_ca(path, spec.ca_secret.as_ref(), spec.ca_config_map.as_ref(), refusals);
    let address = address?;
    let open = matches!(&address, Address::Plain(url) if !url.starts_with("https://"));
    let secure = !open || ca.as_ref().is_none_or(Option::is_none);
    let remedy = "write an address that begins with https://, or remove the CA";
    refuse_unless(secure, path, "a CA, and an address without https", remedy, refusals)?;
    Some(Webhook { address, timeout: timeout?, secret: secret?, ca: ca? })
}

fn address(path: &str, url: Option<&str>, refusals: &mut Refusals) -> Option<String> {
    let remedy = "write an address such as https://ci.example.com/gate";
    let Some(url) = url else {
        refusals.add(path, "missing", remedy);
        return None;
    };
    let uri: Option<Uri> = url.parse().ok().filter(|_| url.len() <= 2048);
    let scheme = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    let host = |uri: &Uri| uri.host().is_some_and(|host| !host.is_empty());
    let Some(uri) = uri.filter(|uri| scheme(uri) && host(uri)) else {
        refusals.add(path, "no address of a webhook", remedy);
        return None;
    };
    let named = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let remedy = "leave it out: requests are signed with `secret`";
    refuse_unless(!named, path, "a user or a password in the address", remedy, refusals)?;
    Some(url.to_owned())
}

fn time(
    path: &str,
    text: Option<&DurationText>,
    range: RangeInclusive<Duration>,
    (problem, remedy): (&str, &str),
    refusals: &mut Refusals,
) -> Option<Duration> {
    let default = DurationText::from(DEFAULT);
    let time = refusals.take(path, text.unwrap_or(&default).parse())?;
    refuse_unless(range.contains(&time), path, problem, remedy, refusals).map(|()| time)
}

pub(super) fn freezes(specs: Option<&Vec<FreezeSpec>>, refusals: &mut Refusals) -> Option<Vec<Freeze>> {
    let specs = specs.map(Vec::as_slice).unwrap_or_default();
    if specs.len() > MOST_FREEZES {
        let problem = format!("{} freezes", specs.len());
        refusals.add("spec.freeze", problem, format!("write at most {MOST_FREEZES}"));
        return None;
    }
    let each = |(n, spec)| freeze(&format!("spec.freeze[{n}]"), spec, refusals);
    let all: Vec<Option<Freeze>> = specs.iter().enumerate().map(each).collect();
    all.into_iter().collect()
}

pub(crate) fn freeze(path: &str, spec: &FreezeSpec, refusals: &mut Refusals) -> Option<Freeze> {
    let within = format!("{path}.duration");
    let Some(text) = spec.duration.as_ref() else {
        refusals.add(within, "missing", "write how long it lasts, for instance 62h");
        return None;
    };
    let duration = refusals.take(&within, text.parse())?;
    let remedy = "write how long it lasts, for instance 62h";
    refuse_unless(!duration.is_zero(), &within, "a freeze of no time", remedy, refusals)?;
    let reason = spec.reason.clone().unwrap_or_default();
    let plain = reason.chars().count() <= 200 && !reason.chars().any(char::is_control);
    let remedy = "write one line of at most 200 characters";
    refuse_unless(plain, &format!("{path}.reason"), "no line of text", remedy, refusals)?;
    let name = spec.time_zone.as_deref().unwrap_or("UTC");
    let Ok(zone) = TimeZone::get(name) else {
        let remedy = "write a name such as Europe/Berlin, America/New_York or UTC";
        refusals.add(format!("{path}.timeZone"), "no time zone that is known", remedy);
        return None;
    };
    let schedule = schedule(&format!("{path}.schedule"), spec.schedule.as_deref(), &zone, refusals)?;
    Some(Freeze { schedule, zone, duration, reason })
}

fn schedule(
    path: &str,
    text: Option<&str>,
    zone: &TimeZone,
    refusals: &mut Refusals,
) -> Option<croner::Cron> {
    let remedy =
        "write minute, hour, day of the month, month and day of the week: 0 18 * * 5 is Friday, 18:00";
    let Some(text) = text else {
        refusals.add(path, "missing", remedy);
        return None;
    };
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let parsed = Some(text).filter(|text| text.len() <= 100).and_then(|text| parser.parse(text).ok());
    let Some(schedule) = parsed else {
        refusals.add(path, "no schedule", remedy);
        return None;
    };
    // A leap year is ahead within eight years of any day.
    let from = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
    let comes = schedule.find_next_occurrence(&from, true).is_ok();
    refuse_unless(comes, path, "a day that never comes", "write one that does", refusals)?;
    Some(schedule)
}
