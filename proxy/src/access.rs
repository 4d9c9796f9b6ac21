//! The access log: one line of JSON for a request. Requests hand their lines over and never wait for them to be
//! written; lines that come too fast are dropped and counted.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::series::Series;

/// Most lines that wait to be written.
const MAX_WAITING: usize = 4 << 10;
/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(20);
/// How long the end of the proxy waits for the last lines.
const LAST: Duration = Duration::from_secs(1);
/// Most bytes of a target, or of another text of a client, that are logged.
const MAX_TEXT: usize = 1024;

/// Counter: lines that were dropped because nobody read the log as fast as it was written.
pub(crate) const DROPPED: &str = "penstock_proxy_access_log_dropped_total";

/// Which requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that failed by the fault of an endpoint or of the proxy.
    Errors,
    /// These, and one in so many others.
    Sampled(u32),
}

impl FromStr for AccessLog {
    type Err = String;

    /// `off`, `errors` or `sampled:N`.
    fn from_str(text: &str) -> Result<AccessLog, String> {
        let sampled = text.strip_prefix("sampled:").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match (text, sampled) {
            ("off", _) => Ok(AccessLog::Off),
            ("errors", _) => Ok(AccessLog::Errors),
            (_, Some(one_in)) => Ok(AccessLog::Sampled(one_in)),
            _ => Err("write off, errors, or sampled:N for one request in N".into()),
        }
    }
}

/// What is known of a request before it is answered: texts in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    text: Vec<u8>,
    parts: [(usize, usize); 6],
}

/// One of the texts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Client,
    Method,
    Target,
    Host,
    RequestId,
    TraceParent,
}

impl Note {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.parts = Default::default();
    }

    /// Sets a text that is made of these pieces, as much of each as is logged.
    pub(crate) fn set(&mut self, part: Part, pieces: &[&[u8]]) {
        let start = self.text.len();
        for piece in pieces {
            self.text.extend_from_slice(piece.get(..MAX_TEXT).unwrap_or(piece));
        }
        self.parts[part as usize] = (start, self.text.len());
    }

    /// A text; empty if it has not been set.
    pub(crate) fn get(&self, part: Part) -> &[u8] {
        let (start, end) = self.parts[part as usize];
        self.text.get(start..end).unwrap_or_default()
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) at: SystemTime,
    pub(crate) note: Note,
    pub(crate) series: Arc<Series>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) status: Option<u16>,
    pub(crate) culprit: &'static str,
    /// Until the head of the response.
    pub(crate) latency: Duration,
    /// Until the end.
    pub(crate) duration: Duration,
}

/// A line as it is written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    time: String,
    namespace: &'a str,
    rollout: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    revision: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    client: Cow<'a, str>,
    method: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: Cow<'a, str>,
    target: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    culprit: &'a str,
    latency_seconds: f64,
    duration_seconds: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    traceparent: Cow<'a, str>,
}

#[derive(Debug)]
enum Message {
    Line(Box<Line>),
    /// Everything before this has to be written.
    Flush(SyncSender<()>),
}

/// The log, if there is one.
#[derive(Debug)]
pub(crate) struct Log {
    what: AccessLog,
    lines: SyncSender<Message>,
    dropped: AtomicU64,
}

impl Log {
    /// A log, and the one who writes it.
    pub(crate) fn new(what: AccessLog) -> (Log, Writer) {
        let (lines, receiver) = sync_channel(MAX_WAITING);
        (Log { what, lines, dropped: AtomicU64::new(0) }, Writer(receiver))
    }

    /// Whether any request may be logged.
    pub(crate) fn is_on(&self) -> bool {
        self.what != AccessLog::Off
    }

    /// Whether a request is logged.
    pub(crate) fn wants(&self, failed: bool, random: impl FnOnce() -> u64) -> bool {
        match self.what {
            AccessLog::Off => false,
            AccessLog::Errors => failed,
            AccessLog::Sampled(one_in) => failed || random().is_multiple_of(u64::from(one_in)),
        }
    }

