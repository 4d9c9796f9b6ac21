//! What people want. An order from the page is an order as any other one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use penstock_core::observation::OrderKind;
use penstock_core::revision::Revision;
use penstock_crds::words::{clean, sentence};
use penstock_crds::{DecisionRecord, RolloutStatus};
use penstock_driver::view::{OrderError, Wish};
use penstock_signals::RolloutName;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::people::forbidden_to_order;
use crate::routes::{App, gone, named};
use crate::trouble::Trouble;

/// Longest reason, in bytes.
const REASON: usize = 4096;
/// Longest name of a person, in bytes.
const NAME: usize = 256;
/// How long an order may take to be followed before the page says that it waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// An order as the page sends it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Its word, as in the annotation: `abort`.
    order: String,
    /// Why; may be empty.
    #[serde(default)]
    reason: String,
    /// For `undo`: the revision that is wanted.
    #[serde(default)]
    revision: Option<String>,
}

/// Gives an order, and waits a moment for what becomes of it.
pub(crate) async fn give(
    State(app): State<Arc<App>>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Trouble> {
    let name = named(path);
    let person = app.people.who(&headers).await?;
    app.may_see(&person, &name).await?;
    if !app.people.may_order(&person, &name).await? {
        return Err(forbidden_to_order(&person, &name));
    }
    if !app.orders.take(&person.name) {
        return Err(Trouble::busy());
    }
    let (kind, reason) = understood(&body)?;
    let mut who = clean(&person.name);
    who.truncate(who.floor_char_boundary(NAME));
    let before = answered(&decisions(&app, &name)?);
    tracing::info!(rollout = %name, who, order = ?kind, reason, "ordered by the page");
    let id = app.view.order(&name, Wish { kind, who: who.clone(), reason }).await.map_err(refused)?;
    let answer = timeout(PATIENCE, answer(&app, &name, &who, id.as_deref(), &before)).await;
    Ok(match answer {
        Ok(Ok(decision)) => {
            let followed = decision.what != "Refused";
            let told =
                json!({"v": 1, "followed": followed, "sentence": sentence(&decision), "why": decision.why});
            Json(told).into_response()
        }
        Ok(Err(trouble)) => return Err(trouble),
        Err(_) => {
            let text = "the order is written and waits: nobody has followed it yet; is Penstock running?";
            (StatusCode::ACCEPTED, Json(json!({"v": 1, "sentence": text}))).into_response()
        }
    })
}

fn understood(body: &[u8]) -> Result<(OrderKind, String), Trouble> {
    let wrong = |text: String| Trouble::new(StatusCode::BAD_REQUEST, "BadOrder", text);
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        wrong(format!("this is no order: {error}")).remedy("send {\"order\": \"abort\", \"reason\": \"…\"}")
    })?;
    let reason = clean(&asked.reason);
    if reason.len() > REASON {
        return Err(wrong(format!("the reason is longer than {REASON} bytes")).remedy("say it shorter"));
    }
    let kind = match asked.order.as_str() {
        "abort" => OrderKind::Abort,
        "promote" => OrderKind::Promote,
        "promote-full" => OrderKind::PromoteFull,
        "pause" => OrderKind::Pause,
        "resume" => OrderKind::Resume,
        "retry" => OrderKind::Retry,
        "undo" => {
            let to = asked.revision.as_deref().map(Revision::new).transpose();
            OrderKind::Undo(to.map_err(|error| wrong(error.to_string()))?)
        }
        other => {
            let text = format!("there is no order `{}`", clean(other).chars().take(40).collect::<String>());
            return Err(
                wrong(text).remedy("there are abort, promote, promote-full, pause, resume, retry and undo")
            );
        }
    };
    Ok((kind, reason))
}

fn refused(error: OrderError) -> Trouble {
    match error {
        OrderError::Missing(name) => gone(&name),
        OrderError::Refused(why) => Trouble::new(StatusCode::CONFLICT, "NotTaken", why),
        error @ OrderError::Unwritten(_) => {
            Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "Unwritten", error.to_string()).remedy("try again")
        }
    }
}

/// Waits for the decision that answers an order: that of its id, or else the first new one of this person.
async fn answer(
    app: &App,
    name: &RolloutName,
    who: &str,
    id: Option<&str>,
    before: &BTreeSet<String>,
) -> Result<DecisionRecord, Trouble> {
    let mut changes = app.view.changes();
    loop {
        let ours = |decision: &&DecisionRecord| match (&decision.order, id) {
            (Some(order), Some(id)) => order == id,
            (Some(order), None) => decision.who == who && !before.contains(order),
            (None, _) => false,
        };
        if let Some(decision) = decisions(app, name)?.iter().find(ours) {
            return Ok(decision.clone());
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn decisions(app: &App, name: &RolloutName) -> Result<Vec<DecisionRecord>, Trouble> {
    let object = app.view.get(name).ok_or_else(|| gone(name))?;
    let status = object.get("status").cloned().unwrap_or_default();
    let status: RolloutStatus = serde_json::from_value(status).unwrap_or_default();
    Ok(status.decisions)
}

fn answered(decisions: &[DecisionRecord]) -> BTreeSet<String> {
    decisions.iter().filter_map(|decision| decision.order.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_the_command_line_is_understood() {
        for word in ["abort", "promote", "promote-full", "pause", "resume", "retry", "undo"] {
            let body = json!({"order": word, "reason": " p99\nlooks wrong "}).to_string();
            let (kind, reason) = understood(body.as_bytes()).unwrap();
            let known = serde_json::to_value(&kind).unwrap();
            assert_eq!(known, if word == "undo" { json!({"undo": null}) } else { json!(word) });
            assert_eq!(reason, "p99 looks wrong");
        }
        let undo = understood(br#"{"order": "undo", "revision": "5c6b7"}"#).unwrap().0;
        assert_eq!(undo, OrderKind::Undo(Revision::new("5c6b7").ok()));
    }

    #[test]
    fn what_is_no_order_says_what_is() {
        let long = json!({"order": "abort", "reason": "x".repeat(REASON + 1)}).to_string();
        for body in [
            "",
            "{}",
            "[]",
            "{\"order\": \"abrot\"}",
            "{\"order\": \"undo\", \"revision\": \"../../x\"}",
            &long,
            "{\"order\": \"abort\", \"as\": \"root\"}",
        ] {
            let trouble = understood(body.as_bytes()).unwrap_err();
            assert_eq!(trouble.status, StatusCode::BAD_REQUEST, "{body}");
        }
    }
}
