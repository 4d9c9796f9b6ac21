//! Orders of people: each is handled once, in the order in which they were given, so the last word wins.

use super::Turn;
use crate::decision::What;
use crate::observation::{Order, OrderKind};
use crate::revision::Revision;
use crate::state::{HANDLED, Refused, Release, Undo};
use crate::strategy::Step;

/// Why an order can't be followed, and what to do instead.
type Refusal = String;

impl Turn<'_> {
    /// Follows the orders that wait. Returns those that can be taken away: handled in this turn or before.
    pub(super) fn obey(&mut self) -> Vec<String> {
        let seen = self.seen;
        let mut done = Vec::new();
        for order in &seen.orders {
            if !self.state.handled.contains(&order.id) {
                if self.needs_history(order) && seen.revisions.is_none() {
                    continue;
                }
                self.follow(order);
            }
            done.push(order.id.clone());
        }
        done
    }

    fn needs_history(&self, order: &Order) -> bool {
        matches!(order.kind, OrderKind::Undo(_))
    }

    fn follow(&mut self, order: &Order) {
        let before = self.decisions.len();
        let followed = match &order.kind {
            OrderKind::Abort => self.abort_by(order),
            OrderKind::Promote => self.promote(order),
            OrderKind::PromoteFull => self.promote_full(order),
            OrderKind::Pause => self.pause(order),
            OrderKind::Resume => self.resume(order),
            OrderKind::Retry => self.retry(order),
            OrderKind::Undo(to) => self.undo(order, to.as_ref()),
        };
        if let Err(refusal) = followed {
            self.decide(What::Refused, None, &order.who, format!("{} refused: {refusal}", name(&order.kind)));
        }
        if let Some(decision) = self.decisions.get_mut(before) {
            decision.order = Some(order.id.clone());
        }
        self.state.handled.push(order.id.clone());
        let surplus = self.state.handled.len().saturating_sub(HANDLED);
        self.state.handled.drain(..surplus);
    }

    fn abort_by(&mut self, order: &Order) -> Result<(), Refusal> {
        let Some(stable) = self.state.stable.clone() else {
            return Err(
                "this is the first revision, there is nothing to go back to; apply a template that works"
                    .into(),
            );
        };
        if self.state.release.is_none() && self.state.refused.is_some() {
            return Err("it was aborted before".into());
        }
        if *self.wanted() == stable && self.state.release.is_none() {
            return Err("nothing is being released; to go back to an older revision use undo".into());
        }
        self.abort(&order.who, &said("aborted by order", order));
        Ok(())
    }

    /// All traffic back to stable, at once, whatever else goes wrong. The revision is not tried again.
    pub(super) fn abort(&mut self, who: &str, why: &str) {
        let revision = self.end_release().map_or_else(|| self.wanted().clone(), |r| r.revision);
        self.state.refused = Some(Refused { revision: revision.clone(), why: why.into(), at: self.now });
        self.all_to_stable();
        self.decide(What::Aborted, Some(revision), who, format!("{why}{}", self.lent_pods()));
    }

    /// What was lent comes back after the traffic: that is told.
    fn lent_pods(&self) -> String {
        let stable = self.state.stable.as_ref().filter(|_| self.state.lent.is_some());
        let (replicas, ready) = (self.strategy.replicas, stable.map(|stable| self.ready(stable)));
        let lent = ready.filter(|ready| *ready < replicas);
        let told =
            |ready| format!("; {ready} of {replicas} stable pods are ready, the others are on their way");
        lent.map(told).unwrap_or_default()
    }

    fn promote(&mut self, order: &Order) -> Result<(), Refusal> {
        self.may_move()?;
        let (revision, at, of) = {
            let release = self.running()?;
            release.paused = None;
            release.waved = Some(order.who.clone());
            release.hold = None;
            let at = release.step;
            if matches!(release.steps.get(at), Some(Step::Pause(_) | Step::Gate(_))) {
                release.step += 1;
                release.asked = None;
                release.step_since = None;
            }
            (release.revision.clone(), at, release.steps.len())
        };
        let why = format!("step {} of {of} ended by order{}", (at + 1).min(of), self.in_a_freeze());
        self.decide(What::Promoted, Some(revision), &order.who, said(&why, order));
        Ok(())
    }

    fn promote_full(&mut self, order: &Order) -> Result<(), Refusal> {
        self.may_move()?;
        let release = self.running()?;
        release.paused = None;
        release.full = Some(order.who.clone());
        release.hold = None;
        let revision = release.revision.clone();
        let freeze = self.in_a_freeze();
        let why = format!("all steps at once by order, whatever the measurements say{freeze}");
        self.decide(What::Promoted, Some(revision), &order.who, said(&why, order));
        Ok(())
    }

    /// An order that goes before a freeze is told as one.
    fn in_a_freeze(&self) -> String {
        self.seen.frozen.as_ref().map(|frozen| format!(", although {}", frozen.why)).unwrap_or_default()
    }

    fn pause(&mut self, order: &Order) -> Result<(), Refusal> {
        let release = self.running()?;
        release.full = None;
        release.waved = None;
        release.paused = Some(order.who.clone());
        let revision = release.revision.clone();
        self.decide(What::Paused, Some(revision), &order.who, said("paused by order", order));
        Ok(())
    }

    fn resume(&mut self, order: &Order) -> Result<(), Refusal> {
        let release = self.running()?;
        if release.paused.take().is_none() {
            return Err("it is not paused by an order; to end a pause step use promote".into());
        }
        release.hold = None;
        let revision = release.revision.clone();
        self.decide(What::Resumed, Some(revision), &order.who, said("resumed by order", order));
        Ok(())
    }

    fn retry(&mut self, order: &Order) -> Result<(), Refusal> {
        if let Some(refused) = self.state.refused.take() {
            let why = format!("tried again by order after: {}", refused.why);
            self.decide(What::Retried, Some(refused.revision), &order.who, said(&why, order));
            return Ok(());
        }
        let undone = self.state.undo.as_ref().is_some_and(|u| u.instead_of == self.strategy.revision);
        if undone {
            self.state.undo = None;
            let revision = self.strategy.revision.clone();
            self.decide(
                What::Retried,
                Some(revision),
                &order.who,
                said("the template is wanted again by order", order),
            );
            return Ok(());
        }
        Err("nothing was aborted".into())
    }

    fn undo(&mut self, order: &Order, to: Option<&Revision>) -> Result<(), Refusal> {
        let to = self.undo_target(to)?;
        if self.state.stable.as_ref() == Some(&to) && self.state.release.is_none() && *self.wanted() == to {
            return Err(format!("revision {to} has all traffic already"));
        }
        if self.state.refused.as_ref().is_some_and(|r| r.revision == to) {
            self.state.refused = None;
        }
        let instead_of = self.strategy.revision.clone();
        self.state.undo = (to != instead_of).then(|| Undo { to: to.clone(), instead_of });
        self.decide(
            What::Undone,
            Some(to.clone()),
            &order.who,
            said(&format!("revision {to} is wanted by order"), order),
        );
        Ok(())
    }

    /// The revision that an undo leads to: in mid-release the stable one, else the one before it.
    fn undo_target(&self, to: Option<&Revision>) -> Result<Revision, Refusal> {
        if self.state.stable.is_none() {
            return Err("there is no stable revision yet; apply the template that is wanted".into());
        }
        let kept = self.seen.revisions.as_ref();
        let is_kept = |r: &&Revision| kept.is_some_and(|all| all.contains_key(*r));
        if let Some(to) = to {
            let names = || kept.map(|all| all.keys().map(Revision::as_str).collect::<Vec<_>>().join(", "));
            return Some(to).filter(is_kept).cloned().ok_or_else(|| {
                format!("revision {to} is not kept; there are: {}", names().unwrap_or_default())
            });
        }
        match (&self.state.stable, &self.state.release) {
            (Some(stable), Some(_)) => Ok(stable.clone()),
            (_, None) | (None, _) => {
                let before = self.state.history.iter().find(is_kept).cloned();
                before.ok_or_else(|| "no older revision is kept".into())
            }
        }
    }

    fn running(&mut self) -> Result<&mut Release, Refusal> {
        if self.state.stable.is_none() {
            return Err("the first revision takes all traffic without steps".into());
        }
        let aborted = self.state.refused.is_some();
        self.state.release.as_mut().ok_or_else(|| {
            let next = if aborted { "; to try the aborted revision again use retry" } else { "" };
            format!("nothing is being released{next}")
        })
    }

    fn may_move(&self) -> Result<(), Refusal> {
        if self.strategy.paused {
            return Err("spec.paused is true; set it to false first".into());
        }
        Ok(())
    }
}

fn said(what: &str, order: &Order) -> String {
    if order.reason.is_empty() { what.into() } else { format!("{what}: {}", order.reason) }
}

fn name(kind: &OrderKind) -> &'static str {
    match kind {
        OrderKind::Abort => "abort",
        OrderKind::Promote => "promote",
        OrderKind::PromoteFull => "promote --full",
        OrderKind::Pause => "pause",
        OrderKind::Resume => "resume",
        OrderKind::Retry => "retry",
        OrderKind::Undo(_) => "undo",
    }
}
