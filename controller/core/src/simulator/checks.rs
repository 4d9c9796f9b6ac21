//! The promises, checked against what is really so, not against what anyone was told.

use std::collections::BTreeMap;

use super::world::{Look, Nature, World};
use crate::advance::Next;
use crate::decision::{Action, Decision, What};
use crate::gate::GateName;
use crate::observation::OrderKind;
use crate::revision::Revision;
use crate::split::Weight;
use crate::state::State;
use crate::strategy::{CanaryScale, Step, Strategy};

type Checked = Result<(), String>;

fn holds(so: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if so { Ok(()) } else { Err(otherwise()) }
}

/// No proxy sends to, or has something in flight to, a revision whose pods were taken away.
pub(super) fn traffic(world: &World) -> Checked {
    if world.edits {
        return Ok(()); // what a person does with the weights for a moment is no promise of ours
    }
    for (i, proxy) in world.proxies.iter().enumerate() {
        let sent = proxy.split.weights.keys().filter(|r| proxy.split.sends_to(r));
        for revision in sent.chain(proxy.in_flight.keys()) {
            let pods = world.pods.get(revision).map_or(0, |p| p.scale);
            holds(pods > 0, || format!("proxy {i} has traffic to {revision}, which was scaled to zero"))?;
        }
    }
    Ok(())
}

/// A new state was saved.
pub(super) fn saved(world: &mut World, before: &State, look: &Look) -> Checked {
    let after = world.state.clone();
    let new: Vec<Decision> =
        after.decisions.iter().filter(|d| !before.decisions.contains(d)).cloned().collect();
    world.told.extend(new.iter().cloned());
    whole_split(&after)?;
    generations_rise(before, &after)?;
    raise(world, before, &after, look)?;
    refused_gets_nothing(&after)?;
    stable_changes_only_when_all_traffic_is_there(world, before, &after)?;
    gates_are_passed_by_a_word(world, before, &after)?;
    orders_are_handled_once(world, &new)?;
    new.iter().try_for_each(|decision| healthy_is_not_aborted(world, decision))
}

/// Stable lends no pods that a proxy still needs, and a canary gets none that there is no room for.
pub(super) fn room(world: &World, next: &Next) -> Checked {
    let Strategy { replicas, max_surge, max_unavailable, .. } = world.strategy;
    let (Some(surge), Some(stable)) = (max_surge, &next.state.stable) else { return Ok(()) };
    let canary = next.state.release.as_ref().map(|r| &r.revision);
    let mut pods: BTreeMap<Revision, u32> =
        world.pods.iter().map(|(revision, pods)| (revision.clone(), pods.scale.max(pods.present))).collect();
    let mut grows = false;
    for action in &next.actions {
        let Action::Scale { revision, replicas: target, .. } = action else { continue };
        let before = world.pods.get(revision).map_or(0, |p| p.scale);
        let there = pods.entry(revision.clone()).or_default();
        let leaving = world.pods.get(revision).map_or(0, |p| p.present.saturating_sub(p.scale));
        *there = (*there).max(target + leaving);
        grows |= canary == Some(revision) && *target > before;
        let lends = revision == stable && *target < before.min(replicas) && !world.edits;
        for proxy in world.proxies.iter().filter(|_| lends) {
            let needed = proxy.split.weight(stable).of(replicas).saturating_sub(max_unavailable);
            holds(*target >= needed, || format!("{stable} lends down to {target} of {needed} pods"))?;
        }
    }
    let all: u32 = pods.values().sum();
    holds(!grows || all <= replicas + surge, || format!("{all} pods, {replicas} + {surge} are allowed"))
}

fn whole_split(after: &State) -> Checked {
    let sum: u32 = after.split.weights.values().map(|w| u32::from(w.percent())).sum();
    holds(sum == 100 || after.split.weights.is_empty(), || format!("the weights add up to {sum}"))
}

fn generations_rise(before: &State, after: &State) -> Checked {
    let (old, new) = (&before.split, &after.split);
    holds(new.generation >= old.generation, || "the generation fell".into())?;
    holds(new.same_traffic(old) || new.generation > old.generation, || {
        "two splits with one generation".into()
    })
}

