//! Whole releases, judged through a real Prometheus that is well, and one that is not.

use std::time::Duration;

use penstock_crds::{Phase, RolloutStatus, Verdict};
use penstock_tests::{Client, Local, Prometheus, Release, port, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(40);
const RATE: u32 = 100;

/// A first release `v1` that serves, its Prometheus, and a client.
struct World {
    local: Local,
    prometheus: Prometheus,
    client: Client,
    /// The revision of `v1`.
    first: Option<String>,
}

impl World {
    async fn start() -> World {
        let local = Local::start().await.unwrap();
        let prometheus = Prometheus::start(&[local.admin().unwrap()]).await.unwrap();
        local.apply(&Release::healthy("v1", analysis(&prometheus.address()))).unwrap();
        let first = local.reaches("v1 serves", SOON, |s| s.phase == Phase::Stable).await.unwrap();
        let client = Client::start(local.apex(), RATE, Duration::from_secs(150));
        let world = World { local, prometheus, client, first: first.stable_revision };
        let flows = wait_until("traffic flows", SOON, async || {
            let tally = world.client.tally();
            if tally.of("v1").total > 0 { Ok(()) } else { Err(format!("{tally:?}")) }
        });
        flows.await.unwrap();
        world
    }

    fn release(&self, version: &str) -> Release {
        Release::healthy(version, analysis(&self.prometheus.address()))
    }

    /// Waits until the canary is held for this reason, then that nothing moves while more of its requests end.
    async fn holds(&self, percent: i32, reason: &str) -> RolloutStatus {
        let held = format!("the step is held: {reason}");
        let before = self.local.reaches(&held, SOON, |s| {
            weight(s) == percent && no_data(s).is_some_and(|message| message.contains(reason))
        });
        let before = before.await.unwrap();
        let ended = self.client.tally().ended;
        let more = wait_until("more requests end", SOON, async || {
            let now = self.client.tally().ended;
            if now > ended + u64::from(RATE) * 4 { Ok(()) } else { Err(now.to_string()) }
        });
        more.await.unwrap();
        let after = self.local.status().unwrap();
        assert!(!matches!(after.phase, Phase::Aborted | Phase::Stable), "{after:?}");
        assert_eq!(weight(&after), percent);
        assert_eq!(after.step, before.step);
        after
    }

    async fn ships(&self, version: &str) {
        let what = format!("{version} is shipped");
        let shipped =
            self.local.reaches(&what, SOON, |s| s.phase == Phase::Stable && s.stable_revision != self.first);
        let status = match shipped.await {
            Ok(status) => status,
            Err(error) => panic!("{error:#}; {:?}; {}", self.client.tally(), self.prometheus.targets().await),
        };
        assert!(status.decisions.iter().all(|d| d.what != "Aborted"), "{:?}", status.decisions);
        let served = self.client.tally().of(version).total;
        let all = wait_until("it has all traffic", SOON, async || {
            if self.client.tally().of(version).total > served { Ok(()) } else { Err("nothing comes") }
        });
        all.await.unwrap();
    }

    async fn rolls_back(self, metric: &str) {
        let aborted = self.local.reaches("v2 is rolled back", SOON, |s| {
            s.phase == Phase::Aborted && s.split.as_ref().is_some_and(|s| s.weight == 0 && s.acknowledged)
        });
        let status = aborted.await.unwrap();
        let blamed =
            status.measurements.iter().find(|m| m.verdict == Verdict::Bad).map(|m| m.metric.as_str());
        assert_eq!(blamed, Some(metric), "{status:?}");
        let tally = self.client.stop().await.unwrap();
        assert_eq!((tally.lost.len(), tally.of("v1").failed), (0, 0), "{tally:?}");
    }
}

fn analysis(address: &str) -> Value {
    json!({
        "source": {"prometheus": {"address": address}},
        "interval": "1s",
        "minRequests": 10,
        "metrics": [
            {"name": "errors", "errorRate": {"max": "1%"}},
            {"name": "slow", "latency": {"quantile": "0.99", "max": "2s"}},
        ],
    })
}

/// The canary's share that the proxies have acknowledged.
fn weight(status: &RolloutStatus) -> i32 {
    status.split.as_ref().filter(|split| split.acknowledged).map_or(-1, |split| split.weight)
}

/// The reason of a measurement without data.
fn no_data(status: &RolloutStatus) -> Option<&str> {
    let without = |m: &&penstock_crds::Measurement| m.verdict == Verdict::NoData && m.message.is_some();
    status.measurements.iter().find(without).and_then(|m| m.message.as_deref())
}

/// A canary that is on its way, before its last step.
async fn world_with_a_canary() -> World {
    let world = World::start().await;
    world.local.apply(&world.release("v2")).unwrap();
    let begun = world.local.reaches("v2 has traffic", SOON, |s| weight(s) == 20);
    begun.await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_canary_ships_without_a_failed_request() {
    let world = World::start().await;
    world.local.apply(&world.release("v2")).unwrap();
    world.ships("v2").await;
    let tally = world.client.stop().await.unwrap();
    assert_eq!(tally.failed(), 0, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_canary_rolls_back() {
    let world = World::start().await;
    world.local.apply(&Release { fail_percent: 20, ..world.release("v2") }).unwrap();
    world.rolls_back("errors").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_canary_rolls_back() {
    let world = World::start().await;
    let slow = Release { slow_percent: 20, slow_by: Duration::from_secs(4), ..world.release("v2") };
    world.local.apply(&slow).unwrap();
    world.rolls_back("slow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_prometheus_holds_the_step_until_it_is_back() {
    let mut world = world_with_a_canary().await;
    world.prometheus.stop().unwrap();
    world.holds(20, "can't be reached").await;
    world.prometheus.restart().await.unwrap();
    world.ships("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_never_answers_holds_the_step_until_it_does() {
    let world = world_with_a_canary().await;
    world.prometheus.freeze().unwrap();
    world.holds(20, "gave no answer in time").await;
    world.prometheus.thaw().unwrap();
    world.ships("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_holds_the_step_until_it_is_put_right() {
    let world = World::start().await;
    let nobody = format!("http://127.0.0.1:{}", port::free().unwrap());
    world.local.apply(&Release { analysis: analysis(&nobody), ..world.release("v2") }).unwrap();
    // Not even the first request may go to a canary that can't be judged.
    let status = world.holds(0, "can't be reached").await;
    assert!(no_data(&status).unwrap().contains(&nobody), "{status:?}");
    world.local.apply(&world.release("v2")).unwrap();
    world.ships("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_a_number_holds_the_step_until_it_is_put_right() {
    let world = World::start().await;
    for (query, reason) in
        [("vector(0) / 0", "yields NaN"), ("nothing{r=\"{{revision}}\"}", "yields nothing")]
    {
        let mut release = world.release("v2");
        release.analysis["metrics"] = json!([{"name": "own", "prometheus": {"query": query, "max": "5"}}]);
        world.local.apply(&release).unwrap();
        world.holds(20, reason).await;
    }
    world.local.apply(&world.release("v2")).unwrap();
    world.ships("v2").await;
}
