//! How many pods a release may have beyond those that serve.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::within;
use crate::refusal::Refusals;
use crate::rollout::RolloutSpec;

const PATH: &str = "spec.strategy.canary";

/// `maxSurge` and `maxUnavailable` as numbers of pods.
pub(super) struct Room {
    pub(super) surge: Option<u32>,
    pub(super) unavailable: u32,
}

/// Percentages are of `replicas`, and rounded as in a Deployment: up for `maxSurge`, down for `maxUnavailable`.
pub(super) fn admit(spec: &RolloutSpec, refusals: &mut Refusals) -> Option<Room> {
    let replicas = u32::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let canary = spec.strategy.as_ref().and_then(|s| s.canary.as_ref());
    let surge = canary.and_then(|c| c.max_surge.as_ref());
    let unavailable = canary.and_then(|c| c.max_unavailable.as_ref());
    let surge = surge.map(|amount| share(&format!("{PATH}.maxSurge"), amount, 1000, refusals));
    let unavailable =
        unavailable.map(|amount| share(&format!("{PATH}.maxUnavailable"), amount, 100, refusals));
    // Refused ones are told of already.
    let surge = surge.map_or(Some(None), |share| share.map(Some))?;
    let unavailable = unavailable.unwrap_or(Some(Share::Pods(0)))?;
    if surge.is_some_and(Share::is_nothing) && unavailable.is_nothing() {
        let remedy = "write maxUnavailable: 1, or a larger maxSurge";
        refusals.add(format!("{PATH}.maxSurge"), "0, so no pod could ever be started", remedy);
        return None;
    }
    let (surge, missing) = (surge.map(|share| share.up(replicas)), unavailable.down(replicas));
    // Two percentages of few pods can both come to nothing.
    let stuck = surge == Some(0) && missing == 0;
    Some(Room { surge, unavailable: if stuck { 1 } else { missing } })
}

#[derive(Clone, Copy)]
enum Share {
    Pods(u32),
    Percent(u32),
}

impl Share {
    fn is_nothing(self) -> bool {
        matches!(self, Share::Pods(0) | Share::Percent(0))
    }

    fn up(self, replicas: u32) -> u32 {
        self.of(replicas, 99)
    }

    fn down(self, replicas: u32) -> u32 {
        self.of(replicas, 0)
    }

    fn of(self, replicas: u32, more: u64) -> u32 {
        match self {
            Share::Pods(pods) => pods,
            Share::Percent(percent) => {
                let pods = (u64::from(replicas) * u64::from(percent) + more) / 100;
                u32::try_from(pods).unwrap_or(u32::MAX)
            }
        }
    }
}

fn share(path: &str, amount: &IntOrString, most: i64, refusals: &mut Refusals) -> Option<Share> {
    match amount {
        IntOrString::Int(pods) => within(path, *pods, 0..=i32::MAX.into(), refusals).map(Share::Pods),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
            if let Some(percent) = percent.filter(|percent| i64::from(*percent) <= most) {
                return Some(Share::Percent(percent));
            }
            let remedy = format!("write a number without quotes, or 0% to {most}%, for instance \"25%\"");
            refusals.add(path, format!("`{text}` is no number of pods"), remedy);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::admit_value;

    fn room(replicas: i32, surge: serde_json::Value, unavailable: serde_json::Value) -> (Option<u32>, u32) {
        let mut object =
            crate::read(include_bytes!("../../examples/minimal.yaml"), "").remove(0).unwrap().value;
        object["spec"]["replicas"] = json!(replicas);
        object["spec"]["strategy"] = json!({"canary": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let strategy = admit_value(&object).unwrap().strategy;
        (strategy.max_surge, strategy.max_unavailable)
    }

    #[test]
    fn percentages_are_rounded_as_in_a_deployment() {
        assert_eq!(room(10, json!(null), json!(null)), (None, 0));
        assert_eq!(room(10, json!("25%"), json!("25%")), (Some(3), 2));
        assert_eq!(room(10, json!(4), json!(0)), (Some(4), 0));
        assert_eq!(
            room(3, json!("0%"), json!("25%")),
            (Some(0), 1),
            "one at least, or nothing would ever start"
        );
        assert_eq!(room(i32::MAX, json!("1000%"), json!("100%")), (Some(u32::MAX), 2_147_483_647));
    }
}
