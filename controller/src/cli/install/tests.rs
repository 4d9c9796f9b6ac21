use clap::Parser;
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    install: Install,
}

fn printed(arguments: &[&str]) -> String {
    let line = ["install"].iter().chain(arguments);
    Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).install.text().unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    penstock_crds::read(text.as_bytes(), "printed").into_iter().map(|d| d.unwrap().value).collect()
}

/// Without the definition of the Rollout, which has a golden file of its own.
fn own(text: &str) -> String {
    text.split_once("\n---\n").unwrap().1.to_owned()
}

#[test]
fn what_is_printed_for_a_whole_cluster() {
    insta::assert_snapshot!(own(&printed(&[])));
}

#[test]
fn what_is_printed_for_one_namespace() {
    let line = "-n platform --image r.io/p:1 --router-image r.io/q@sha256:aa --prometheus https://p:9090/x --watch-namespace shop --replicas 1";
    insta::assert_snapshot!(own(&printed(&line.split(' ').collect::<Vec<_>>())));
}

#[test]
fn what_routers_may_use_is_passed_on() {
    let line =
        ["--router-replicas=3", "--router-resources={limits: {memory: 1Gi}}", "--router-pull-policy=Never"];
    let text = printed(&[line.as_slice(), &["--router-pull-secret=a,b"]].concat());
    let deployment = objects(&text).into_iter().find(|object| object["kind"] == "Deployment").unwrap();
    let args = deployment.pointer("/spec/template/spec/containers/0/args").unwrap().as_array().unwrap();
    let wanted = [
        "--router-replicas=3",
        r#"--router-resources={"limits":{"memory":"1Gi"}}"#,
        "--router-pull-policy=Never",
        "--router-pull-secret=a",
        "--router-pull-secret=b",
    ];
    assert!(wanted.iter().all(|arg| args.contains(&Value::from(*arg))), "{args:?}");
}

#[test]
fn a_namespace_that_others_have_made_is_left_as_it_is() {
    assert!(objects(&printed(&["-n", "default"])).iter().all(|object| object["kind"] != "Namespace"));
}

/// Whether nothing of an object is unknown to its type.
fn fits<T: DeserializeOwned + Serialize>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), *object);
}

#[test]
fn every_object_is_what_its_kind_asks_for() {
    for text in [printed(&[]), printed(&["--watch-namespace", "shop"])] {
        for object in objects(&text) {
            match object["kind"].as_str().unwrap() {
                "CustomResourceDefinition" => fits::<CustomResourceDefinition>(&object),
                "Namespace" => fits::<Namespace>(&object),
                "ServiceAccount" => fits::<ServiceAccount>(&object),
                "ClusterRole" => fits::<ClusterRole>(&object),
                "ClusterRoleBinding" => fits::<ClusterRoleBinding>(&object),
                "Role" => fits::<Role>(&object),
                "RoleBinding" => fits::<RoleBinding>(&object),
                "Deployment" => fits::<Deployment>(&object),
                "Service" => fits::<Service>(&object),
                "PodDisruptionBudget" => fits::<PodDisruptionBudget>(&object),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn no_right_reaches_beyond_a_namespace_that_is_named() {
    let objects = objects(&printed(&["--watch-namespace", "shop"]));
    let people = |object: &Value| object["metadata"]["name"].as_str().unwrap() != "penstock-controller";
    let wide = objects.iter().filter(|o| o["kind"].as_str().unwrap().starts_with("ClusterRole"));
    assert!(wide.clone().all(people) && wide.count() == 2);
    let role = objects.iter().find(|o| o["kind"] == "Role" && o["metadata"]["namespace"] == "shop").unwrap();
    let everywhere = self::objects(&printed(&[]));
    let everywhere = everywhere.iter().find(|o| o["kind"] == "ClusterRole").unwrap();
    assert_eq!(role["rules"], everywhere["rules"], "the same rights, in less places");
}

#[test]
fn each_right_has_its_reason_above_it_and_none_is_a_wildcard() {
    let text = own(&printed(&[]));
    assert!(!text.contains('*'));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let rules: Vec<_> = (0..lines.len()).filter(|n| lines[*n].starts_with("- apiGroups")).collect();
    assert!(rules.len() > 15);
    for n in rules {
        assert!(lines[n - 1].starts_with("# "), "{} {}", lines[n], lines[n + 1]);
    }
}

#[test]
fn the_controller_holds_what_it_gives_to_routers() {
    let held: ClusterRole = serde_json::from_value(
        objects(&printed(&[])).into_iter().find(|o| o["kind"] == "ClusterRole").unwrap(),
    )
    .unwrap();
    let router = penstock_routers::router::Router {
        namespace: "shop".to_owned(),
        image: "p".to_owned(),
        replicas: 1,
        resources: None,
        pull_policy: None,
        pull_secrets: Vec::new(),
    };
    let mut account = router.service_account(Vec::new());
    account.metadata.uid = Some("u".to_owned());
    let given = router.role(&penstock_routers::router::anchor(&account).unwrap());
    let within = |given: &PolicyRule, held: &PolicyRule| {
        let all = |given: &Option<Vec<String>>, held: &Option<Vec<String>>| {
            given.iter().flatten().all(|g| held.iter().flatten().any(|h| h == g))
        };
        let verbs = given.verbs.iter().all(|verb| held.verbs.contains(verb));
        let named = held.resource_names.is_some();
        !named && verbs && all(&given.api_groups, &held.api_groups) && all(&given.resources, &held.resources)
    };
    for rule in given.rules.unwrap() {
        assert!(held.rules.iter().flatten().any(|held| within(&rule, held)), "{rule:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        &["--namespace", "Shop"][..],
        &["--image", "a b"],
        &["--image", ""],
        &["--prometheus", "prometheus:9090"],
        &["--watch-namespace", "a/b"],
        &["--replicas", "0"],
    ] {
        assert!(Line::try_parse_from(["install"].iter().chain(line)).is_err(), "{line:?}");
    }
}