/// A share rises only onto ready pods, only one step, only when no third revision has traffic, and of a bad canary
/// only at a person's word.
fn raise(world: &World, before: &State, after: &State, look: &Look) -> Checked {
    for revision in after.split.weights.keys() {
        let (from, to) = (before.split.weight(revision), after.split.weight(revision));
        let was_sent = before.split.sends_to(revision);
        if to <= from && (was_sent || !after.split.sends_to(revision))
            || before.stable.as_ref() == Some(revision)
        {
            continue;
        }
        let ready = look.ready.get(revision).copied().unwrap_or(0);
        let first = before.stable.is_none();
        let needed = if first { 1 } else { enough(after, to, look) };
        holds(ready >= needed, || {
            format!("{revision} rose from {from} to {to} with {ready} of {needed} pods ready")
        })?;
        if first {
            continue;
        }
        let steps = after.release.iter().flat_map(|r| &r.steps).collect::<Vec<_>>();
        let on_the_way = steps.iter().any(|s| matches!(s, Step::SetWeight(w) if *w == to));
        holds(on_the_way || to == Weight::ALL || to == from, || {
            format!("{revision} jumped to {to}, which is no step")
        })?;
        alone(world, before, revision)?;
        holds(!look.frozen || by_person(world, before), || format!("{revision} rose in a freeze"))?;
        judged(world, before, revision, from)?;
    }
    Ok(())
}

/// Pods for a weight: its share, unless a step that the release has reached says how many.
fn enough(after: &State, to: Weight, look: &Look) -> u32 {
    if to == Weight::ALL {
        return look.replicas.saturating_sub(look.missing).max(1);
    }
    let reached = after.release.iter().flat_map(|r| r.steps.iter().take(r.step + 1));
    let mut scale =
        reached.filter_map(|s| if let Step::SetCanaryScale(scale) = s { Some(scale) } else { None });
    match scale.next_back() {
        Some(CanaryScale::Pods(pods)) => *pods,
        Some(CanaryScale::Weight(share)) => share.of(look.replicas).max(1),
        Some(CanaryScale::MatchTraffic) | None => to.of(look.replicas).max(1),
    }
}

fn alone(world: &World, before: &State, canary: &Revision) -> Checked {
    for proxy in &world.proxies {
        let third = proxy
            .split
            .weights
            .keys()
            .find(|r| proxy.split.sends_to(r) && *r != canary && before.stable.as_ref() != Some(*r));
        holds(third.is_none(), || format!("{canary} got traffic while a proxy sends to {third:?}"))?;
    }
    Ok(())
}

fn judged(world: &World, before: &State, canary: &Revision, from: Weight) -> Checked {
    let bad = matches!(world.natures.get(canary), Some(Nature::Failing | Nature::Slow));
    let ordered = by_person(world, before);
    holds(!bad || from == Weight::NONE || ordered, || format!("{canary} is bad and rose beyond {from}"))
}

/// Whether a person has ordered the release on, or back to an older revision.
fn by_person(world: &World, before: &State) -> bool {
    world
        .orders
        .iter()
        .any(|o| matches!(o.kind, OrderKind::Promote | OrderKind::PromoteFull | OrderKind::Undo(_)))
        || before.release.as_ref().is_some_and(|r| r.waved.is_some() || r.full.is_some())
        || before.undo.is_some()
}

/// No gate is behind a release that has not said go to this very release, unless a person has ordered it on.
fn gates_are_passed_by_a_word(world: &World, before: &State, after: &State) -> Checked {
    let (Some(then), Some(now)) = (&before.release, &after.release) else { return Ok(()) };
    let same = then.revision == now.revision && then.generation == now.generation && then.steps == now.steps;
    if !same || now.full.is_some() {
        return Ok(());
    }
    for step in then.step..now.step {
        let is_gate = matches!(now.steps.get(step), Some(Step::Gate(_)));
        let name = GateName { revision: now.revision.clone(), release: now.generation, step };
        let waved = step == then.step
            && world.orders.iter().any(|o| matches!(o.kind, OrderKind::Promote | OrderKind::PromoteFull));
        holds(!is_gate || waved || world.said_go.contains(&name), || {
            format!("the gate at step {step} of {} was passed without a go", now.revision)
        })?;
    }
    Ok(())
}

