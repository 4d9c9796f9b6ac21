//! Questions to the metric sources: one set at a time, beside everything else.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use penstock_core::sample::Answer;
use tokio::task::JoinHandle;

/// The questions that are under way, or the answers that have come.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    task: Option<JoinHandle<()>>,
    standing: Arc<Mutex<Standing>>,
}

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Free,
    UnderWay,
    Answered(Vec<Answer>),
}

impl Asking {
    /// Whether anything may be asked: not while answers are under way, nor while nobody has looked at them. A turn asks
    /// before it looks, so the one that is woken by answers would ask for all of them again.
    pub(crate) fn is_free(&self) -> bool {
        !self.is_under_way() && !matches!(*self.standing(), Standing::Answered(_))
    }

    /// Whether answers are under way. Who asked will be woken.
    pub(crate) fn is_under_way(&self) -> bool {
        let works = self.task.as_ref().is_some_and(|task| !task.is_finished());
        works && matches!(*self.standing(), Standing::UnderWay)
    }

    /// Has questions asked. Returns at once; `ring` is called when the answers are there.
    pub(crate) fn ask(
        &mut self,
        answering: impl Future<Output = Vec<Answer>> + Send + 'static,
        ring: impl FnOnce() + Send + 'static,
    ) {
        *self.standing() = Standing::UnderWay;
        let standing = Arc::clone(&self.standing);
        self.task = Some(tokio::spawn(async move {
            let answers = answering.await;
            *standing.lock().unwrap_or_else(PoisonError::into_inner) = Standing::Answered(answers);
            ring();
        }));
    }

    /// The answers that have come since the last look.
    pub(crate) fn take(&self) -> Vec<Answer> {
        let mut standing = self.standing();
        match std::mem::take(&mut *standing) {
            Standing::Answered(answers) => answers,
            other @ (Standing::Free | Standing::UnderWay) => {
                *standing = other;
                Vec::new()
            }
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where its world is not as it should be")]
mod tests {
    use penstock_core::revision::Revision;
    use penstock_core::sample::NoData;
    use tokio::sync::Notify;

    use super::*;

    fn answer() -> Answer {
        let revision = Revision::new("a".to_owned()).unwrap();
        Answer { metric: "errors".to_owned(), revision, result: Err(NoData("silent".to_owned())) }
    }

    #[tokio::test]
    async fn nothing_is_asked_again_before_the_answers_have_been_looked_at() {
        let (mut asking, rung, gate) =
            (Asking::default(), Arc::<Notify>::default(), Arc::<Notify>::default());
        assert!(asking.is_free());
        let (rings, opens) = (Arc::clone(&rung), Arc::clone(&gate));
        let answering = async move {
            opens.notified().await;
            vec![answer()]
        };
        asking.ask(answering, move || rings.notify_one());
        assert!(asking.is_under_way() && !asking.is_free() && asking.take().is_empty());
        assert!(asking.is_under_way(), "a look in between changes nothing");
        gate.notify_one();
        rung.notified().await;
        assert!(!asking.is_under_way() && !asking.is_free());
        assert_eq!(asking.take(), [answer()]);
        assert!(asking.is_free() && asking.take().is_empty());
    }

    #[tokio::test]
    async fn questions_that_come_to_nothing_can_be_asked_again() {
        let mut asking = Asking::default();
        asking.ask(async { panic!("on purpose") }, || {});
        while asking.is_under_way() {
            tokio::task::yield_now().await;
        }
        assert!(asking.is_free() && asking.take().is_empty());
    }
}
