//! What became of the requests of a load: the sums, without any I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Revisions that are told apart; those beyond are one.
const MOST_REVISIONS: usize = 64;
/// Name of all revisions beyond.
const OTHERS: &str = "(others)";
/// Longest latency that is told: 60 seconds, in microseconds.
const LONGEST: u64 = 60_000_000;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The revision that answered, if the answer says so.
    pub(crate) revision: Option<String>,
    /// From the request to the last byte of the answer.
    pub(crate) latency: Duration,
    /// How it ended.
    pub(crate) end: End,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer below 500.
    Good,
    /// With an answer of 500 or above.
    ServerError,
    /// The connection failed, or the answer was cut short.
    Broken,
    /// Without an answer in time.
    TimedOut,
}

/// Everything of a load, for the whole of it and for each window.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    slow: Duration,
    windows: Vec<Window>,
}

/// A stretch of time, for instance one release. A request belongs to the window in which it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Its name.
    pub(crate) name: String,
    /// When it began, since the load's beginning.
    pub(crate) begun: Duration,
    /// Requests that were sent.
    pub(crate) sent: u64,
    /// Those that were due but not sent, for too many were under way: the load's own limit.
    pub(crate) unsent: u64,
    /// All that have ended, of every revision and of none.
    pub(crate) all: Tally,
    /// Those that a revision has answered.
    pub(crate) revisions: BTreeMap<String, Tally>,
}

/// Sums of requests that have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// How many.
    pub(crate) ended: u64,
    /// Answers of 500 and above, broken connections, and timeouts.
    pub(crate) failed: u64,
    /// Broken connections among them.
    pub(crate) broken: u64,
    /// Timeouts among them.
    pub(crate) timed_out: u64,
    /// Those slower than the limit, failed or not.
    pub(crate) slow: u64,
    /// When the first one ended, since the load's beginning.
    pub(crate) first: Option<Duration>,
    /// When the last one ended.
    pub(crate) last: Option<Duration>,
    /// When the first bad one ended: failed or slow.
    pub(crate) first_bad: Option<Duration>,
    /// In microseconds, to two digits; made for the first one.
    latency: Option<Histogram<u64>>,
}

/// A window, as [`Account::sent`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InWindow(usize);

impl Account {
    /// Nothing yet, in a first window. `slow` is the latency above which a request is slow.
    pub(crate) fn new(name: &str, slow: Duration) -> Account {
        Account { slow, windows: vec![Window::new(name, Duration::ZERO)] }
    }

    /// Begins the next window.
    pub(crate) fn begin(&mut self, name: &str, at: Duration) {
        self.windows.push(Window::new(name, at));
    }

    /// Counts a request that is sent.
    pub(crate) fn sent(&mut self) -> InWindow {
        self.last_mut(|window| window.sent += 1)
    }

    /// Counts requests that could not be sent.
    pub(crate) fn unsent(&mut self, count: u64) {
        self.last_mut(|window| window.unsent += count);
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(&mut self, InWindow(n): InWindow, outcome: Outcome, at: Duration) {
        let slow = outcome.latency > self.slow;
        let Some(window) = self.windows.get_mut(n) else { return };
        window.all.count(&outcome, slow, at);
        if let Some(revision) = &outcome.revision {
            window.of(revision).count(&outcome, slow, at);
        }
    }

    /// The windows, first to last.
    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The sums of all windows; what they say of first and last is that of all.
    pub(crate) fn whole(&self) -> Window {
        let mut whole = Window::new("all", Duration::ZERO);
        for window in &self.windows {
            whole.sent += window.sent;
            whole.unsent += window.unsent;
            whole.all.add(&window.all);
            for (revision, tally) in &window.revisions {
                whole.of(revision).add(tally);
            }
        }
        whole
    }

    fn last_mut(&mut self, change: impl FnOnce(&mut Window)) -> InWindow {
        let n = self.windows.len().saturating_sub(1);
        if let Some(window) = self.windows.get_mut(n) {
            change(window);
        }
        InWindow(n)
    }
}

impl Window {
    fn new(name: &str, begun: Duration) -> Window {
        let (name, all, revisions) = (name.to_owned(), Tally::default(), BTreeMap::new());
        Window { name, begun, sent: 0, unsent: 0, all, revisions }
    }

    fn of(&mut self, revision: &str) -> &mut Tally {
        let full = self.revisions.len() >= MOST_REVISIONS && !self.revisions.contains_key(revision);
        let name = if full { OTHERS } else { revision };
        self.revisions.entry(name.to_owned()).or_default()
    }

    /// From the first bad answer of a revision to the last answer of it at all: how long clients had to bear it.
    /// `None`: it gave no bad answer.
    pub(crate) fn borne(&self, revision: &str) -> Option<Duration> {
        let tally = self.revisions.get(revision)?;
        Some(tally.last?.saturating_sub(tally.first_bad?))
    }
}

impl Tally {
    /// The latency that this share of the requests did not exceed; `None` before the first one.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let latency = self.latency.as_ref().filter(|latency| !latency.is_empty())?;
        Some(Duration::from_micros(latency.value_at_quantile(share)))
    }

