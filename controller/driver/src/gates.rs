//! A gate that is asked: one question at a time, beside everything else.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use penstock_core::gate::{GateAnswer, GateName, GateQuestion, GateWord};
use penstock_crds::{Address, Webhook};
use penstock_signals::RolloutName;
use penstock_signals::gate::{self, MAX_ANSWER};
use tokio::task::JoinHandle;

use crate::ask::hook::{Hooks, Keys, Message, Target, host};
use crate::clock::now;

/// The question to a gate that is under way, and the answer that has come.
#[derive(Debug, Default)]
pub struct Gates {
    under_way: Option<(GateName, JoinHandle<()>)>,
    answer: Arc<Mutex<Option<GateAnswer>>>,
}

impl Gates {
    /// Has a gate asked, unless it is being asked. Returns at once; `ring` is called when the answer is there.
    pub fn ask(
        &mut self,
        question: &GateQuestion,
        answering: impl Future<Output = GateAnswer> + Send + 'static,
        ring: impl FnOnce() + Send + 'static,
    ) {
        let asked =
            |(name, task): &(GateName, JoinHandle<()>)| *name == question.asked && !task.is_finished();
        if self.under_way.as_ref().is_some_and(asked) {
            return;
        }
        self.forget();
        let answer = Arc::clone(&self.answer);
        let task = tokio::spawn(async move {
            let new = answering.await;
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
            ring();
        });
        self.under_way = Some((question.asked.clone(), task));
    }

    /// The answer that has come since the last look.
    pub fn take(&self) -> Option<GateAnswer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What was asked is of no interest any more: the gates are others.
    pub fn forget(&mut self) {
        if let Some((_, task)) = self.under_way.take() {
            task.abort();
        }
        self.take();
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Asks a gate. Whatever goes wrong is an answer, too. `who`: the name of the controller that asks.
pub async fn ask(
    hooks: Hooks,
    keys: impl Keys,
    rollout: RolloutName,
    webhook: Option<Webhook>,
    question: GateQuestion,
    who: String,
) -> GateAnswer {
    let asked = question.asked.clone();
    let Some(webhook) = webhook else {
        let word = GateWord::Unknown("the step has no webhook any more".to_owned());
        return GateAnswer { asked, gate: "of an earlier spec".to_owned(), word };
    };
    let gate = match &webhook.address {
        Address::Plain(url) => host(url),
        Address::Secret(key) => format!("of the Secret {}", key.name),
    };
    let word = async {
        let target = Target::of(&webhook, &keys).await?;
        let at = now();
        let message = Message {
            id: &gate::id(&rollout, &question, at),
            content_type: "application/json",
            body: gate::request(&rollout, &question, &who),
            at,
            limit: MAX_ANSWER,
        };
        let (status, body) = hooks.post(&target, message).await.map_err(|why| format!("it {why}"))?;
        Ok(gate::parse(status, &body))
    };
    let word = word.await.unwrap_or_else(GateWord::Unknown);
    GateAnswer { asked, gate, word }
}
