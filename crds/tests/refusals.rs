//! What bad specs get: every problem with its path and its remedy.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::fmt::Write as _;

use penstock_crds::{Document, admit, admit_value, clashes, read};
use serde_json::{Value, json};

const GOOD: &str = include_str!("../examples/full.yaml");

fn good() -> Value {
    read(GOOD.as_bytes(), "full.yaml").remove(0).unwrap().value
}

/// The good example with one field changed; `null` removes it.
fn with(pointer: &str, value: Value) -> Value {
    let mut object = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        Value::Object(fields) if value.is_null() => drop(fields.remove(name)),
        _ => parent[name] = value,
    }
    object
}

fn told(object: &Value) -> String {
    match admit_value(object) {
        Ok(admitted) => admitted.warnings.iter().map(|w| format!("  warning {w}\n")).collect(),
        Err(refusals) => refusals.iter().map(|r| format!("  {r}\n")).collect(),
    }
}

const ANALYSIS: &str = "/spec/analysis";
const CANARY: &str = "/spec/strategy/canary";

fn steps(steps: Value) -> (String, Value) {
    (format!("{CANARY}/steps"), steps)
}

fn gate(webhook: Value) -> (String, Value) {
    steps(json!([{"gate": {"webhook": webhook}}]))
}

fn notify(receiver: Value) -> (String, Value) {
    spec("notify", json!([receiver]))
}

fn freeze(schedule: &str, zone: &str, duration: &str) -> (String, Value) {
    spec("freeze", json!([{"schedule": schedule, "timeZone": zone, "duration": duration}]))
}

fn analysis(name: &str, value: Value) -> (String, Value) {
    (format!("{ANALYSIS}/{name}"), value)
}

/// A Prometheus server with some fields of its own.
fn prometheus(fields: Value) -> (String, Value) {
    let mut source = json!({"address": "https://p:9090"});
    fields.as_object().unwrap().iter().for_each(|(name, value)| source[name] = value.clone());
    analysis("source", json!({"prometheus": source}))
}

fn metric(value: Value) -> (String, Value) {
    analysis("metrics", json!([value]))
}

fn spec(path: &str, value: Value) -> (String, Value) {
    (format!("/spec/{path}"), value)
}

fn canary(name: &str, value: Value) -> (String, Value) {
    (format!("{CANARY}/{name}"), value)
}