    /// Hands a line over, or drops it.
    pub(crate) fn offer(&self, line: Line) {
        if self.lines.try_send(Message::Line(Box::new(line))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits for the last lines to be written, for a while.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.is_on() && self.lines.try_send(Message::Flush(done)).is_ok() {
            written.recv_timeout(LAST).ok();
        }
    }
}

/// Writes lines, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Writer(Receiver<Message>);

impl Writer {
    /// Writes lines as long as there are any to come.
    pub(crate) fn run(self, mut out: impl Write) {
        let mut page = Vec::new();
        while let Ok(first) = self.0.recv() {
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Line(line) => write(&mut page, &line),
                    Message::Flush(done) => {
                        put(&mut out, &mut page);
                        done.try_send(()).ok();
                    }
                }
                next = self.0.try_recv().ok();
                if page.len() > 1 << 20 {
                    put(&mut out, &mut page);
                }
            }
            put(&mut out, &mut page);
            std::thread::sleep(GATHER);
        }
    }
}

/// Writes what has been gathered. A reader that is gone is no trouble of the proxy.
fn put(out: &mut impl Write, page: &mut Vec<u8>) {
    let written: io::Result<()> = out.write_all(page).and_then(|()| out.flush());
    written.ok();
    page.clear();
}

fn write(page: &mut Vec<u8>, line: &Line) {
    let key = line.series.key();
    let text = |part| String::from_utf8_lossy(line.note.get(part));
    let written = Written {
        time: DateTime::<Utc>::from(line.at).to_rfc3339_opts(SecondsFormat::Millis, true),
        namespace: &key.namespace,
        rollout: &key.rollout,
        revision: &key.revision,
        endpoint: line.endpoint,
        client: text(Part::Client),
        method: text(Part::Method),
        host: text(Part::Host),
        target: text(Part::Target),
        status: line.status,
        culprit: line.culprit,
        latency_seconds: line.latency.as_secs_f64(),
        duration_seconds: line.duration.as_secs_f64(),
        request_id: text(Part::RequestId),
        traceparent: text(Part::TraceParent),
    };
    if serde_json::to_writer(&mut *page, &written).is_ok() {
        page.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Key, edges};

    fn line(target: &str) -> Line {
        let key = Key { namespace: "shop".into(), rollout: "checkout".into(), revision: "v2".into() };
        let mut note = Note::default();
        note.set(Part::Target, &[target.as_bytes()]);
        note.set(Part::Method, &[b"GET"]);
        Line {
            at: SystemTime::UNIX_EPOCH,
            note,
            series: Series::new(key, 1, &edges(&[])),
            endpoint: Some(SocketAddr::from(([10, 0, 0, 1], 80))),
            status: Some(502),
            culprit: "upstream",
            latency: Duration::from_millis(2),
            duration: Duration::from_millis(3),
        }
    }

    #[test]
    fn a_line_is_json_whatever_is_in_it() {
        let mut page = Vec::new();
        write(&mut page, &line("/a\"\n\u{1}"));
        assert_eq!(page.iter().filter(|b| **b == b'\n').count(), 1);
        let read: serde_json::Value = serde_json::from_slice(&page).unwrap();
        assert_eq!((&read["method"], &read["target"]), (&"GET".into(), &"/a\"\n\u{1}".into()));
        assert_eq!((&read["revision"], &read["status"]), (&"v2".into(), &502.into()));
        assert_eq!(
            (&read["time"], &read["endpoint"]),
            (&"1970-01-01T00:00:00.000Z".into(), &"10.0.0.1:80".into())
        );
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted() {
        let (access, _writer) = Log::new(AccessLog::Errors);
        (0..MAX_WAITING + 5).for_each(|_| access.offer(line("/")));
        assert_eq!(access.dropped(), 5);
    }

    #[test]
    fn what_has_been_handed_over_is_written_before_the_end() {
        let (access, writer) = Log::new(AccessLog::Sampled(1));
        let (reader, out) = io::pipe().unwrap();
        let thread = std::thread::spawn(move || writer.run(out));
        (0..3).for_each(|_| access.offer(line("/")));
        access.flush();
        drop(access);
        thread.join().unwrap();
        assert_eq!(io::read_to_string(reader).unwrap().lines().count(), 3);
    }

    #[test]
    fn errors_are_always_logged_and_others_now_and_then() {
        let (access, _writer) = Log::new("sampled:4".parse().unwrap());
        assert!(access.wants(true, || 1) && access.wants(false, || 8) && !access.wants(false, || 9));
        let (access, _writer) = Log::new("errors".parse().unwrap());
        assert!(access.wants(true, || 1) && !access.wants(false, || 0));
        for text in ["", "sampled:0", "sampled", "all", "sampled:-1"] {
            assert!(text.parse::<AccessLog>().is_err(), "{text}");
        }
    }
}
