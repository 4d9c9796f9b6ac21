//! Orders, written as annotations for the controller.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Error};
use penstock_core::observation::OrderKind;
use penstock_driver::kube::orders::{annotation, annotation_of_who, give};
use tokio::time::{sleep, timeout};

use super::answer::{Fate, Sent, noted};
use super::{Cluster, NotFound, Patience, Saved, Target, Told, Wish, in_time, trouble};
use crate::cli::paint::clean;

/// The name under which our fields are booked.
pub(super) const MANAGER: &str = "penstock-cli";
/// Longest reason, in bytes.
const REASON: usize = 4096;
/// Longest name of a person, in bytes.
const NAME: usize = 256;
/// How often somebody else may be faster.
const TRIES: u32 = 10;
/// How long a busy API server is left alone.
const BUSY: Duration = Duration::from_millis(500);
/// How soon an answer is seen.
const ANSWERED: Duration = Duration::from_millis(100);
/// How long the cluster may take to say who we are.
const INTRODUCED: Duration = Duration::from_secs(2);

impl Cluster {
    /// Gives an order, and waits until it was followed or refused.
    pub(super) async fn order(&self, to: &Saved, wish: Wish, patience: Patience) -> Result<Told> {
        if wish.reason.len() > REASON {
            bail!("the reason is longer than {REASON} bytes: say it shorter");
        }
        let who = match &wish.who {
            Some(who) if who.len() > NAME => bail!("the name of who orders is longer than {NAME} bytes"),
            Some(who) => clean(who),
            None => self.who().await,
        };
        let mut sent = self.write(to, &wish, &who).await?;
        let Some(patience) = patience else {
            return Ok(Told::Written("ordered; the controller follows it".to_owned()));
        };
        self.answer(to, &mut sent, patience).await
    }

    /// The cluster knows best who we are; an older one that can't tell leaves it to the kubeconfig.
    async fn who(&self) -> String {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let asked = SelfSubjectReview::default();
        let review = timeout(INTRODUCED, api.create(&PostParams::default(), &asked)).await;
        let known = review.ok().and_then(Result::ok).and_then(|r| r.status?.user_info?.username);
        let known = known.or_else(|| self.user.clone()).or_else(|| std::env::var("USER").ok());
        let mut name = known.map(|name| clean(&name)).unwrap_or_else(|| "somebody".to_owned());
        name.truncate(name.floor_char_boundary(NAME));
        name
    }

    /// Writes the annotation, if nobody else has written the Rollout in between: two people must not overwrite each
    /// other's orders unseen.
    async fn write(&self, to: &Saved, wish: &Wish, who: &str) -> Result<Sent> {
        let api = self.rollouts(Some(to.namespace()));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let doing = self.doing("patch", Some(to.namespace()));
        let mut present = to.clone();
        for attempt in 1..=TRIES {
            refuse_twice(&present, &wish.kind)?;
            // An abort is never refused for the others' haste.
            let anyhow = attempt == TRIES && wish.kind == OrderKind::Abort;
            let metadata = &present.rollout.metadata;
            let patch = Patch::Merge(give(metadata, &wish.kind, who, &wish.reason, anyhow));
            match in_time(&doing, api.patch(to.name(), &params, &patch)).await? {
                Ok(_) => return Ok(Sent::new(wish.kind.clone(), who, &present)),
                Err(Error::Api(status)) if status.code == 409 => {}
                Err(Error::Api(status)) if status.code == 429 => sleep(BUSY).await,
                Err(Error::Api(status)) if status.code == 404 => bail!(gone(to)),
                Err(error) => return Err(trouble::explain(&error, &doing)),
            }
            sleep(Duration::from_millis(fastrand::u64(5..50))).await;
            present = self.get(&target(to)).await?;
        }
        bail!("others write the Rollout {} all the time: try again", to.name())
    }

    async fn answer(&self, to: &Saved, sent: &mut Sent, patience: Duration) -> Result<Told> {
        let begun = Instant::now();
        loop {
            let over = begun.elapsed() >= patience;
            match self.get(&target(to)).await.map(|now| sent.look(&now)) {
                Ok(Fate::Answered(decision)) => return Ok(Told::Answered(Box::new(decision))),
                Ok(fate) if over => bail!(self.unanswered(to, sent, &fate, patience)),
                Err(error) if over || error.is::<NotFound>() => {
                    return Err(error.context("the order is written, but what became of it can't be seen"));
                }
                Ok(_) | Err(_) => sleep(ANSWERED).await,
            }
        }
    }

    fn unanswered(&self, to: &Saved, sent: &Sent, fate: &Fate, patience: Duration) -> String {
        let (name, namespace, seconds) = (to.name(), to.namespace(), patience.as_secs_f64());
        if *fate != Fate::Waits {
            return format!(
                "the controller has taken the order, but has not followed it within {seconds} s: see `kubectl -n \
                 penstock-system logs deploy/penstock-controller`"
            );
        }
        let annotation = sent.annotation();
        format!(
            "the order is written, but no controller has taken it within {seconds} s: is Penstock running on {}? See \
             `kubectl get pods -A -l app.kubernetes.io/name=penstock-controller`. It is followed as soon as a \
             controller runs; to take it back: `kubectl -n {namespace} annotate rollout {name} {annotation}- {annotation}-by-`",
            self.name
        )
    }
}

fn gone(to: &Saved) -> NotFound {
    NotFound(format!("the Rollout {} was deleted from namespace {}", to.name(), to.namespace()))
}

fn target(to: &Saved) -> Target {
    Target { namespace: Some(to.namespace().to_owned()), name: to.name().to_owned() }
}

fn refuse_twice(present: &Saved, kind: &OrderKind) -> Result<()> {
    let name = annotation(kind);
    let Some(value) = noted(present, name) else { return Ok(()) };
    let by =
        noted(present, &annotation_of_who(name)).map(|who| format!(" by {}", clean(who))).unwrap_or_default();
    let why = if value.is_empty() { String::new() } else { format!(" ({})", clean(value)) };
    let (rollout, namespace) = (present.name(), present.namespace());
    bail!(
        "the same order waits already, given{by}{why}, and no controller has taken it yet; to take it back: `kubectl \
         -n {namespace} annotate rollout {rollout} {name}- {name}-by-`"
    )
}
