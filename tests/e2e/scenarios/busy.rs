//! An API server that says no: somebody else was faster, or there is too much to do.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream::pending;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::client::ConfigExt;
use kube::{Api, Client};
use penstock_crds::{Phase, Rollout};
use penstock_tests::cluster::realm::{Controller, LEASE, Realm};
use penstock_tests::cluster::release::{ROLLOUT, Release, steps, steps_that_wait};
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::sound::Sound;
use penstock_tests::cluster::splits::Splits;
use penstock_tests::cluster::{Figures, Scenario, Shop, kubectl};
use penstock_tests::traffic::now;
use penstock_tests::{PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Between two writes of somebody else.
const OFTEN: Duration = Duration::from_millis(50);
/// From the order to the last request that the canary got.
const ABORT: Duration = Duration::from_millis(500);
/// How long writes are refused, and how long after that the release goes on.
const REFUSED: Duration = Duration::from_secs(10);
const GOES_ON: Duration = Duration::from_secs(5);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "somebody writes the Rollout 20 times a second in mid-release",
            kind: Kind::Beside,
            run: |shop| Box::pin(conflicts(shop)),
        },
        Scenario {
            name: "API server refuses the controller's writes for 10 s in mid-release: too many requests",
            kind: Kind::Apart,
            run: |shop| Box::pin(throttled(shop)),
        },
    ]
}

fn release(version: &str) -> Release {
    Release::new(version).with_steps(steps(&[10, 20, 40, 60], "1s"))
}

/// Somebody who writes an annotation again and again. Ends with its value.
struct Writer(JoinHandle<()>);

impl Writer {
    fn start(client: Client, namespace: &str) -> Writer {
        let api: Api<Rollout> = Api::namespaced(client, namespace);
        Writer(tokio::spawn(async move {
            let mut ticks = interval(OFTEN);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for number in 0_u64.. {
                ticks.tick().await;
                let touched =
                    json!({"metadata": {"annotations": {"example.com/touched": number.to_string()}}});
                // It writes whatever stands there: nobody refuses that.
                api.patch(ROLLOUT, &PatchParams::default(), &Patch::Merge(touched)).await.ok();
            }
        }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn conflicts(shop: &Shop) -> Result<Figures> {
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let caller = shop.serves(&release("v1")).await?;
    let writer = Writer::start(shop.place.client.clone(), &shop.name);
    let begun = Instant::now();
    shop.apply(&release("v2")).await?;
    shop.is_stable().await?;
    let took = begun.elapsed();
    shop.apply(&release("v3").with_steps(steps(&[40], "60s"))).await?;
    shop.is_at(40).await?;
    let given = shop.order("abort", "among all these writes").await?;
    shop.is_aborted().await?;
    shop.only(&caller, "v2").await?;
    drop(writer);
    let touched = |seen: &penstock_tests::cluster::Seen| {
        seen.rollout.as_ref()?.metadata.annotations.as_ref()?.get("example.com/touched")?.parse::<u64>().ok()
    };
    let writes = shop.journal.last().as_ref().and_then(touched).unwrap_or(0);
    ensure!(writes > 100, "somebody wrote {writes} times only");
    let record = shop.ends(caller).await?;
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &record), 1)?;
    let mut figures = Figures::new();
    figures.say(format!("{writes} writes, release in {:.1} s", took.as_secs_f64()));
    figures.goal("order to the last request of the canary", record.quiet_after(given.begun, "v3"), ABORT)?;
    figures.say(sound.words());
    Ok(figures)
}

/// A server that has no room for the writes of an account but for one at a time.
fn no_room(name: &str, namespace: &str) -> Value {
    let api = "flowcontrol.apiserver.k8s.io/v1";
    let subject =
        json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": LEASE}});
    let rule = |group: &str, resources: &[&str]| json!({"verbs": ["create", "update", "patch", "delete"], "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    let rules = [
        rule("penstock.dev", &["rollouts", "rollouts/status"]),
        rule("gateway.networking.k8s.io", &["httproutes"]),
        rule("apps", &["replicasets"]),
        rule("", &["services"]),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": name}, "spec": {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}},
        }},
        {"apiVersion": api, "kind": "FlowSchema", "metadata": {"name": name}, "spec": {
            "matchingPrecedence": 2,
            "priorityLevelConfiguration": {"name": name},
            "rules": [{"subjects": [subject], "resourceRules": rules}],
        }},
    ]})
}

