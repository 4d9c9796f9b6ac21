//! What is answered where.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::HeaderMap;
use penstock_core::time::Time;
use penstock_driver::clock::now;
use penstock_driver::view::{Person, View};
use penstock_signals::RolloutName;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::answer::{self, Listing};
use crate::board::Board;
use crate::guard::{Hosts, guard};
use crate::limits::{Rate, Refused};
use crate::people::{People, forbidden_to_see};
use crate::serve::Page;
use crate::trouble::Trouble;
use crate::{assets, events, orders};

/// Requests of one address each second, and at once.
const REQUESTS: (f64, f64) = (100.0, 400.0);
/// Orders of one person each second, and at once.
const ORDERS: (f64, f64) = (1.0, 10.0);
/// Pages that are kept live at the same time.
const STREAMS: usize = 96;
/// Longest body, in bytes: an order with its reason.
const BODY: usize = 16 << 10;
/// Longest words to look for, in bytes.
const WORDS: usize = 200;

/// What all requests share.
pub(crate) struct App {
    pub(crate) view: Arc<dyn View>,
    pub(crate) hosts: Hosts,
    pub(crate) people: People,
    pub(crate) board: Board,
    pub(crate) requests: Rate<IpAddr>,
    pub(crate) orders: Rate<String>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) refused: Arc<Refused>,
}

impl App {
    pub(crate) fn new(page: Page, refused: Arc<Refused>) -> App {
        let Page { view, hosts, tokens } = page;
        App {
            people: People::new(Arc::clone(&view), tokens),
            board: Board::default(),
            view,
            hosts,
            requests: Rate::new(REQUESTS.0, REQUESTS.1),
            orders: Rate::new(ORDERS.0, ORDERS.1),
            streams: Arc::new(Semaphore::new(STREAMS)),
            refused,
        }
    }

    /// The Rollouts that a person may see, the most urgent first.
    pub(crate) async fn list(&self, person: &Person, words: &Words) -> Result<Listing, Trouble> {
        self.is_ready()?;
        let all = self.board.all(&*self.view);
        if self.people.may_see(person, None).await? {
            return Ok(answer::listing(all, &words.q));
        }
        let mut seen = Vec::new();
        for namespace in answer::namespaces(&all) {
            if self.people.may_see(person, Some(&namespace)).await? {
                seen.push(namespace);
            }
        }
        if seen.is_empty() {
            return Err(forbidden_to_see(person, None));
        }
        let mine = all.into_iter().filter(|summary| seen.contains(&summary.namespace)).collect();
        Ok(answer::listing(mine, &words.q))
    }

    /// One Rollout in words, if the person may see it.
    pub(crate) async fn one(&self, person: &Person, name: &RolloutName, now: Time) -> Result<Value, Trouble> {
        self.may_see(person, name).await?;
        self.is_ready()?;
        let object = self.view.get(name).ok_or_else(|| gone(name))?;
        let may_order = self.people.may_order(person, name).await?;
        Ok(answer::one(
            &object,
            name,
            answer::Seen { now, may_order, measured_since: self.view.histories().begun() },
        ))
    }

    fn is_ready(&self) -> Result<(), Trouble> {
        if self.view.is_ready() {
            return Ok(());
        }
        let text = "Penstock has just begun, and does not know the Rollouts yet";
        Err(Trouble::new(http::StatusCode::SERVICE_UNAVAILABLE, "NotReady", text).remedy("wait a moment"))
    }

    pub(crate) async fn may_see(&self, person: &Person, name: &RolloutName) -> Result<(), Trouble> {
        match self.people.may_see(person, Some(&name.namespace)).await? {
            true => Ok(()),
            false => Err(forbidden_to_see(person, Some(&name.namespace))),
        }
    }
}

/// That there is no such Rollout.
pub(crate) fn gone(name: &RolloutName) -> Trouble {
    Trouble::missing(format!("there is no Rollout {name}"))
        .remedy("it may have been deleted, or never have been")
}

/// The page and its API.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(assets::index))
        .route("/r/{namespace}/{name}", get(assets::index))
        .route("/assets/{*name}", get(assets::asset))
        .route("/api/v1/me", get(me))
        .route("/api/v1/rollouts", get(list))
        .route("/api/v1/events", get(events::all))
        .route("/api/v1/rollouts/{namespace}/{name}", get(one))
        .route("/api/v1/rollouts/{namespace}/{name}/events", get(events::one))
        .route("/api/v1/rollouts/{namespace}/{name}/orders", post(orders::give))
        .fallback(async || Trouble::missing("there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Trouble::new(http::StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this can't be done here")
        })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// What to look for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Words {
    /// In names and namespaces.
    pub(crate) q: String,
}

impl Words {
    pub(crate) fn checked(self) -> Result<Words, Trouble> {
        if self.q.len() > WORDS {
            let text = format!("more than {WORDS} bytes to look for");
            return Err(Trouble::new(http::StatusCode::BAD_REQUEST, "TooLong", text));
        }
        Ok(self)
    }
}

type Answer = Result<Response, Trouble>;

async fn me(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer {
    let person = app.people.who(&headers).await?;
    let told =
        json!({"v": 1, "name": person.name, "place": app.view.place(), "token": app.people.need_tokens()});
    Ok(Json(told).into_response())
}

async fn list(State(app): State<Arc<App>>, Query(words): Query<Words>, headers: HeaderMap) -> Answer {
    let person = app.people.who(&headers).await?;
    Ok(Json(app.list(&person, &words.checked()?).await?).into_response())
}

async fn one(State(app): State<Arc<App>>, Path(path): Path<(String, String)>, headers: HeaderMap) -> Answer {
    let person = app.people.who(&headers).await?;
    let name = named(path);
    let mut told = app.one(&person, &name, now()).await?;
    told["curve"] = serde_json::to_value(app.view.histories().curve(&name, 0, 0)).unwrap_or_default();
    Ok(Json(told).into_response())
}

pub(crate) fn named((namespace, name): (String, String)) -> RolloutName {
    RolloutName { namespace, name }
}