fn table() -> Vec<(&'static str, (String, Value))> {
    let template = |pointer: &str, value: Value| (format!("/spec/template{pointer}"), value);
    vec![
        // The object.
        ("another API version", ("/apiVersion".into(), json!("penstock.dev/v1"))),
        ("a misspelt kind", ("/kind".into(), json!("Rolout"))),
        ("no spec", ("/spec".into(), json!(null))),
        ("a spec that is a list", ("/spec".into(), json!([1]))),
        ("a misspelt field beside spec", ("/specs".into(), json!({}))),
        ("no name", ("/metadata/name".into(), json!(null))),
        ("a name that is too long", ("/metadata/name".into(), json!("a".repeat(53)))),
        ("a name with a dot", ("/metadata/name".into(), json!("check.out"))),
        ("a name that begins with a digit", ("/metadata/name".into(), json!("1shop"))),
        ("a namespace with a dot", ("/metadata/namespace".into(), json!("our.shop"))),
        ("a misspelt field of the metadata", ("/metadata/anotations".into(), json!({}))),
        // Steps.
        ("a weight of 140", steps(json!([{"setWeight": 140}]))),
        ("a negative weight", steps(json!([{"setWeight": -1}]))),
        ("a weight as text", steps(json!([{"setWeight": "10%"}, {"setWeight": "ten"}]))),
        ("a weight of a half", steps(json!([{"setWeight": 0.5}]))),
        ("falling weights", steps(json!([{"setWeight": 50}, {"setWeight": 25}, {"setWeight": 40}]))),
        ("a step of both kinds", steps(json!([{"setWeight": 5, "pause": {}}]))),
        ("an empty step", steps(json!([{}, null]))),
        ("a misspelt step", steps(json!([{"setweight": 5}, {"set_weight": 5}, {"stWeight": 5}]))),
        ("a step of another kind", steps(json!([{"analysis": {}}]))),
        ("a step of three kinds", steps(json!([{"setWeight": 5, "pause": {}, "setCanaryScale": {}}]))),
        ("pods without a number", steps(json!([{"setCanaryScale": {}}]))),
        ("no pods", steps(json!([{"setCanaryScale": {"replicas": 0}}, {"setCanaryScale": {"weight": 0}}]))),
        ("pods by two numbers", steps(json!([{"setCanaryScale": {"replicas": 1, "weight": 10}}]))),
        ("pods that do not match", steps(json!([{"setCanaryScale": {"matchTrafficWeight": false}}]))),
        ("more traffic than pods", steps(json!([{"setCanaryScale": {"weight": 25}}, {"setWeight": 90}]))),
        ("fewer pods than traffic", steps(json!([{"setWeight": 50}, {"setCanaryScale": {"weight": 25}}]))),
        ("a gate without a webhook", steps(json!([{"gate": {}}]))),
        ("a gate without an address", steps(json!([{"gate": {"webhook": {}}}]))),
        ("a gate with an address of another kind", gate(json!({"url": "ftp://ci/gate"}))),
        ("a gate with a user in its address", gate(json!({"url": "https://me:pw@ci/gate"}))),
        ("a gate with a long timeout", gate(json!({"url": "http://ci", "timeout": "1m"}))),
        ("a gate with a misspelt field", gate(json!({"url": "http://ci", "secretRef": {"name": "a"}}))),
        ("a gate with half a secret", gate(json!({"url": "http://ci", "secret": {"name": "a"}}))),
        (
            "a gate with a CA and no TLS",
            gate(json!({"url": "http://ci", "caSecret": {"name": "a", "key": "b"}})),
        ),
        (
            "a gate that is asked all the time",
            steps(
                json!([{"gate": {"webhook": {"url": "http://ci"}, "interval": "1ms", "timeoutSeconds": 0}}]),
            ),
        ),
        (
            "a gate with two addresses",
            gate(json!({"url": "http://ci", "urlSecret": {"name": "a", "key": "b"}})),
        ),
        ("a receiver of no kind", notify(json!({"name": "a"}))),
        (
            "a receiver of two kinds",
            notify(json!({"name": "a", "slack": {"url": "http://s"}, "teams": {"url": "http://t"}})),
        ),
        ("a receiver without a name", notify(json!({"slack": {"url": "http://s"}}))),
        ("a receiver without an address", notify(json!({"name": "a", "slack": {}}))),
        (
            "a receiver of unknown events",
            notify(json!({"name": "a", "slack": {"url": "http://s"}, "events": ["aborted", "Nothing"]})),
        ),
        (
            "a receiver with a misspelt placeholder",
            notify(json!({"name": "a", "slack": {"url": "http://s"}, "template": "{{wy}}"})),
        ),
        (
            "a receiver with half a placeholder",
            notify(json!({"name": "a", "slack": {"url": "http://s"}, "template": "{{why"})),
        ),
        ("a receiver that is an address", spec("notify", json!(["http://s"]))),
        (
            "two receivers of one name",
            spec(
                "notify",
                json!([{"name": "a", "slack": {"url": "http://s"}}, {"name": "a", "teams": {"url": "http://t"}}]),
            ),
        ),
        ("a freeze without anything", spec("freeze", json!([{}]))),
        ("a freeze that is no list", spec("freeze", json!({"schedule": "0 18 * * 5"}))),
        ("a freeze without a schedule", spec("freeze", json!([{"duration": "62h"}]))),
        ("a freeze by seconds", freeze("0 0 18 * * 5", "UTC", "62h")),
        ("a freeze on a day that never comes", freeze("0 0 31 2 *", "UTC", "62h")),
        ("a freeze at the 25th hour", freeze("0 25 * * *", "UTC", "62h")),
        ("a freeze somewhere unknown", freeze("0 18 * * 5", "Europe/Berln", "62h")),
        ("a freeze of days", freeze("0 18 * * 5", "Europe/Berlin", "2d")),
        ("a freeze of no time", freeze("0 18 * * 5", "Europe/Berlin", "0s")),
        ("a pause without unit", steps(json!([{"pause": {"duration": "5"}}]))),
        ("a pause that is a number", steps(json!([{"pause": {"duration": 5}}]))),
        ("a pause in days", steps(json!([{"pause": {"duration": "2d"}}]))),
        ("a pause without end", steps(json!([{"pause": {"duration": "999999h"}}]))),
        ("a pause that is a text", steps(json!([{"pause": "5m"}]))),
        ("steps that are no list", steps(json!({"setWeight": 5}))),
        ("too many steps", steps(json!(vec![json!({"setWeight": 5}); 101]))),
        ("pods beyond the replicas as a text", canary("maxSurge", json!("two"))),
        ("pods beyond the replicas without percent", canary("maxSurge", json!("25"))),
        ("fewer pods than none beyond the replicas", canary("maxSurge", json!(-1))),
        ("no room at all", canary("maxSurge", json!(0))),
        ("more pods missing than there are", canary("maxUnavailable", json!("101%"))),
        ("another strategy", ("/spec/strategy".into(), json!({"blueGreen": {}}))),
        // Marks and stickiness.
        ("marks without header", canary("marks", json!({"value": "x"}))),
        ("a header with a space", canary("marks", json!({"header": "x canary"}))),
        ("a value with a line break", canary("marks", json!({"header": "x-canary", "value": "a\nb"}))),
        ("sticky to both", canary("sticky", json!({"header": "a", "cookie": "b"}))),
        ("sticky to nothing", canary("sticky", json!({}))),
        ("a cookie with a semicolon", canary("sticky", json!({"cookie": "a;b"}))),
        // Analysis.
        ("a quantile of 99", metric(json!({"name": "p", "latency": {"quantile": "99", "max": "1s"}}))),
        ("a quantile as number", metric(json!({"name": "p", "latency": {"quantile": 0.99, "max": "1s"}}))),
        ("a latency without anything", metric(json!({"name": "p", "latency": {}}))),
        ("a latency of zero", metric(json!({"name": "p", "latency": {"quantile": "0.9", "max": "0ms"}}))),
        ("an error rate without percent", metric(json!({"name": "e", "errorRate": {"max": "0.01"}}))),
        ("an error rate of all", metric(json!({"name": "e", "errorRate": {"max": "100%"}}))),
        (
            "a metric of two kinds",
            metric(
                json!({"name": "e", "errorRate": {"max": "1%"}, "latency": {"quantile": "0.9", "max": "1s"}}),
            ),
        ),
        ("a metric of no kind", metric(json!({"name": "e"}))),
        ("a metric without name", metric(json!({"errorRate": {"max": "1%"}}))),
        ("a metric with a bad name", metric(json!({"name": "my errors", "errorRate": {"max": "1%"}}))),
        ("a misspelt kind of metric", metric(json!({"name": "e", "errorrate": {"max": "1%"}}))),
        (
            "two metrics of one name",
            analysis(
                "metrics",
                json!([{"name": "e", "errorRate": {"max": "1%"}}, {"name": "e", "errorRate": {"max": "2%"}}]),
            ),
        ),
        ("a query without limits", metric(json!({"name": "q", "prometheus": {"query": "up"}}))),
        ("a query without query", metric(json!({"name": "q", "prometheus": {"max": "1"}}))),
        ("a limit as number", metric(json!({"name": "q", "prometheus": {"query": "up", "max": 5}}))),
        (
            "a limit that is no number",
            metric(json!({"name": "q", "prometheus": {"query": "up", "max": "five"}})),
        ),
        (
            "limits that cross",
            metric(json!({"name": "q", "prometheus": {"query": "up", "min": "5", "max": "1"}})),
        ),
        (
            "an unknown placeholder",
            metric(json!({"name": "q", "prometheus": {"query": "up{r=\"{{ revison }}\"}", "max": "1"}})),
        ),
        ("confidence of 100 %", analysis("confidence", json!("100%"))),
        ("confidence of 10 %", analysis("confidence", json!("10%"))),
        ("confidence without percent", analysis("confidence", json!("0.999"))),
        ("an interval of 1 ms", analysis("interval", json!("1ms"))),
        ("no requests needed", analysis("minRequests", json!(0))),
        ("a negative failure limit", analysis("failureLimit", json!(-1))),
        (
            "a source of both kinds",
            analysis("source", json!({"proxy": {}, "prometheus": {"address": "http://p:9090"}})),
        ),
        (
            "an address without scheme",
            analysis("source", json!({"prometheus": {"address": "prometheus:9090"}})),
        ),
        ("a timeout of a minute", prometheus(json!({"timeout": "1m"}))),
        ("a timeout of nothing", prometheus(json!({"timeout": "0s"}))),
        (
            "two ways to say who asks",
            prometheus(
                json!({"basicAuthSecret": {"name": "a"}, "bearerTokenSecret": {"name": "a", "key": "b"}}),
            ),
        ),
        ("a Secret without a name", prometheus(json!({"basicAuthSecret": {}}))),
        ("a Secret of another namespace", prometheus(json!({"basicAuthSecret": {"name": "other/a"}}))),
        (
            "a Secret with a namespace",
            prometheus(json!({"basicAuthSecret": {"name": "a", "namespace": "other"}})),
        ),
        ("a token without a key", prometheus(json!({"bearerTokenSecret": {"name": "a"}}))),
        ("a key with a slash", prometheus(json!({"caSecret": {"name": "a", "key": "../b"}}))),
        (
            "two CAs",
            prometheus(
                json!({"caSecret": {"name": "a", "key": "b"}, "caConfigMap": {"name": "a", "key": "b"}}),
            ),
        ),
        (
            "a CA without https",
            prometheus(json!({"address": "http://p:9090", "caSecret": {"name": "a", "key": "b"}})),
        ),
        (
            "a user in the address and in a Secret",
            prometheus(json!({"address": "http://me:pw@p:9090", "basicAuthSecret": {"name": "a"}})),
        ),
        ("a source that does not exist", analysis("source", json!({"datadog": {}}))),
        ("a field at the wrong indentation", spec("minRequests", json!(100))),
        // The rest of the spec.
        ("negative replicas", spec("replicas", json!(-1))),
        ("replicas as text", spec("replicas", json!("3"))),
        ("too many replicas for a number", spec("replicas", json!(99_999_999_999_i64))),
        ("no service", spec("service", json!(null))),
        ("a service without anything", spec("service", json!({}))),
        ("a port of 0", spec("service/port", json!(0))),
        ("a port of 70000", spec("service/targetPort", json!(70_000))),
        ("a port in quotes", spec("service/targetPort", json!("8080"))),
        ("a port that no container has", spec("service/targetPort", json!("grpc"))),
        ("a service with a bad name", spec("service/name", json!("Checkout"))),
        ("a protocol by its usual name", spec("service/appProtocol", json!("grpc"))),
        ("a protocol with TLS", spec("service/appProtocol", json!("https"))),
        ("a protocol that does not exist", spec("service/appProtocol", json!("kubernetes.io/h2"))),
        ("another router", spec("router/type", json!("Istio"))),
        ("a router in small letters", spec("router/type", json!("penstock"))),
        ("a timeout of zero", spec("router/timeout", json!("0s"))),
        ("paused as text", spec("paused", json!("yes"))),
        ("ready for less than nothing", spec("minReadySeconds", json!(-1))),
        ("ready for longer than the deadline", spec("minReadySeconds", json!(600))),
        ("a deadline of 0", spec("progressDeadlineSeconds", json!(0))),
        ("a negative history", spec("revisionHistoryLimit", json!(-1))),
        ("a misspelt field of the spec", spec("replica", json!(3))),
        // Pods.
        ("no selector", spec("selector", json!(null))),
        ("an empty selector", spec("selector", json!({}))),
        (
            "a selector that does not match",
            spec("selector", json!({"matchLabels": {"app": "cart", "tier": "web"}})),
        ),
        (
            "an expression that does not match",
            spec(
                "selector",
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["checkout"]}]}),
            ),
        ),
        (
            "an unknown operator",
            spec(
                "selector",
                json!({"matchExpressions": [{"key": "app", "operator": "Equals", "values": ["checkout"]}]}),
            ),
        ),
        ("no template", spec("template", json!(null))),
        ("a template that is a text", spec("template", json!("checkout:v1"))),
        ("no container", template("/spec/containers", json!([]))),
        ("a container without name", template("/spec/containers", json!([{"image": "x"}]))),
        (
            "two containers of one name",
            template("/spec/containers", json!([{"name": "web"}, {"name": "web"}])),
        ),
        ("a template that runs once", template("/spec/restartPolicy", json!("Never"))),
        ("a wrong type in the template", template("/spec/containers/0/image", json!(2))),
        ("a misspelt field in the template", template("/spec/containers/0/imag", json!("x"))),
    ]
}