/// A write of the controller's account that never ends and so leaves room for no other one: a server without room
/// takes a single write all the same.
struct Occupant(JoinHandle<()>);

impl Occupant {
    async fn start(realm: &Realm, namespace: &str) -> Result<Occupant> {
        let config = realm.config().await?;
        let endless = StreamBody::new(pending::<Result<Frame<Bytes>, Infallible>>());
        let request = Request::post(format!("{}api/v1/namespaces/{namespace}/services", config.cluster_url))
            .header(AUTHORIZATION, format!("Bearer {}", realm.token()))
            .header(CONTENT_TYPE, "application/json")
            .body(endless)?;
        let client = legacy::Client::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
        Ok(Occupant(tokio::spawn(async move { drop(client.request(request).await) })))
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the only room there is. The server needs a moment to know of it; and a write of the controller that is under
/// way just then has the room instead, for a moment.
async fn occupied(realm: &Realm, namespace: &str) -> Result<Occupant> {
    let mut config = realm.config().await?;
    config.default_retry = false;
    let services: Api<Service> = Api::namespaced(Client::try_from(config)?, namespace);
    let probe = Service {
        metadata: ObjectMeta { name: Some("probe".into()), ..ObjectMeta::default() },
        spec: None,
        status: None,
    };
    let only_try = PostParams { dry_run: true, ..PostParams::default() };
    let full = async || {
        sleep(Duration::from_millis(200)).await;
        matches!(services.create(&only_try, &probe).await, Err(kube::Error::Api(status)) if status.code == 429)
    };
    for _ in 0..100 {
        let occupant = Occupant::start(realm, namespace).await?;
        if full().await && full().await && !occupant.0.is_finished() {
            return Ok(occupant);
        }
    }
    bail!("the API server refuses nothing")
}

async fn throttled(shop: &Shop) -> Result<Figures> {
    let realm = Realm::open(shop, &[]).await?;
    let splits = Splits::follow(shop.place.client.clone(), &shop.name);
    let controller = realm.start("one")?;
    let release = |version: &str| Release::new(version).with_steps(steps_that_wait(&[10, 20, 40, 60]));
    let caller = shop.serves(&release("v1")).await?;
    shop.apply(&release("v2")).await?;
    shop.is_at(10).await?;
    let name = "e2e-no-room";
    kubectl::feed(&["apply", "--server-side", "-f", "-"], &no_room(name, realm.own())).await?;
    let held = async {
        let _occupant = occupied(&realm, &shop.name).await?;
        let before = refusals(&controller).await?;
        shop.order("promote", "it is good").await?;
        wait_until("a write is refused", PATIENCE, async || {
            if refusals(&controller).await? > before { Ok(()) } else { bail!("none") }
        })
        .await?;
        sleep(REFUSED).await;
        Ok(refusals(&controller).await? - before)
    };
    let held: Result<f64> = held.await;
    kubectl(&["delete", "flowschema,prioritylevelconfiguration", name]).await?;
    let (refused, freed) = (held?, Instant::now());
    ensure!(refused <= 200.0, "{refused} calls in {REFUSED:?} to a server that has no room");
    let from = now();
    shop.journal
        .reaches("the release goes on", PATIENCE, |seen| {
            seen.at > from && seen.status().phase == Phase::Progressing
        })
        .await?;
    let goes_on = freed.elapsed();
    shop.is_stable().await?;
    shop.only(&caller, "v2").await?;
    let record = shop.ends(caller).await?;
    let mut sound = Sound::default();
    sound.add(ROLLOUT, (&shop.journal.states(), &splits, &record), 1)?;
    realm.close().await?;
    let mut figures = Figures::new();
    figures.say(format!("{refused} calls refused"));
    figures.goal("then it went on after", goes_on, GOES_ON)?;
    figures.say(sound.words());
    Ok(figures)
}

/// How many calls of a controller the API server had no room for so far.
async fn refusals(controller: &Controller) -> Result<f64> {
    Ok(controller.metrics().await?.of("penstock_controller_api_errors_total{kind=\"unavailable\"}"))
}
