//! What is in the way of a Rollout, for its conditions.

use penstock_crds::Trouble;

use super::call::{CallError, Kind};

/// A call that failed. `what` was tried.
pub(super) fn call(what: &str, error: &CallError) -> Trouble {
    let reason = match error.kind {
        Kind::Forbidden => "Forbidden",
        Kind::Invalid => "Rejected",
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
        message: "the cluster has no HTTPRoutes: install the Gateway API's definitions, `kubectl apply --server-side -f \
                  https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.5.1/standard-install.yaml`"
            .to_owned(),
        stalls: true,
    }
}