#[test]
fn every_bad_spec_is_told_what_to_write() {
    let mut story = String::new();
    for (what, (pointer, value)) in table() {
        let object = with(&pointer, value);
        let warned_only =
            what.starts_with("a misspelt field of the metadata") || what.ends_with("in the template");
        assert_eq!(admit_value(&object).is_ok(), warned_only && !what.contains("wrong"), "{what}");
        writeln!(story, "{what}\n{}", told(&object)).unwrap();
    }
    insta::assert_snapshot!(story);
}

#[test]
fn a_namespace_may_begin_with_a_digit() {
    assert_eq!(admit_value(&with("/metadata/namespace", json!("1shop"))).unwrap().facts.namespace, "1shop");
}

#[test]
fn all_problems_are_named_at_once() {
    let mut object = with("/spec/replicas", json!(-1));
    object["spec"]["strategy"]["canary"]["steps"] = json!([{"setWeight": 140}, {"pause": {"duration": "5"}}]);
    object["spec"]["analysis"]["metrics"] = json!([{"name": "p", "latency": {"quantile": 99, "max": 500}}]);
    object["spec"]["service"] = json!({"port": 0, "nam": "checkout"});
    insta::assert_snapshot!(told(&object));
}

/// What an API server has let through has the right form, and is refused for the same reasons.
#[test]
fn typed_and_untyped_admission_refuse_alike() {
    for (what, (pointer, value)) in table() {
        let object = with(&pointer, value);
        let Ok(rollout) = serde_json::from_value(object.clone()) else { continue };
        let (typed, untyped) = (admit(&rollout), admit_value(&object));
        let (Err(typed), Err(untyped)) = (typed, untyped) else { continue };
        assert!(
            typed.iter().all(|t| untyped
                .iter()
                .any(|u| t == u || t.path.starts_with(&u.path) || u.path.starts_with(&t.path))),
            "{what}: {typed:?} {untyped:?}"
        );
    }
}

