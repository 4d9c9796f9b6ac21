//! Times in which nothing is promoted: from a schedule to whether it holds now, and until when.

use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use penstock_core::observation::Frozen;
use penstock_core::time::Time;

use crate::refusal::{Refusal, Refusals};
use crate::rollout::FreezeSpec;

/// One freeze runs into the next at most so often: beyond, it is told as one without end.
const MOST_JOINED: usize = 64;

/// A time that comes again and again, in which nothing is promoted.
#[derive(Clone, Debug, PartialEq)]
pub struct Freeze {
    /// When it begins.
    pub(crate) schedule: Cron,
    /// Where the schedule's clock hangs.
    pub(crate) zone: TimeZone,
    /// How long it lasts: above 0, at most 30 days.
    pub(crate) duration: Duration,
    /// Why, for people; may be empty.
    pub(crate) reason: String,
}

impl Freeze {
    /// A freeze as it is written for all Rollouts: a YAML text with the fields of `spec.freeze`.
    ///
    /// Errors: all that is wrong with it.
    pub fn read(text: &str) -> Result<Freeze, Vec<Refusal>> {
        let mut refusals = Refusals::default();
        let spec: Result<FreezeSpec, _> = serde_saphyr::from_str(text);
        let admitted = match spec {
            Ok(spec) => crate::admit::freeze("freeze", &spec, &mut refusals),
            Err(error) => {
                let remedy = "write {schedule: \"0 18 * * 5\", timeZone: Europe/Berlin, duration: 62h}";
                refusals.add("freeze", error.to_string(), remedy);
                None
            }
        };
        admitted.filter(|_| refusals.is_empty()).ok_or_else(|| refusals.into_vec())
    }

    /// When the freeze ends that holds at this time. As the system cron has it, a beginning that falls into an hour that
    /// is left out comes when that hour is over, and one that comes twice counts from the first time.
    fn end(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.to_zoned(self.zone.clone());
        let begun = self.schedule.find_previous_occurrence(&local, true).ok()?.timestamp();
        let end = begun.checked_add(SignedDuration::try_from(self.duration).ok()?).ok()?;
        (end > at).then_some(end)
    }
}

/// The freeze that holds at this time, with the end of all that follow one another without a break.
pub fn frozen<'a>(freezes: impl IntoIterator<Item = &'a Freeze> + Clone, now: Time) -> Option<Frozen> {
    let now = Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
    let latest = |at: Timestamp| {
        let ends = freezes.clone().into_iter().filter_map(|freeze| Some((freeze.end(at)?, freeze)));
        ends.max_by_key(|(end, _)| *end)
    };
    let (mut end, mut last) = latest(now)?;
    let first = last;
    for _ in 0..MOST_JOINED {
        let Some((later, freeze)) = latest(end) else {
            let zone = last.zone.iana_name().unwrap_or("UTC");
            let local = end.to_zoned(last.zone.clone()).strftime("%a %Y-%m-%d %H:%M");
            let until = u64::try_from(end.as_millisecond()).ok().map(Time);
            return Some(Frozen { until, why: format!("frozen until {local} {zone}{}", first.why()) });
        };
        (end, last) = (later, freeze);
    }
    Some(Frozen { until: None, why: format!("frozen without an end{}", first.why()) })
}

impl Freeze {
    fn why(&self) -> String {
        if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) }
    }
}