fn refused_gets_nothing(after: &State) -> Checked {
    let refused = after.refused.as_ref().map(|r| &r.revision);
    let sent = refused.is_some_and(|r| after.split.sends_to(r) && after.stable.as_ref() != Some(r));
    holds(!sent, || "an aborted revision has traffic".into())
}

fn stable_changes_only_when_all_traffic_is_there(world: &World, before: &State, after: &State) -> Checked {
    if before.stable == after.stable {
        return Ok(());
    }
    let stable = after.stable.as_ref().ok_or("there is no stable revision any more")?;
    let everywhere = world.edits
        || world.proxies.iter().all(|p| p.split.weights.is_empty() || p.split.weight(stable) == Weight::ALL);
    holds(everywhere, || format!("{stable} is stable before it has all traffic"))?;
    let bad = matches!(world.natures.get(stable), Some(Nature::Failing | Nature::Slow));
    let by_person =
        world.told.iter().any(|d| d.what == What::Promoted && d.revision.as_ref() == Some(stable));
    holds(!bad || before.stable.is_none() || by_person, || format!("{stable} is bad and became stable"))
}

fn orders_are_handled_once(world: &World, new: &[Decision]) -> Checked {
    for id in new.iter().filter_map(|d| d.order.as_ref()) {
        let times = world.told.iter().filter(|d| d.order.as_ref() == Some(id)).count();
        holds(times == 1, || format!("{id} was handled {times} times"))?;
    }
    Ok(())
}

fn healthy_is_not_aborted(world: &World, decision: &Decision) -> Checked {
    let healthy = decision.revision.as_ref().and_then(|r| world.natures.get(r)) == Some(&Nature::Healthy);
    let judged = decision.what == What::Aborted
        && decision.who == "penstock"
        && !decision.why.contains("progressDeadline")
        && !decision.why.contains("timeoutSeconds");
    let no_go = decision.revision.as_ref().is_some_and(|r| world.said_no.contains(r));
    let judged = judged && !(no_go && decision.why.contains("says no-go"));
    holds(!(healthy && judged), || format!("a healthy canary was aborted: {}", decision.why))
}

/// After the faults have stopped: everything stands as it should, and nobody acts any more.
pub(super) fn ended(world: &World) -> Checked {
    holds(world.is_settled(), || "it does not come to rest".into())?;
    let state = &world.state;
    let Some(stable) = &state.stable else {
        let first = world.natures.get(&world.strategy.revision);
        return holds(matches!(first, Some(Nature::NeverReady | Nature::CrashLooping)), || {
            "nothing is stable".into()
        });
    };
    holds(state.release.is_none(), || "a release is still under way".into())?;
    let refused = state.refused.is_some();
    let undone = state.undo.as_ref().map(|u| &u.to);
    let wanted = undone.unwrap_or(&world.strategy.revision);
    holds(refused || stable == wanted, || format!("{wanted} is neither stable nor refused"))?;
    let nature = world.natures.get(wanted);
    let ends_bad = matches!(nature, Some(Nature::NeverReady));
    holds(!ends_bad || refused || world.told.iter().any(|d| d.what == What::Deployed), || {
        "never ready, yet stable".into()
    })?;
    for (i, proxy) in world.proxies.iter().enumerate() {
        holds(proxy.split == state.split, || format!("proxy {i} does not apply the split"))?;
        holds(proxy.split.weight(stable) == Weight::ALL, || {
            format!("proxy {i} does not send all to stable")
        })?;
    }
    for (revision, pods) in &world.pods {
        let right = if revision == stable { world.strategy.replicas } else { 0 };
        holds(pods.scale == right, || format!("{revision} has {} pods, not {right}", pods.scale))?;
    }
    let kept = world.pods.len();
    let limit = world.strategy.history_limit + 3;
    holds(kept <= limit, || format!("{kept} revisions are kept, at most {limit} should be"))
}
