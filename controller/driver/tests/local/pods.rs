//! Pods: started, asked, started again, adopted, taken away.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use penstock_core::observation::Pods;
use penstock_core::revision::Revision;
use penstock_core::split::Generation;
use penstock_core::time::Time;
use penstock_driver::local::pods::{Group, Pace, Record, Supervisor, records};
use penstock_driver::local::{Home, Key};
use serde_json::{Value, json};

use crate::program::{ACT, command, runs, until};

/// A folder with a supervisor of its pods, all taken away at the end.
struct World {
    dir: tempfile::TempDir,
    home: Home,
    supervisor: Option<Supervisor>,
}

const QUICK: Pace = Pace {
    quiet: Duration::from_millis(300),
    backoff_first: Duration::from_millis(100),
    backoff_most: Duration::from_millis(400),
    healthy: Duration::from_secs(60),
};

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let mut world = World { dir, home, supervisor: None };
        world.open();
        world
    }

    fn open(&mut self) {
        self.supervisor = None;
        self.supervisor = Some(Supervisor::open(&self.home, QUICK).unwrap());
    }

    fn supervisor(&self) -> &Supervisor {
        self.supervisor.as_ref().unwrap()
    }

    fn scale(&self, replicas: u32, container: Value) {
        self.supervisor().scale(group("5c6b7", replicas, container)).unwrap();
    }

    fn pods(&self) -> Pods {
        let (key, revision) = name("5c6b7");
        self.supervisor().look().get(&key).and_then(|r| r.get(&revision).cloned()).unwrap_or_default()
    }

    fn records(&self) -> Vec<Record> {
        records(&self.home).unwrap().0
    }

    fn endpoints(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.home.proxy()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
    }

    /// Whether each of its endpoints is ready.
    fn readiness(&self) -> Vec<bool> {
        let read =
            |path: &PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
        let ready = |slice: Value| slice["endpoints"][0]["conditions"]["ready"].as_bool().unwrap();
        self.endpoints().iter().map(|path| ready(read(path))).collect()
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Pods) -> bool) {
        until(what, || holds(&self.pods())).await;
    }

    /// Nothing of it is left behind.
    async fn end(self) {
        let pids: Vec<u32> =
            self.records().iter().filter_map(|r| r.process.as_ref()).map(|p| p.pid).collect();
        assert!(self.supervisor().stop_all(Duration::from_secs(5)).await);
        assert!(self.records().is_empty() && self.endpoints().is_empty());
        assert!(!pids.into_iter().any(runs));
    }
}

/// Nor is anything when a test fails.
impl Drop for World {
    fn drop(&mut self) {
        self.supervisor = None;
        penstock_driver::local::process::sweep(&self.home, |_| false);
    }
}

fn name(revision: &str) -> (Key, Revision) {
    (Key::new("shop", "checkout").unwrap(), Revision::new(revision).unwrap())
}

fn group(revision: &str, replicas: u32, container: Value) -> Group {
    let template = json!({"spec": {"containers": [container], "terminationGracePeriodSeconds": 5}});
    let (key, revision) = name(revision);
    Group {
        key,
        revision,
        template: serde_json::from_value(template).unwrap(),
        replicas,
        generation: Generation(1),
        created: Time(7),
        app_protocol: None,
        min_ready: Duration::ZERO,
    }
}

fn acts(words: &str) -> Value {
    json!({"name": "app", "command": command(), "env": [{"name": ACT, "value": words}]})
}

/// What the word `supervise` does: runs pods until it is killed.
pub(crate) fn supervise(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let supervisor = Supervisor::open(&Home::open(dir).unwrap(), QUICK).unwrap();
        supervisor.scale(group("5c6b7", 2, acts("child=sleep serve"))).unwrap();
        std::future::pending::<()>().await;
    });
}

