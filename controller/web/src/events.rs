//! What keeps a page live: server-sent events, made when the reader takes them, so that a slow one costs nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use http::{HeaderMap, StatusCode};
use penstock_core::time::Time;
use penstock_driver::clock::now;
use penstock_driver::history::Look;
use penstock_signals::RolloutName;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::routes::{App, Words, named};
use crate::trouble::Trouble;

/// Changes come no faster.
const PACE: Duration = Duration::from_millis(200);
/// A sign of life while nothing changes: a page that hears nothing for longer has lost its connection.
const BEAT: Duration = Duration::from_secs(3);
/// Who reads, and whether he still may, is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A reader.
struct Reader {
    app: Arc<App>,
    headers: HeaderMap,
    asked: Instant,
    changes: watch::Receiver<u64>,
    last: Value,
    over: bool,
    _room: OwnedSemaphorePermit,
}

impl Reader {
    fn new(app: Arc<App>, headers: HeaderMap) -> Result<Reader, Trouble> {
        let room = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
            app.refused.tell("live pages");
            let text = "too many pages are kept live at the same time";
            Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", text).remedy("close some, and try again")
        })?;
        let mut changes = app.view.changes();
        changes.mark_changed();
        Ok(Reader {
            app,
            headers,
            asked: Instant::now(),
            changes,
            last: Value::Null,
            over: false,
            _room: room,
        })
    }

    /// The event for what is told now, unless the reader has it already.
    fn told(&mut self, name: &str, told: Result<Value, Trouble>) -> Option<Event> {
        match told {
            Ok(value) if value == self.last => None,
            Ok(value) => {
                let event = event(name, &value);
                self.last = value;
                Some(event)
            }
            // What can't be asked at the moment is asked again; the page says that it is not live.
            Err(trouble) if matches!(trouble.status.as_u16(), 429 | 503) => {
                Some(event("trouble", &trouble.json()))
            }
            Err(trouble) => {
                self.over = true;
                let told = json!({"status": trouble.status.as_u16(), "trouble": trouble.json()});
                Some(event("end", &told))
            }
        }
    }

    fn asks_again(&mut self) -> bool {
        let due = self.asked.elapsed() >= ASK_AGAIN;
        if due {
            self.asked = Instant::now();
        }
        due
    }
}

fn event(name: &str, value: &Value) -> Event {
    Event::default().event(name).data(value.to_string())
}

fn beat() -> Event {
    event("beat", &json!({"now": now().0}))
}

fn live(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(events).into_response();
    // A proxy in between is to pass each event on at once.
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}

/// All Rollouts, again at every change.
pub(crate) async fn all(
    State(app): State<Arc<App>>,
    Query(words): Query<Words>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let words = words.checked()?;
    let person = app.people.who(&headers).await?;
    app.list(&person, &words).await?;
    let reader = Reader::new(app, headers)?;
    let words = Arc::new(words);
    Ok(live(stream::unfold(reader, move |reader| next_list(reader, Arc::clone(&words)))))
}

type Next<R> = Option<(Result<Event, Infallible>, R)>;

async fn next_list(mut reader: Reader, words: Arc<Words>) -> Next<Reader> {
    if reader.over {
        return None;
    }
    loop {
        let changed = tokio::select! {
            changed = reader.changes.changed() => changed.is_ok(),
            () = sleep(BEAT) => false,
        };
        if changed || reader.asks_again() {
            let told = listed(&reader, &words).await;
            let event = reader.told("list", told);
            sleep(PACE).await;
            if let Some(event) = event {
                return Some((Ok(event), reader));
            }
        } else {
            return Some((Ok(beat()), reader));
        }
    }
}

async fn listed(reader: &Reader, words: &Words) -> Result<Value, Trouble> {
    let person = reader.app.people.who(&reader.headers).await?;
    let list = reader.app.list(&person, words).await?;
    Ok(serde_json::to_value(list).unwrap_or_default())
}

/// A reader of one Rollout.
struct Close {
    reader: Reader,
    name: RolloutName,
    measured: watch::Receiver<u64>,
    epoch: u64,
    number: u64,
    beat: Instant,
    _look: Look,
}

/// One Rollout, again at every change, with what is measured of it.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let name = named(path);
    let person = app.people.who(&headers).await?;
    app.one(&person, &name, now()).await?;
    let mut measured = app.view.histories().measured();
    measured.mark_changed();
    let look = app.view.histories().look(&name);
    let reader = Reader::new(app, headers)?;
    let close =
        Close { reader, name, measured, epoch: 0, number: 0, beat: Instant::now() + BEAT, _look: look };
    Ok(live(stream::unfold(close, next_one)))
}

async fn next_one(mut close: Close) -> Next<Close> {
    if close.reader.over {
        return None;
    }
    loop {
        let event = tokio::select! {
            _ = close.reader.changes.changed() => {
                let event = close.told().await;
                if event.is_some() {
                    sleep(PACE).await;
                }
                event
            }
            _ = close.measured.changed() => close.points(),
            () = sleep_until(close.beat) => {
                close.beat = Instant::now() + BEAT;
                if close.reader.asks_again() { close.told().await } else { Some(beat()) }
            }
        };
        if let Some(event) = event {
            return Some((Ok(event), close));
        }
    }
}

impl Close {
    async fn told(&mut self) -> Option<Event> {
        let told = self.rollout().await;
        self.reader.told("rollout", told)
    }

    async fn rollout(&self) -> Result<Value, Trouble> {
        let person = self.reader.app.people.who(&self.reader.headers).await?;
        // Ages are counted by the reader: the present is no news.
        self.reader.app.one(&person, &self.name, Time(0)).await
    }

    /// The points that the reader does not have yet.
    fn points(&mut self) -> Option<Event> {
        let curve = self.reader.app.view.histories().curve(&self.name, self.epoch, self.number);
        let last = curve.points.last()?.number;
        let whole = self.number == 0 || curve.epoch != self.epoch;
        (self.epoch, self.number) = (curve.epoch, last);
        let mut told = serde_json::to_value(curve).unwrap_or_default();
        told["whole"] = whole.into();
        Some(event("points", &told))
    }
}
