//! Calls to the API server: bounded in time, counted, and with words for what goes wrong.

use std::future::Future;
use std::time::Duration;

use kube::Error;

use super::metrics::Metrics;

/// The API server answers in this time, or it is as if it were not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// What kind of failure a call had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Somebody else has written since the object was read.
    Conflict,
    /// There is no such object.
    Missing,
    /// The cluster has no such kind of objects.
    Absent,
    /// There is one already.
    Exists,
    /// The controller may not.
    Forbidden,
    /// The API server does not accept the object.
    Invalid,
    /// No answer, or one that says: later.
    Unavailable,
}

impl Kind {
    /// The label's value.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Conflict => "conflict",
            Kind::Missing => "missing",
            Kind::Absent => "absent",
            Kind::Exists => "exists",
            Kind::Forbidden => "forbidden",
            Kind::Invalid => "invalid",
            Kind::Unavailable => "unavailable",
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct CallError {
    pub(super) kind: Kind,
    /// In words, with what to do where that is known.
    pub(super) why: String,
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        let Error::Api(status) = error else {
            let why = format!("the API server can't be reached: {}", root_cause(&error));
            return CallError { kind: Kind::Unavailable, why };
        };
        let kind = match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Kind::Exists,
            (409, _) => Kind::Conflict,
            // An object that is not there is named in the details; a path that leads nowhere has none.
            (404, _) if status.details.is_none() => Kind::Absent,
            (404 | 410, _) => Kind::Missing,
            (401 | 403, _) => Kind::Forbidden,
            (400..=499, _) if status.code != 429 => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
        let why = match kind {
            Kind::Forbidden => format!(
                "{message}: give the controller this right (`penstock install` prints all that it needs)"
            ),
            Kind::Unavailable => format!("the API server answers {}: {message}", status.code),
            Kind::Absent => "the cluster has no such kind of objects".to_owned(),
            Kind::Conflict | Kind::Missing | Kind::Exists | Kind::Invalid => message,
        };
        CallError { kind, why }
    }
}

/// Waits for an answer, for a while.
pub(super) async fn call<T>(
    metrics: &Metrics,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallError> {
    metrics.called();
    let answer = tokio::time::timeout(PATIENCE, request).await;
    let late = || CallError {
        kind: Kind::Unavailable,
        why: format!("the API server gave no answer in {PATIENCE:?}"),
    };
    let result = answer.map_err(|_| late()).and_then(|answer| answer.map_err(CallError::from));
    if let Err(error) = &result {
        metrics.failed(error.kind);
    }
    result
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: serde_json::Value) -> CallError {
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        CallError::from(Error::Api(status.boxed()))
    }

    #[test]
    fn an_object_that_is_not_there_is_not_a_kind_that_is_not_there() {
        let object = serde_json::json!({"code": 404, "reason": "NotFound", "message": "httproutes \"cart\" not found",
                                        "details": {"name": "cart", "kind": "httproutes"}});
        assert_eq!(error(object).kind, Kind::Missing);
        let path = serde_json::json!({"code": 404, "message": "404 page not found\n"});
        assert_eq!(error(path).kind, Kind::Absent);
    }
}
