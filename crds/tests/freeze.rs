//! When nothing is promoted: schedules, time zones, hours that are left out or come twice.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use jiff::civil::DateTime;
use penstock_core::observation::Frozen;
use penstock_core::time::Time;
use penstock_crds::{Freeze, frozen};

fn freeze(schedule: &str, zone: &str, duration: &str) -> Freeze {
    let text =
        format!("{{schedule: \"{schedule}\", timeZone: {zone}, duration: {duration}, reason: no deploys}}");
    Freeze::read(&text).unwrap()
}

/// A moment as a clock in UTC shows it.
fn utc(text: &str) -> Time {
    let moment = text.parse::<DateTime>().unwrap().in_tz("UTC").unwrap().timestamp();
    Time(moment.as_millisecond().try_into().unwrap())
}

fn at(freezes: &[Freeze], moment: &str) -> Option<Frozen> {
    frozen(freezes, utc(moment))
}

fn until(freezes: &[Freeze], moment: &str) -> Option<Time> {
    at(freezes, moment).and_then(|frozen| frozen.until)
}

#[test]
fn a_weekend_begins_on_friday_evening_and_ends_on_monday_morning() {
    let weekend = [freeze("0 18 * * 5", "Europe/Berlin", "62h")];
    assert_eq!(at(&weekend, "2026-11-20T16:59:59"), None);
    let end = utc("2026-11-23T07:00:00");
    for inside in ["2026-11-20T17:00:00", "2026-11-21T21:00:00", "2026-11-23T06:59:59"] {
        assert_eq!(until(&weekend, inside), Some(end), "{inside}");
    }
    let told = at(&weekend, "2026-11-21T12:00:00").unwrap().why;
    assert_eq!(told, "frozen until Mon 2026-11-23 08:00 Europe/Berlin: no deploys");
    assert_eq!(at(&weekend, "2026-11-23T07:00:00"), None, "its end is outside");
}

#[test]
fn a_beginning_in_an_hour_that_is_left_out_comes_when_that_hour_is_over() {
    // In Berlin, 2026-03-29 has no time between 02:00 and 03:00, which is 01:00 UTC.
    let night = [freeze("30 2 29 3 *", "Europe/Berlin", "2h")];
    assert_eq!(at(&night, "2026-03-29T00:59:59"), None);
    let begun = until(&night, "2026-03-29T01:40:00");
    assert!(
        begun.is_some_and(|end| end >= utc("2026-03-29T03:00:00") && end <= utc("2026-03-29T03:30:00")),
        "{begun:?}"
    );
    assert_eq!(at(&night, "2026-03-29T03:31:00"), None);
}

#[test]
fn an_hour_that_comes_twice_freezes_once_and_for_as_long_as_it_says() {
    // In Berlin, 02:30 comes twice on 2026-10-25: at 00:30 and at 01:30 UTC.
    let night = [freeze("30 2 25 10 *", "Europe/Berlin", "30m")];
    let frozen: Vec<&str> =
        ["2026-10-25T00:29:00", "2026-10-25T00:31:00", "2026-10-25T01:10:00", "2026-10-25T01:31:00"]
            .into_iter()
            .filter(|moment| at(&night, moment).is_some())
            .collect();
    assert_eq!(frozen, ["2026-10-25T00:31:00"]);
    let long = [freeze("0 18 24 10 *", "Europe/Berlin", "15h")];
    assert_eq!(
        until(&long, "2026-10-25T01:00:00"),
        Some(utc("2026-10-25T07:00:00")),
        "15 hours have passed by then"
    );
}

#[test]
fn freezes_that_run_into_one_another_are_told_with_their_common_end() {
    let both = [freeze("0 0 24 12 *", "UTC", "72h"), freeze("0 12 26 12 *", "UTC", "200h")];
    assert_eq!(until(&both, "2026-12-24T05:00:00"), Some(utc("2027-01-03T20:00:00")));
    let daily = [freeze("0 0 * * *", "UTC", "24h")];
    let told = at(&daily, "2026-12-24T05:00:00").unwrap();
    assert_eq!((told.until, told.why.as_str()), (None, "frozen without an end: no deploys"));
}

#[test]
fn a_leap_day_of_long_ago_costs_no_time_worth_the_name() {
    let freezes: Vec<Freeze> = ["0 0 29 2 *", "59 23 31 12 1", "0 0 * * *", "*/7 3 1-7 * 0"]
        .map(|s| freeze(s, "America/New_York", "1h"))
        .into();
    let begun = Instant::now();
    (0..100).for_each(|_| drop(at(&freezes, "2027-11-23T07:00:00")));
    println!("{:?} for each of 100", begun.elapsed() / 100);
}

#[test]
fn what_is_wrong_on_a_command_line_is_told_with_what_to_write() {
    let told =
        |text: &str| Freeze::read(text).unwrap_err().iter().map(ToString::to_string).collect::<String>();
    assert!(told("{duration: 1h}").contains("freeze.schedule: missing"));
    assert!(
        told("{schedule: \"0 0 * * *\", timeZone: Mars, duration: 1h}")
            .contains("no time zone that is known")
    );
    assert!(told("{schedul: 1}").contains("schedul") || told("{schedul: 1}").contains("missing"));
    assert!(told("friday").contains("write {schedule"));
}
