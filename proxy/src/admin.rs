//! The admin listener: status, metrics, health.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::board::Board;
use crate::worker::Shared;
use crate::{exposition, report};

/// What the admin reads.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) board: Arc<Board>,
    pub(crate) shared: Arc<Shared>,
}

/// All pages of the admin listener.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(admin)
}

async fn status(State(admin): State<Admin>) -> Response {
    Json(report::status(&admin.board, &admin.shared).await).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let text = exposition::text(&report::snapshot(&admin.board, &admin.shared).await, &admin.shared);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match (admin.board.is_ready(), admin.board.is_draining()) {
        (true, _) => "ready\n".into_response(),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no table yet\n").into_response(),
    }
}
