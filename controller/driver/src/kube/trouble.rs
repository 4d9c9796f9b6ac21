//! What is in the way of a Rollout, for its conditions.

use penstock_crds::Trouble;

use super::call::{CallError, Kind};
use super::run::HTTP_ROUTES;

/// The reason while a Service waits to be taken over.
pub(super) const ADOPTING: &str = "Adopting";
/// The reason while nobody serves the namespace.
pub(super) const NO_ROUTER: &str = "RouterNotReady";

/// What went wrong in the turns of a Rollout, and what its status says is in the way.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    failed: Vec<Trouble>,
    failed_before: Vec<Trouble>,
    told: Vec<Trouble>,
}

impl Troubles {
    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.failed_before = std::mem::take(&mut self.failed);
    }

    /// Something could not be done.
    pub(super) fn failed(&mut self, trouble: Trouble) {
        self.failed.push(trouble);
    }

    /// What the status is to say: `standing`, and what failed in the turn before.
    pub(super) fn tell(&mut self, standing: impl IntoIterator<Item = Trouble>) -> &[Trouble] {
        self.told = standing.into_iter().chain(self.failed_before.iter().cloned()).collect();
        &self.told
    }

    /// Whether something failed, or the status says that something is in the way of which nobody announces when it goes:
    /// one more turn has to look, even if it is gone by now.
    pub(super) fn linger(&self) -> bool {
        !self.failed.is_empty() || !self.told.iter().all(is_announced)
    }

    /// Whether all that lingers are failures that did not come again.
    pub(super) fn are_over(&self) -> bool {
        let over = |trouble: &Trouble| is_announced(trouble) || self.failed_before.contains(trouble);
        self.failed.is_empty() && self.told.iter().all(over)
    }
}

/// Whether somebody rings when it is over.
fn is_announced(trouble: &Trouble) -> bool {
    [ADOPTING, NO_ROUTER].contains(&trouble.reason)
}

/// A call that failed. `what` was tried.
pub(super) fn call(what: &str, error: &CallError) -> Trouble {
    let reason = match error.kind {
        Kind::Forbidden => "Forbidden",
        Kind::Invalid => "Rejected",
        Kind::Conflict | Kind::Exists => "Conflict",
        Kind::Missing | Kind::Absent => "Missing",
        Kind::Unavailable => "Unavailable",
    };
    let stalls = matches!(error.kind, Kind::Forbidden | Kind::Invalid | Kind::Absent);
    Trouble { reason, message: format!("{what}: {}", error.why), stalls }
}

/// An action that failed: HTTPRoutes are the only kind it may need that a cluster may lack.
pub(super) fn act(what: &str, error: &CallError) -> Trouble {
    if error.kind == Kind::Absent { no_gateway_api() } else { call(what, error) }
}

/// What keeps a kind of objects from being known. `None`: without the Gateway API there are no HTTPRoutes, and that is
/// known.
pub(super) fn bar(resource: &str, error: &CallError) -> Option<Trouble> {
    let absent = resource == HTTP_ROUTES && error.kind == Kind::Absent;
    (!absent).then(|| unwatched(resource, error))
}

/// What the controller may not see any more, or what the cluster does not have: nothing tells when it is over.
pub(super) fn outage(resource: &str, error: &CallError) -> Option<Trouble> {
    match error.kind {
        Kind::Absent if resource == HTTP_ROUTES => Some(no_gateway_api()),
        Kind::Absent | Kind::Forbidden | Kind::Invalid => Some(unwatched(resource, error)),
        // It is tried again until it goes.
        Kind::Conflict | Kind::Exists | Kind::Missing | Kind::Unavailable => None,
    }
}

fn unwatched(resource: &str, error: &CallError) -> Trouble {
    call(&format!("{resource} can't be watched"), error)
}

/// The Gateway API is not there.
fn no_gateway_api() -> Trouble {
    Trouble {
        reason: "MissingGatewayAPI",
        message: "the cluster has no HTTPRoutes: install the Gateway API's definitions, `kubectl apply --server-side -f \
                  https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.5.1/standard-install.yaml`"
            .to_owned(),
        stalls: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: Kind) -> CallError {
        CallError { kind, why: "it is so".to_owned() }
    }

    #[test]
    fn what_the_status_says_is_looked_at_until_it_says_so_no_more() {
        let trouble = |reason| Trouble { reason, message: String::new(), stalls: true };
        let mut troubles = Troubles::default();
        // In the way for one turn, and gone before anybody looks again.
        troubles.begin();
        assert_eq!(troubles.tell([trouble("Forbidden")]), [trouble("Forbidden")]);
        assert!(troubles.linger() && !troubles.are_over());
        troubles.begin();
        assert!(troubles.tell([]).is_empty() && !troubles.linger());
        // It fails after the status was written, and goes well the next time.
        troubles.failed(trouble("Unavailable"));
        assert!(troubles.linger() && !troubles.are_over());
        troubles.begin();
        assert_eq!(troubles.tell([]), [trouble("Unavailable")]);
        assert!(troubles.linger() && troubles.are_over());
        troubles.begin();
        assert!(troubles.tell([]).is_empty() && !troubles.linger());
    }

    #[test]
    fn who_is_told_when_it_is_over_need_not_look() {
        let trouble = |reason| Trouble { reason, message: String::new(), stalls: false };
        let mut troubles = Troubles::default();
        troubles.begin();
        troubles.tell([trouble(ADOPTING), trouble(NO_ROUTER)]);
        assert!(!troubles.linger());
    }

    #[test]
    fn without_the_gateway_api_it_is_known_that_there_are_no_routes() {
        assert!(bar(HTTP_ROUTES, &error(Kind::Absent)).is_none());
        let told = outage(HTTP_ROUTES, &error(Kind::Absent)).unwrap();
        assert!(told.reason == "MissingGatewayAPI" && told.stalls, "{told:?}");
    }

    #[test]
    fn routes_that_may_not_be_seen_are_told_before_the_first_turn_and_after() {
        for told in [bar(HTTP_ROUTES, &error(Kind::Forbidden)), outage(HTTP_ROUTES, &error(Kind::Forbidden))]
        {
            let told = told.unwrap();
            assert!(told.reason == "Forbidden" && told.stalls, "{told:?}");
            assert_eq!(told.message, "httproutes.gateway.networking.k8s.io can't be watched: it is so");
        }
    }

    #[test]
    fn a_server_that_is_away_for_a_moment_is_no_trouble_of_a_rollout() {
        assert!(outage("pods", &error(Kind::Unavailable)).is_none());
    }
}
