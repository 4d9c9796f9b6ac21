//! What is in the way of a Rollout, for its conditions.

use super::call::{CallError, Kind};

/// Something that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// One word for machines.
    pub(super) reason: &'static str,
    /// What it is and what to do.
    pub(super) message: String,
    /// Whether a person has to do something.
    pub(super) stalls: bool,
}

impl Trouble {
    /// A call that failed. `what` was tried.
    pub(super) fn call(what: &str, error: &CallError) -> Trouble {
        let reason = match error.kind {
            Kind::Forbidden => "Forbidden",
            Kind::Invalid => "Refused",
            Kind::Conflict | Kind::Exists => "Conflict",
            Kind::Missing => "Missing",
            Kind::Unavailable => "Unavailable",
        };
        let stalls = matches!(error.kind, Kind::Forbidden | Kind::Invalid);
        Trouble { reason, message: format!("{what}: {}", error.why), stalls }
    }

    /// The Gateway API is not there.
    pub(super) fn no_gateway_api() -> Trouble {
        Trouble {
            reason: "MissingGatewayAPI",
            message: "the cluster has no HTTPRoute: install the Gateway API's definitions, \
                      https://gateway-api.sigs.k8s.io/guides/ (its standard channel, `kubectl apply --server-side -f standard-install.yaml`)"
                .to_owned(),
            stalls: true,
        }
    }
}
