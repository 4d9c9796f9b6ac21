//! `/metrics`, `/healthz`, `/readyz` and `/version` of the controller.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;

use super::cluster::Cluster;
use super::trouble;

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, cluster: Arc<Cluster>) -> std::io::Result<()> {
    let (metrics, ready) = (Arc::clone(&cluster), cluster);
    let text = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/version", get(|| async { concat!(env!("CARGO_PKG_VERSION"), "\n") }))
        .route("/readyz", get(move || async move { readiness(&ready) }))
        .route(
            "/metrics",
            get(move || async move {
                metrics.metrics.active(metrics.wakers.tended());
                (text, metrics.metrics.text())
            }),
        );
    axum::serve(listener, router).await
}

/// Ready to lead: everything is watched that the cluster has. What is not is named. A cluster without the Gateway API is
/// told by each Rollout, and an installation that waits for the controller need not wait for that.
fn readiness(cluster: &Cluster) -> (StatusCode, String) {
    let mut missing: Vec<String> = cluster
        .outages
        .all()
        .into_iter()
        .filter(|(resource, error)| trouble::bar(resource, error).is_some())
        .map(|(resource, error)| format!("{resource}: {}", error.why))
        .collect();
    if missing.is_empty() && !cluster.is_synced() {
        missing.push("the first lists are not complete".to_owned());
    }
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }
}
