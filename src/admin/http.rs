//! `/metrics`, `/healthz`, `/readyz` and `/status` over HTTP.

use super::View;
use super::status::Status;
use crate::topology::Health;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Prometheus's text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes, to be served on a listener.
pub fn router(view: View) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/explain", post(explain))
        .with_state(view)
}

async fn metrics(State(view): State<View>) -> Response {
    let text = view.metrics.render(&view.topology.load(), &view.admission, Instant::now());
    ([(header::CONTENT_TYPE, EXPOSITION)], text).into_response()
}

/// 200 when a statement can be sent somewhere: a primary is there, or a replica that may be used.
async fn ready(State(view): State<View>) -> (StatusCode, String) {
    if *view.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let topology = view.topology.load();
    if topology.primary().is_some() || topology.servers.iter().any(|server| server.health == Health::Up) {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, "no server can be used\n".to_owned())
}

async fn status(State(view): State<View>) -> Json<Status> {
    Json(Status::of(&view, Instant::now()))
}

/// How long to wait for a busy session before the caller is told that it is busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question to a live session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Its id, as in SHOW SESSIONS.
    session: u32,
    /// The statement to explain, if any.
    statement: Option<String>,
}

/// What that session would do with that statement. The session itself answers, between two commands.
async fn explain(State(view): State<View>, Json(question): Json<Question>) -> Response {
    let Some(session) = view.registry.find(question.session) else {
        return (StatusCode::NOT_FOUND, format!("there is no session {}\n", question.session)).into_response();
    };
    let busy = || {
        let why = format!("session {} runs a command: ask again when it is over\n", question.session);
        (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    };
    let Some(answer) = session.ask(question.statement) else { return busy() };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Ok(Err(_)) | Err(_) => busy(),
    }
}