    /// Share of failed requests; 0 before the first one.
    pub(crate) fn failed_share(&self) -> f64 {
        share(self.failed, self.ended)
    }

    fn count(&mut self, outcome: &Outcome, slow: bool, at: Duration) {
        let failed = outcome.end != End::Good;
        self.ended += 1;
        self.failed += u64::from(failed);
        self.broken += u64::from(outcome.end == End::Broken);
        self.timed_out += u64::from(outcome.end == End::TimedOut);
        self.slow += u64::from(slow);
        self.seen(Some(at), Some(at), Some(at).filter(|_| failed || slow));
        let micros = u64::try_from(outcome.latency.as_micros()).unwrap_or(LONGEST).max(1);
        self.latency = self.latency.take().or_else(|| Histogram::new_with_bounds(1, LONGEST, 2).ok());
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(micros);
        }
    }

    fn add(&mut self, other: &Tally) {
        self.ended += other.ended;
        self.failed += other.failed;
        self.broken += other.broken;
        self.timed_out += other.timed_out;
        self.slow += other.slow;
        self.seen(other.first, other.last, other.first_bad);
        match (&mut self.latency, &other.latency) {
            // Both have the same bounds: there is nothing that one could not take from the other.
            (Some(mine), Some(others)) => drop(mine.add(others)),
            (None, others) => self.latency.clone_from(others),
            (Some(_), None) => {}
        }
    }

    fn seen(&mut self, first: Option<Duration>, last: Option<Duration>, bad: Option<Duration>) {
        self.first = self.first.into_iter().chain(first).min();
        self.last = self.last.into_iter().chain(last).max();
        self.first_bad = self.first_bad.into_iter().chain(bad).min();
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn outcome(revision: &str, latency: u64, end: End) -> Outcome {
        Outcome { revision: Some(revision.to_owned()), latency: ms(latency), end }
    }

    #[test]
    fn a_request_belongs_to_the_window_in_which_it_was_sent() {
        let mut account = Account::new("v1", ms(100));
        let early = account.sent();
        account.begin("v2", ms(1_000));
        let late = account.sent();
        account.ended(late, outcome("v2", 5, End::Good), ms(1_010));
        account.ended(early, outcome("v1", 900, End::ServerError), ms(1_020));
        let [first, second] = account.windows() else { panic!("two windows") };
        assert_eq!((first.name.as_str(), first.begun), ("v1", Duration::ZERO));
        assert_eq!((second.name.as_str(), second.begun), ("v2", ms(1_000)));
        assert_eq!((first.sent, first.all.ended, first.all.failed, first.all.slow), (1, 1, 1, 1));
        assert_eq!((second.sent, second.all.ended, second.all.failed, second.all.slow), (1, 1, 0, 0));
        assert_eq!(account.whole().all.ended, 2);
    }

    #[test]
    fn what_clients_bore_ends_with_the_last_answer_of_the_bad_revision() {
        let mut account = Account::new("v3", ms(100));
        for (at, revision, end) in [
            (10, "v3", End::Good),
            (20, "v3", End::ServerError),
            (30, "v2", End::Good),
            (900, "v3", End::Good),
            (2_000, "v2", End::Good),
        ] {
            let window = account.sent();
            account.ended(window, outcome(revision, 1, end), ms(at));
        }
        let window = account.whole();
        assert_eq!(window.borne("v3"), Some(ms(880)));
        assert_eq!(window.borne("v2"), None);
        assert!((window.revisions["v3"].failed_share() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn slow_answers_are_bad_ones_and_quantiles_show_them() {
        let mut account = Account::new("v4", ms(100));
        for n in 0..100 {
            let window = account.sent();
            let latency = if n >= 90 { 400 } else { 2 };
            account.ended(window, outcome("v4", latency, End::Good), ms(n));
        }
        let tally = account.whole().revisions["v4"].clone();
        assert_eq!((tally.slow, tally.failed, tally.first_bad), (10, 0, Some(ms(90))));
        let near =
            |share: f64, millis: u64| tally.quantile(share).unwrap().abs_diff(ms(millis)) <= ms(millis) / 50;
        assert!(near(0.5, 2) && near(0.99, 400), "{:?} {:?}", tally.quantile(0.5), tally.quantile(0.99));
    }

    #[test]
    fn revisions_without_end_do_not_fill_the_memory() {
        let mut account = Account::new("v1", ms(100));
        for n in 0..1_000 {
            let window = account.sent();
            account.ended(window, outcome(&format!("r{n}"), 1, End::Good), ms(n));
        }
        let window = account.whole();
        assert!(window.revisions.len() <= MOST_REVISIONS + 1);
        assert_eq!(window.revisions.values().map(|tally| tally.ended).sum::<u64>(), 1_000);
    }
}