fn supervisor_elsewhere(dir: &Path) -> Child {
    let words = command();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(ACT, format!("supervise={}", dir.display()));
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn pods_get_ready_and_are_published_one_slice_each() {
    let world = World::new();
    world.scale(2, acts("serve"));
    world.until("both are ready", |pods| pods.ready == 2).await;
    assert_eq!(world.endpoints().len(), 2);
    let pods = world.pods();
    assert_eq!(
        (pods.scale, pods.present, pods.restarts, pods.created, pods.trouble),
        (2, 2, 0, Time(7), None)
    );
    let (key, revision) = name("5c6b7");
    let addresses: Vec<_> = world.supervisor().pods(&key, &revision).into_iter().map(|p| p.address).collect();
    assert_ne!(addresses[0], addresses[1]);
    world.end().await;
}

#[tokio::test]
async fn a_pod_counts_when_it_has_been_ready_for_long_enough() {
    let world = World::new();
    let begun = std::time::Instant::now();
    let min_ready = Duration::from_millis(700);
    world.supervisor().scale(Group { min_ready, ..group("5c6b7", 1, acts("serve")) }).unwrap();
    let waits = |pods: &Pods| pods.trouble.as_ref().is_some_and(|t| t.contains("counts when"));
    world.until("it is ready, and does not count", |pods| pods.ready == 0 && waits(pods)).await;
    assert_eq!(world.endpoints().len(), 1, "it gets what is sent to it all the same");
    let mut changes = world.supervisor().changes();
    while world.pods().ready == 0 {
        changes.changed().await.unwrap();
    }
    assert!(begun.elapsed() >= min_ready);
    assert_eq!(world.pods().trouble, None);
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_dies_is_started_again_ever_more_slowly_and_says_why() {
    let world = World::new();
    world.scale(1, acts("say=no-database exit=3"));
    world.until("it has fallen twice", |pods| pods.restarts >= 2).await;
    world
        .until("it is told why", |pods| {
            pods.trouble.as_ref().is_some_and(|t| t.contains("it is started again in 400ms"))
        })
        .await;
    let trouble = world.pods().trouble.unwrap();
    assert!(
        trouble.contains("exit code 3") && trouble.contains("last line of its log: no-database"),
        "{trouble}"
    );
    assert!(world.endpoints().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_never_gets_ready_is_never_published() {
    let world = World::new();
    world.scale(1, acts("sleep"));
    world
        .until("it is told why", |pods| {
            pods.trouble.as_ref().is_some_and(|t| t.contains("is not ready: connecting"))
        })
        .await;
    assert_eq!((world.pods().ready, world.pods().restarts), (0, 0));
    assert!(world.endpoints().is_empty());
    world.end().await;
}

#[tokio::test]
async fn readiness_follows_the_answers_of_the_pod() {
    let world = World::new();
    let mut container = acts(&format!("serve={}", world.file("healthy")));
    container["ports"] = json!([{"containerPort": 8080, "name": "web"}]);
    container["readinessProbe"] =
        json!({"httpGet": {"path": "/healthz", "port": "web"}, "failureThreshold": 1});
    world.scale(1, container);
    world
        .until("it answers 503", |pods| pods.trouble.as_ref().is_some_and(|t| t.contains("answered 503")))
        .await;
    std::fs::write(world.file("healthy"), "").unwrap();
    world.until("it is ready", |pods| pods.ready == 1).await;
    assert_eq!(world.readiness(), [true]);
    std::fs::remove_file(world.file("healthy")).unwrap();
    world.until("it is not", |pods| pods.ready == 0).await;
    // It is not gone: what it refuses is its revision's fault.
    assert_eq!(world.readiness(), [false]);
    world.end().await;
}

#[tokio::test]
async fn a_command_can_say_whether_a_pod_is_ready() {
    let world = World::new();
    let mut container = acts("sleep");
    container["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "ready"]}});
    world.scale(1, container);
    world
        .until("the command fails", |pods| {
            pods.trouble.as_ref().is_some_and(|t| t.contains("`test -e ready` failed"))
        })
        .await;
    std::fs::write(world.file("ready"), "").unwrap();
    world.until("it is ready", |pods| pods.ready == 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
    let world = World::new();
    let mut container = acts("sleep");
    let script = "sleep 60 & echo $! > child; wait";
    container["readinessProbe"] = json!({"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 60});
    world.scale(1, container);
    let told = |pods: &Pods| pods.trouble.as_ref().is_some_and(|t| t.contains("had no answer within 1s"));
    world.until("it has taken too long", told).await;
    let child = std::fs::read_to_string(world.file("child")).unwrap().trim().parse().unwrap();
    until("its child has ended", || !runs(child)).await;
    world.end().await;
}

#[tokio::test]
async fn of_several_containers_the_first_is_run_and_that_is_said() {
    let world = World::new();
    let mut wanted = group("5c6b7", 1, acts("serve"));
    let sidecar = serde_json::from_value(json!({"name": "sidecar"})).unwrap();
    wanted.template.spec.as_mut().unwrap().containers.push(sidecar);
    world.supervisor().scale(wanted).unwrap();
    world.until("it is ready", |pods| pods.ready == 1).await;
    assert!(world.pods().trouble.unwrap().contains("only the first of its containers, `app`, is run"));
    world.end().await;
}

#[tokio::test]
async fn an_endpoint_goes_before_its_pod_is_told_to_end() {
    let world = World::new();
    // Says when SIGTERM came.
    let script = format!(
        "trap 'ls .penstock/proxy > seen; exit' TERM; {ACT}=serve \"$0\" \"$@\" & while :; do sleep 0.05; done"
    );
    let mut words = vec!["sh".to_owned(), "-c".to_owned(), script];
    words.extend(command());
    world.scale(1, json!({"name": "app", "command": words}));
    world.until("it is ready", |pods| pods.ready == 1).await;
    assert_eq!(world.endpoints().len(), 1);
    world.scale(0, acts("serve"));
    assert_eq!(world.pods().present, 1);
    until("the endpoint is gone", || world.endpoints().is_empty()).await;
    assert!(!Path::new(&world.file("seen")).exists(), "a quiet time lies between");
    world.until("the pod is gone", |pods| pods.present == 0).await;
    assert_eq!(std::fs::read_to_string(world.file("seen")).unwrap(), "");
    assert_eq!(world.supervisor().look().len(), 1, "a revision with no pods is kept");
    world.end().await;
}

#[tokio::test]
async fn the_least_useful_pods_leave_first() {
    let world = World::new();
    world.scale(1, acts("serve"));
    world.until("the old one is ready", |pods| pods.ready == 1).await;
    let old = world.records()[0].name.clone();
    world.scale(3, acts("serve"));
    world.until("all are ready", |pods| pods.ready == 3).await;
    world.scale(1, acts("serve"));
    world.until("two are gone", |pods| pods.present == 1).await;
    assert_eq!(world.records()[0].name, old);
    world.end().await;
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_after_its_grace() {
    let world = World::new();
    let mut container = acts("ignore-sigterm");
    container["readinessProbe"] = json!({"exec": {"command": ["true"]}});
    world.scale(1, container);
    world.until("it is ready", |pods| pods.ready == 1).await;
    let log = world.home.logs().join(format!("{}.log", world.records()[0].name));
    until("it ignores SIGTERM", || std::fs::read_to_string(&log).unwrap_or_default().contains("unstoppable"))
        .await;
    let pid = world.records()[0].process.as_ref().unwrap().pid;
    assert!(world.supervisor().stop_all(Duration::from_millis(500)).await);
    assert!(!runs(pid));
}

#[tokio::test]
async fn pods_survive_a_kill_of_their_supervisor_and_are_adopted() {
    let mut world = World::new();
    world.supervisor = None;
    let mut elsewhere = supervisor_elsewhere(world.dir.path());
    until("they are ready", || world.endpoints().len() == 2).await;
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    let before = world.records();
    world.open();
    assert_eq!(
        (world.pods().ready, world.endpoints().len()),
        (2, 2),
        "no endpoint was taken away in between"
    );
    world.scale(2, acts("child=sleep serve"));
    tokio::time::sleep(QUICK.quiet).await;
    let after = world.records();
    let identity = |records: &[Record]| {
        records.iter().map(|r| (r.name.clone(), r.port, r.process.clone())).collect::<Vec<_>>()
    };
    assert_eq!(identity(&before), identity(&after));
    assert_eq!(world.pods().restarts, 0);
    world.end().await;
}

#[tokio::test]
async fn an_adopted_pod_that_dies_is_started_again() {
    let mut world = World::new();
    world.scale(1, acts("child=sleep serve"));
    world.until("it is ready", |pods| pods.ready == 1).await;
    world.open();
    world.scale(1, acts("child=sleep serve"));
    let pid = world.records()[0].process.as_ref().unwrap().pid;
    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    world.until("it is started again", |pods| pods.restarts == 1 && pods.ready == 1).await;
    assert!(!runs(pid));
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_died_while_nobody_watched_loses_its_endpoint_and_is_started_again() {
    let mut world = World::new();
    world.scale(1, acts("child=sleep serve"));
    world.until("it is ready", |pods| pods.ready == 1).await;
    world.supervisor = None;
    let pid = world.records()[0].process.as_ref().unwrap().pid;
    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    until("it has died", || !runs(pid)).await;
    assert_eq!(world.endpoints().len(), 1);
    world.open();
    assert_eq!((world.pods().ready, world.endpoints().len()), (0, 0));
    world.scale(1, acts("serve"));
    world.until("it is ready again", |pods| pods.ready == 1 && pods.restarts == 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_start_that_was_not_written_down_leaks_nothing() {
    let mut world = World::new();
    world.scale(2, acts("child=sleep serve"));
    world.until("they are ready", |pods| pods.ready == 2).await;
    world.supervisor = None;
    // As after a crash between start and record; and as after the loss of a record.
    let [mut first, second] = <[Record; 2]>::try_from(world.records()).unwrap();
    let pid = first.process.take().unwrap().pid;
    let path = |record: &Record| world.home.pods().join(format!("{}.json", record.name));
    std::fs::write(path(&first), serde_json::to_vec(&first).unwrap()).unwrap();
    std::fs::remove_file(path(&second)).unwrap();
    world.open();
    assert_eq!(world.records()[0].process.as_ref().unwrap().pid, pid, "it is found by its mark");
    let stray = second.process.unwrap();
    until("the stray has ended", || !stray.same_process()).await;
    stray.bury();
    world.end().await;
}

#[tokio::test]
async fn pods_that_nobody_wants_any_more_go_on_until_somebody_says_so() {
    let mut world = World::new();
    world.scale(1, acts("serve"));
    world.until("it is ready", |pods| pods.ready == 1).await;
    world.open();
    assert_eq!((world.pods().ready, world.pods().scale), (1, 0));
    world.supervisor().retain(&std::collections::BTreeSet::new());
    until("it is gone", || world.supervisor().look().is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_port_that_a_stranger_took_is_exchanged() {
    let world = World::new();
    let mut container = acts(&format!("write={} exit=1", world.file("port")));
    container["readinessProbe"] = json!({"exec": {"command": ["true"]}});
    world.scale(1, container);
    let port = || std::fs::read_to_string(world.file("port")).ok().and_then(|text| text.parse::<u16>().ok());
    until("it has a port", || port().is_some()).await;
    let first = port().unwrap();
    let _stranger = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
    until("it has another port", || port().is_some_and(|port| port != first)).await;
    world.end().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_so_and_a_late_decision_changes_nothing() {
    let world = World::new();
    world.scale(2, json!({"name": "app", "image": "nginx"}));
    assert!(world.pods().trouble.unwrap().contains("has no command"));
    assert_eq!(world.pods().present, 0);
    world
        .supervisor()
        .scale(Group { generation: Generation(0), ..group("5c6b7", 9, acts("serve")) })
        .unwrap();
    assert_eq!(world.pods().scale, 2);
    world
        .supervisor()
        .scale(group("other", 1, json!({"name": "app", "command": ["./nothing-here"]})))
        .unwrap();
    let (key, revision) = name("other");
    let trouble = || world.supervisor().look()[&key][&revision].trouble.clone().unwrap_or_default();
    until("it is told", || trouble().contains("cannot start")).await;
    assert!(trouble().contains("nothing-here"), "{}", trouble());
    world.end().await;
}
