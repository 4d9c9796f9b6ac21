//! What goes wrong, as the page and a person with curl read it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use penstock_driver::view::Stranger;
use serde_json::json;

/// Why a request is not answered, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) status: StatusCode,
    /// In a word, for machines.
    pub(crate) reason: &'static str,
    /// What it is.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) remedy: String,
}

impl Trouble {
    pub(crate) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Trouble {
        Trouble { status, reason, message: message.into(), remedy: String::new() }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Trouble {
        Trouble { remedy: remedy.into(), ..self }
    }

    pub(crate) fn busy() -> Trouble {
        Trouble::new(StatusCode::TOO_MANY_REQUESTS, "Busy", "too many requests to this page")
            .remedy("wait a second and try again")
    }

    pub(crate) fn missing(what: impl Into<String>) -> Trouble {
        Trouble::new(StatusCode::NOT_FOUND, "NotFound", what)
    }

    /// As JSON, for an event or a body.
    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"v": 1, "reason": self.reason, "message": self.message, "remedy": self.remedy})
    }
}

impl From<Stranger> for Trouble {
    fn from(stranger: Stranger) -> Trouble {
        let message = stranger.to_string();
        let make = "make one with `kubectl create token NAME -n NAMESPACE`, for a ServiceAccount that may see Rollouts";
        match stranger {
            Stranger::Unnamed | Stranger::Unknown => {
                Trouble::new(StatusCode::UNAUTHORIZED, "Unauthorized", message).remedy(make)
            }
            Stranger::Unasked(_) => Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message)
                .remedy("the API server may be away: try again; what runs goes on"),
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self.json())).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