#[test]
fn anything_at_all_is_refused_without_a_panic() {
    let mut fields = vec![String::new()];
    collect(&good(), "", &mut fields);
    let hostile = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!("\u{0}…"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"": {"a": null}}),
    ];
    for pointer in fields.iter().filter(|f| !f.is_empty()) {
        for value in &hostile {
            let mut object = good();
            *object.pointer_mut(pointer).unwrap() = value.clone();
            let _ = admit_value(&object);
        }
    }
    hostile.iter().for_each(|value| assert!(admit_value(value).is_err()));
}

fn collect(value: &Value, pointer: &str, fields: &mut Vec<String>) {
    let inner: Vec<_> = match value {
        Value::Object(members) => {
            members.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in inner {
        let inside = format!("{pointer}/{name}");
        fields.push(inside.clone());
        collect(value, &inside, fields);
    }
}

fn facts(name: &str, service: &str) -> penstock_crds::Facts {
    let mut object = with("/metadata/name", json!(name));
    object["spec"]["service"]["name"] = json!(service);
    admit_value(&object).unwrap().facts
}

#[test]
fn two_rollouts_can_not_share_a_name_or_a_service() {
    let all = [facts("one", "a"), facts("two", "b"), facts("three", "a"), facts("one", "c")];
    let told: String = clashes(&all).iter().map(|(n, refusal)| format!("{n} {refusal}\n")).collect();
    insta::assert_snapshot!(told);
}

fn read_story(yaml: &str) -> String {
    let tell = |result: &Result<Document, _>| match result {
        Ok(document) => format!("{} {} {}", document.kind(), document.name(), document.is_rollout()),
        Err(error) => format!("{error}"),
    };
    read(yaml.as_bytes(), "app.yaml").iter().map(tell).collect::<Vec<_>>().join("\n")
}

#[test]
fn documents_of_other_kinds_are_read_as_they_are() {
    let yaml = "# nothing\n---\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\nkind: Rollout\napiVersion: argoproj.io/v1alpha1\n---\nkind: Rollout\n---\n- 1\n";
    insta::assert_snapshot!(read_story(yaml));
}

#[test]
fn a_syntax_error_names_file_line_and_column() {
    let stories = [
        "a: 1\nb: [1, 2\nc: 3\n",
        "a: 1\n b: 2\n",
        "a:\n\t- 1\n",
        "a: 1\na: 2\n",
        "kind: A\n---\nb: \"open\n",
        "a: *nobody\n",
        "a: .nan\n",
    ];
    let told: Vec<_> = stories.iter().map(|yaml| read_story(yaml)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn hostile_files_are_refused() {
    let deep = "[".repeat(100_000);
    let bomb = format!(
        "a0: &a0 [x, x]\n{}",
        (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect::<String>()
    );
    for yaml in [deep.as_str(), bomb.as_str()] {
        assert!(read(yaml.as_bytes(), "x").iter().any(Result::is_err));
    }
    assert!(read(&[0xff, 0xfe, b'a'], "x")[0].as_ref().is_err_and(|e| e.to_string().contains("UTF-8")));
    assert!(read(&vec![b' '; penstock_crds::MAX_BYTES + 1], "x")[0].is_err());
}

#[test]
fn a_field_is_found_on_its_line() {
    let document = read(GOOD.as_bytes(), "full.yaml").remove(0).unwrap();
    let line = |path: &str| document.place(path).unwrap().line;
    let wanted = |text: &str| 1 + GOOD.lines().position(|l| l.contains(text)).unwrap() as u64;
    assert_eq!(line("spec.strategy.canary.steps[5].setWeight"), wanted("setWeight: 25"));
    assert_eq!(line("spec.analysis.metrics[1].latency.quantile"), wanted("quantile"));
    assert_eq!(line("spec.service.missing"), wanted("service:"));
}
