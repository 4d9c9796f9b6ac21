//! The commands on a cluster: what they ask of it, and what they say when it refuses, is silent, or is not there.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod api;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use api::{Api, status};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where a person sits: an empty home with a kubeconfig.
struct Desk {
    home: TempDir,
}

impl Desk {
    fn new(kubeconfig: &str) -> Desk {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".kube")).unwrap();
        fs::write(home.path().join(".kube/config"), kubeconfig).unwrap();
        Desk { home }
    }

    fn at(api: &Api) -> Desk {
        Desk::new(&api.kubeconfig())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
        command.current_dir(self.home.path()).args(args).env("HOME", self.home.path()).env("USER", "grace");
        for name in [
            "PENSTOCK_DIR",
            "KUBECONFIG",
            "KUBERNETES_SERVICE_HOST",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "http_proxy",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What it said, and how it ended.
    fn said(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let home = self.home.path().display().to_string();
        let told =
            format!("$ penstock {}\n{out}{err}exit {}\n", args.join(" "), output.status.code().unwrap());
        told.replace(&home, "HOME")
    }
}

/// Ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rollout(namespace: &str, name: &str, weight: i32) -> Value {
    json!({
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {
            "name": name, "namespace": namespace, "uid": name, "generation": 1,
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "spec": {"selector": {}},
        "status": {
            "phase": "Progressing", "message": "on its way", "observedGeneration": 1,
            "canaryRevision": "bb", "stableRevision": "aa",
            "split": {"weight": weight, "generation": 3, "acknowledged": true},
            "revisions": [{"name": "aa", "role": "stable", "scale": 1, "ready": 1, "weight": 100 - weight}],
        },
    })
}

fn shop() -> Api {
    Api::with(&[
        rollout("shop", "checkout", 10),
        rollout("shop", "cart", 25),
        rollout("test", "checkout", 50),
    ])
}

/// Takes orders as the controller does: out of the annotation into the list, into the status, out of the list.
fn controller(
    api: Api,
    key: &'static str,
    kind: &'static str,
    what: &'static str,
) -> thread::JoinHandle<Api> {
    thread::spawn(move || {
        let annotation = format!("penstock.dev/{kind}");
        let given = |api: &Api| api.rollout(key)["metadata"]["annotations"].get(&annotation).cloned();
        while given(&api).is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        let reason = given(&api).unwrap();
        let who = api.rollout(key)["metadata"]["annotations"][format!("{annotation}-by")].clone();
        api.change(key, |rollout| {
            let annotations = rollout["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove(&annotation);
            let order = json!([{"id": "o1", "kind": kind, "who": who, "reason": reason, "at": 0}]);
            annotations.insert("penstock.dev/orders".to_owned(), order.to_string().into());
        });
        api.change(key, |rollout| {
            let why = format!("{what} by order: {}", reason.as_str().unwrap());
            rollout["status"]["decisions"] = json!([{"what": what, "why": why, "who": who, "order": "o1"}]);
            rollout["metadata"]["annotations"].as_object_mut().unwrap().remove("penstock.dev/orders");
        });
        api
    })
}

#[test]
fn rollouts_are_shown_as_those_of_a_folder_are() {
    let desk = Desk::at(&shop());
    let told = [
        desk.said(&["get"]),
        desk.said(&["get", "-A"]),
        desk.said(&["get", "checkout"]),
        desk.said(&["get", "checkout", "-n", "test", "-o", "yaml"]),
        desk.said(&["get", "test/checkout", "-o", "name"]),
        desk.said(&["get", "-o", "name", "-A"]),
        desk.said(&["get", "-n", "empty"]),
        desk.said(&["why", "rollout.penstock.dev/cart"]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn many_rollouts_come_page_by_page() {
    let pages = AtomicU32::new(0);
    let api = Api::serve(&[], move |request| {
        let page = pages.fetch_add(1, Ordering::SeqCst);
        assert!(request.query.contains("limit="), "{request:?}");
        let next = if page == 0 { json!({"resourceVersion": "1", "continue": "further"}) } else { json!({}) };
        assert_eq!(page == 1, request.query.contains("continue=further"), "{request:?}");
        let items = json!([rollout("shop", &format!("r{page}"), 10)]);
        Some((200, json!({"apiVersion": "v1", "kind": "List", "metadata": next, "items": items})))
    });
    let names = Desk::at(&api).run(&["get", "-o", "name"]).stdout;
    assert_eq!(String::from_utf8_lossy(&names), "rollout.penstock.dev/r0\nrollout.penstock.dev/r1\n");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let desk = Desk::at(&shop());
    let told = [
        desk.said(&["get", "chekcout"]),
        desk.said(&["why", "checkout", "-n", "empty"]),
        desk.said(&["abort", "-n", "empty"]),
        desk.said(&["abort"]),
        desk.said(&["get", "../../secrets/a"]),
        desk.said(&["get", "--context", "tset"]),
        desk.said(&["get", "--kubeconfig", "nothing.yaml"]),
        desk.said(&["get", "--dir", "shop", "--context", "test"]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_cluster_that_refuses_or_is_silent_is_told_with_what_to_do() {
    let answering = |code, reason, message: &str| {
        let answer = status(code, reason, message);
        Api::serve(&[], move |_| Some(answer.clone()))
    };
    let missing = answering(404, "NotFound", "404 page not found");
    let forbidden = answering(
        403,
        "Forbidden",
        "rollouts.penstock.dev is forbidden: User \"ada\" cannot list resource \"rollouts\" in API group \"penstock.dev\" in the namespace \"shop\"",
    );
    let unknown = answering(401, "Unauthorized", "Unauthorized");
    let broken = answering(500, "InternalError", "etcdserver: no leader\u{1b}[2J");
    let told = [
        Desk::at(&missing).said(&["get"]),
        Desk::at(&missing).said(&["get", "checkout"]),
        Desk::at(&missing).said(&["get", "-w"]),
        Desk::at(&forbidden).said(&["get"]),
        Desk::at(&forbidden).said(&["get", "-A", "-w"]),
        Desk::at(&forbidden).said(&["abort", "checkout"]),
        Desk::at(&unknown).said(&["get"]),
        Desk::at(&broken).said(&["get"]),
        Desk::new(&api::kubeconfig("http://127.0.0.1:1")).said(&["get"]),
        Desk::new("contexts: [").said(&["get"]),
        Desk::new("{}").said(&["get"]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_plugin_that_can_not_log_in_says_so() {
    let config = api::kubeconfig("http://127.0.0.1:1").replace(
        "{\"token\":\"secret\"}",
        "{\"exec\":{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"command\":\"sh\",\"args\":[\"-c\",\"echo session expired >&2; exit 7\"],\"interactiveMode\":\"Never\"}}",
    );
    insta::assert_snapshot!(Desk::new(&config).said(&["get"]));
}

#[test]
fn a_busy_api_server_is_asked_again() {
    let stumbles = AtomicU32::new(0);
    let api = Api::serve(&[rollout("shop", "checkout", 10)], move |_| {
        (stumbles.fetch_add(1, Ordering::SeqCst) == 0).then(|| status(503, "ServiceUnavailable", "starting"))
    });
    assert_eq!(Desk::at(&api).run(&["get", "checkout"]).status.code(), Some(0));
    assert_eq!(api.asked().len(), 2);
}

#[test]
fn an_order_is_given_and_its_effect_told() {
    let api = shop();
    let desk = Desk::at(&api);
    let watching = controller(api, "shop/checkout", "abort", "Aborted");
    let told = desk.said(&["abort", "checkout", "--reason", "p99 looks wrong"]);
    let api = watching.join().unwrap();
    assert!(told.contains("checkout: Aborted by order: p99 looks wrong\nexit 0"), "{told}");
    assert_eq!(api.rollout("shop/checkout")["status"]["decisions"][0]["who"], "ada", "of the kubeconfig");
    let annotations = &api.rollout("shop/cart")["metadata"]["annotations"];
    assert!(annotations.is_null(), "the others are left alone");
}

#[test]
fn an_order_that_is_refused_ends_with_1() {
    let api = shop();
    let desk = Desk::at(&api);
    let watching = controller(api, "shop/checkout", "resume", "Refused");
    let output = desk.run(&["resume", "checkout", "--as", "bob"]);
    let api = watching.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(api.rollout("shop/checkout")["status"]["decisions"][0]["who"], "bob");
}

#[test]
fn an_order_goes_by_the_name_that_the_cluster_knows() {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        "status": {"userInfo": {"username": "ada@example.com"}}});
    let api = Api::serve(&[rollout("shop", "checkout", 10)], move |request| {
        request.path.ends_with("selfsubjectreviews").then(|| (201, review.clone()))
    });
    let desk = Desk::at(&api);
    assert_eq!(desk.run(&["pause", "checkout", "--no-wait"]).status.code(), Some(0));
    let annotations = api.rollout("shop/checkout")["metadata"]["annotations"].clone();
    assert_eq!(annotations, json!({"penstock.dev/pause": "", "penstock.dev/pause-by": "ada@example.com"}));
    let nobody =
        Desk::at(&shop()).said(&["pause", "checkout", "--no-wait", "--context", "bare", "-n", "shop"]);
    assert!(nobody.contains("exit 0"), "{nobody}");
}

#[test]
fn an_order_that_nobody_takes_says_so_and_is_not_given_twice() {
    let api = shop();
    let desk = Desk::at(&api);
    let told = [
        desk.said(&["promote", "checkout", "--full", "--reason", "it is fine", "--timeout", "300ms"]),
        desk.said(&["promote", "checkout", "--full"]),
        desk.said(&["undo", "cart", "--to-revision", "aa", "--reason", "it leaks", "--no-wait"]),
        desk.said(&["abort", "cart", "--reason", &"x".repeat(4097)]),
    ];
    let annotation = &api.rollout("shop/checkout")["metadata"]["annotations"]["penstock.dev/promote-full"];
    assert_eq!(annotation, "it is fine");
    let undo = &api.rollout("shop/cart")["metadata"]["annotations"]["penstock.dev/undo"];
    assert_eq!(undo, "aa: it leaks");
    insta::assert_snapshot!(told.join("\n").replace(&"x".repeat(4097), "xxx…"));
}

#[test]
fn a_cluster_that_falls_silent_while_an_order_is_followed_is_asked_until_patience_ends() {
    let silent = AtomicU32::new(0);
    let api = Api::serve(&[rollout("shop", "checkout", 10)], move |request| {
        let written = request.method == "PATCH" || silent.load(Ordering::SeqCst) > 0;
        let stumbles = written && silent.fetch_add(1, Ordering::SeqCst) > 0;
        stumbles.then(|| status(400, "BadRequest", "not now"))
    });
    let told = Desk::at(&api).said(&["pause", "checkout", "--timeout", "300ms"]);
    assert!(told.contains("the order is written, but what became of it can't be seen"), "{told}");
    assert!(told.contains("not now\nexit 1"), "{told}");
}

#[test]
fn a_cluster_is_named_only_where_one_is_asked() {
    let desk = Desk::at(&shop());
    assert_eq!(desk.run(&["install", "--context", "test"]).status.code(), Some(2));
    assert_eq!(desk.run(&["--kubeconfig", "x", "version"]).status.code(), Some(2));
}

#[test]
fn a_namespace_stands_before_or_behind_the_command_and_only_where_one_is_asked() {
    let desk = Desk::at(&shop());
    let printed = |args: &[&str]| desk.run(args).stdout;
    let behind = printed(&["get", "-n", "test", "-o", "name"]);
    assert!(!behind.is_empty() && printed(&["-n", "test", "get", "-o", "name"]) == behind);
    assert_ne!(printed(&["-n", "empty", "get", "-o", "name"]), behind);
    assert!(desk.said(&["-n", "shop", "install"]).contains("  namespace: shop\n"));
    assert_eq!(desk.run(&["-n", "test", "get", "-A"]).status.code(), Some(2));
    assert_eq!(desk.run(&["-n", "test", "version"]).status.code(), Some(2));
}

#[test]
fn who_is_slower_reads_again_before_writing() {
    let conflicts = AtomicU32::new(0);
    let api = Api::serve(&[rollout("shop", "checkout", 10)], move |request| {
        let first = request.method == "PATCH" && conflicts.fetch_add(1, Ordering::SeqCst) < 2;
        first.then(|| status(409, "Conflict", "the object has been modified"))
    });
    assert_eq!(Desk::at(&api).run(&["pause", "checkout", "--no-wait"]).status.code(), Some(0));
    assert_eq!(api.asked().iter().filter(|line| line.starts_with("PATCH")).count(), 3);
}

#[test]
fn an_abort_gets_through_however_busy_the_others_are() {
    let api = Api::serve(&[rollout("shop", "checkout", 10)], |request| {
        let careful = request.body["metadata"].get("resourceVersion").is_some();
        careful.then(|| status(409, "Conflict", "the object has been modified"))
    });
    let desk = Desk::at(&api);
    assert_eq!(desk.run(&["abort", "checkout", "--no-wait"]).status.code(), Some(0));
    assert_eq!(api.rollout("shop/checkout")["metadata"]["annotations"]["penstock.dev/abort"], "");
    let told = desk.said(&["pause", "checkout", "--no-wait"]);
    assert!(told.contains("try again\nexit 1"), "{told}");
}

#[test]
fn a_rollout_that_is_deleted_in_between_is_missed() {
    let api = shop();
    let desk = Desk::at(&api);
    let mut child = desk.command(&["abort", "checkout"]).stderr(Stdio::piped()).spawn().unwrap();
    while api.rollout("shop/checkout")["metadata"]["annotations"].is_null() {
        thread::sleep(Duration::from_millis(5));
    }
    api.delete("shop/checkout");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_file_is_checked_against_what_is_there_and_nothing_is_written() {
    const MINIMAL: &str = include_str!("../../crds/examples/minimal.yaml");
    let mut other = rollout("shop", "cart", 25);
    other["spec"] = serde_saphyr::from_str::<Value>(MINIMAL).unwrap()["spec"].clone();
    let of_others =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "checkout", "namespace": "shop"}});
    let kinds = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "gateway.networking.k8s.io/v1",
        "resources": [{"name": "httproutes", "singularName": "", "namespaced": true, "kind": "HTTPRoute", "verbs": []}]});
    let api = Api::serve(&[other], move |request| match request.path.as_str() {
        "/apis/gateway.networking.k8s.io/v1" => Some((200, kinds.clone())),
        "/api/v1/namespaces/shop/services/checkout" => Some((200, of_others.clone())),
        path if path.contains("/replicasets/") => {
            assert!(request.query.contains("dryRun=All") && request.query.contains("fieldValidation=Strict"));
            Some(status(422, "Invalid", "ReplicaSet.apps is invalid: spec.template.spec.containers[0].name"))
        }
        path if path.contains("/namespaces/gone/") => {
            Some(status(404, "NotFound", "namespaces \"gone\" not found"))
        }
        _ => None,
    });
    let desk = Desk::at(&api);
    fs::write(desk.home.path().join("app.yaml"), MINIMAL).unwrap();
    let told = [
        desk.said(&["check", "app.yaml", "--cluster"]),
        desk.said(&["check", "app.yaml", "--context", "test", "-n", "gone"]),
        desk.said(&["check", "app.yaml", "--context", "test", "-n", "free"]),
    ];
    assert!(api.asked().iter().all(|asked| !asked.starts_with("POST")));
    assert_eq!(api.rollout("shop/cart")["metadata"]["resourceVersion"], "100", "as it was");
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn watching_shows_each_change_and_the_end() {
    let api = shop();
    let desk = Desk::at(&api);
    let mut child = Started(desk.command(&["get", "checkout", "-w"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut until = |text: &str| lines.by_ref().map(Result::unwrap).find(|line| line.contains(text)).unwrap();
    until("90 %");
    api.change("shop/checkout", |rollout| rollout["status"]["revisions"][0]["weight"] = json!(75));
    until("75 %");
    api.delete("shop/checkout");
    assert_eq!(child.0.wait().unwrap().code(), Some(3));
}

#[test]
fn a_folder_at_hand_goes_before_a_cluster_and_says_so() {
    let desk = Desk::at(&shop());
    fs::create_dir_all(desk.home.path().join(".penstock/state")).unwrap();
    insta::assert_snapshot!(
        [desk.said(&["get", "checkout"]), desk.said(&["get", "--context", "test", "-o", "name"])].join("\n")
    );
}

#[test]
fn as_a_plugin_of_kubectl_it_has_that_name_and_asks_the_cluster() {
    let desk = Desk::at(&shop());
    fs::create_dir_all(desk.home.path().join(".penstock/state")).unwrap();
    let plugin = desk.home.path().join("kubectl-penstock");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_penstock"), &plugin).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&plugin);
        command
            .current_dir(desk.home.path())
            .args(args)
            .env("HOME", desk.home.path())
            .env_remove("KUBECONFIG");
        let output = command.output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(run(&["get", "-o", "name"]), "rollout.penstock.dev/cart\nrollout.penstock.dev/checkout\n");
    assert!(run(&["get", "crat"]).starts_with("kubectl penstock: no Rollout `crat`"));
    assert!(run(&["undo", "--help"]).contains("Usage: kubectl penstock undo"));
    assert!(run(&["undo", "--help"]).contains("\n  kubectl penstock undo checkout"));
    assert!(run(&["completions", "bash"]).contains(" kubectl-penstock"));
    let asked = desk.home.path().join("kubectl_complete-penstock");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_penstock"), &asked).unwrap();
    let offers = |words: &[&str]| {
        let mut command = Command::new(&asked);
        command.current_dir(desk.home.path()).args(words).env("HOME", desk.home.path());
        String::from_utf8(command.env_remove("KUBECONFIG").output().unwrap().stdout).unwrap()
    };
    assert_eq!(offers(&["abort", "ch"]), "checkout\n:4\n");
    assert_eq!(offers(&["get", "-n", "nowhere", "ch"]), ":4\n");
}

#[test]
fn kubeconfigs_are_put_together_as_kubectl_does_it() {
    let api = shop();
    let desk = Desk::new("{}");
    let whole: Value = serde_json::from_str(&api.kubeconfig()).unwrap();
    let part = |name: &str| json!({"apiVersion": "v1", "kind": "Config", name: whole[name]}).to_string();
    for name in ["clusters", "contexts", "users"] {
        fs::write(desk.home.path().join(name), part(name)).unwrap();
    }
    let list = format!("clusters::{}:contexts:users", desk.home.path().join("absent").display());
    let mut command = desk.command(&["get", "-o", "name", "--context", "test"]);
    let output = command.env("KUBECONFIG", list).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "rollout.penstock.dev/cart\nrollout.penstock.dev/checkout\n"
    );
}

#[test]
fn a_proxy_of_the_environment_is_used_unless_the_cluster_is_excepted() {
    let desk = Desk::at(&shop());
    let run = |no_proxy: &str| {
        let mut command = desk.command(&["get", "-o", "name"]);
        command.env("http_proxy", "http://127.0.0.1:1").env("NO_PROXY", no_proxy).output().unwrap()
    };
    assert_eq!(run("").status.code(), Some(1), "nobody listens at the proxy");
    assert_eq!(run("127.0.0.1").status.code(), Some(0));
}
