//! The examples convert, and the committed definition is the one of the types.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use penstock_crds::{Admitted, Document, Facts, admit, admit_value, read};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn example(name: &str) -> Document {
    let bytes = fs::read(here("examples").join(name)).unwrap();
    let mut documents = read(&bytes, name);
    assert_eq!(documents.len(), 1);
    documents.remove(0).unwrap()
}

/// Without the template: its Kubernetes type prints a thousand lines.
fn told(admitted: &Admitted) -> String {
    let Facts { namespace, name, service, selector, source, marks, sticky, timeout, gates, .. } =
        &admitted.facts;
    let min_ready = admitted.facts.min_ready_seconds;
    let labels = selector.match_labels.as_ref();
    format!(
        "{:#?}\n{namespace}/{name} {service:?}\n{labels:?}\n{source:?}\n{marks:?}\n{sticky:?}\n{timeout:?}\n{gates:?}\n{} freezes\n{:#?}\nready for {min_ready} s\nwarnings: {:?}",
        admitted.strategy,
        admitted.facts.freezes.len(),
        admitted.facts.receivers,
        admitted.warnings
    )
}

#[test]
fn the_minimal_example_has_all_defaults() {
    insta::assert_snapshot!(told(&admit_value(&example("minimal.yaml").value).unwrap()));
}

#[test]
fn the_full_example_keeps_what_it_says() {
    let document = example("full.yaml");
    let (rollout, admitted) = document.rollout().unwrap();
    insta::assert_snapshot!(told(&admitted));
    assert_eq!(admit(&rollout).unwrap(), admitted, "typed and untyped admission agree");
    let again = serde_json::to_value(&rollout).unwrap();
    assert_eq!(again["spec"], document.value["spec"], "nothing is lost");
}

/// Every Rollout in a document is one that would be taken.
#[test]
fn the_rollouts_in_the_documents_are_well() {
    for name in ["gates.md", "notifications.md"] {
        let text = fs::read_to_string(here("../docs").join(name)).unwrap();
        let blocks: Vec<&str> =
            text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{name}");
        for block in blocks {
            for document in read(block.as_bytes(), name) {
                let (_, admitted) = document.unwrap().rollout().unwrap();
                assert!(admitted.warnings.is_empty(), "{name}: {:?}", admitted.warnings);
            }
        }
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_admission() {
    let mut object = example("minimal.yaml").value;
    let plain = admit_value(&object).unwrap();
    let crd = serde_json::to_value(penstock_crds::crd().unwrap()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for (group, parent) in [("analysis", Some("analysis")), ("router", Some("router")), ("spec", None)] {
        let (schema, target) = match parent {
            Some(name) => {
                object["spec"][name] = serde_json::json!({});
                (&schema["properties"][name], &mut object["spec"][name])
            }
            None => (schema, &mut object["spec"]),
        };
        let properties = schema["properties"].as_object().unwrap();
        let defaults: Vec<_> = properties.iter().filter_map(|(k, v)| Some((k, v.get("default")?))).collect();
        assert!(!defaults.is_empty(), "{group}");
        defaults.into_iter().for_each(|(name, value)| target[name] = value.clone());
    }
    assert_eq!(admit_value(&object).unwrap(), plain);
}

#[test]
fn the_committed_definition_is_up_to_date() {
    let committed = fs::read_to_string(here("penstock.dev_rollouts.yaml")).unwrap();
    let generated = serde_saphyr::to_string(&penstock_crds::crd().unwrap()).unwrap();
    assert!(committed == generated, "run: cargo run -p penstock-crds --bin crdgen");
}

#[test]
fn the_committed_reference_is_up_to_date_and_leads_nowhere_that_is_not_there() {
    let committed = fs::read_to_string(here("../docs/api.md")).unwrap();
    let generated = penstock_crds::reference().unwrap();
    assert!(committed == generated, "run: cargo run -p penstock-crds --bin crdgen");
    let heads: Vec<_> = generated.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for field in ["spec.strategy.canary", "spec.analysis.metrics[]", "status.split"] {
        assert!(heads.contains(&field), "{field} has no section");
    }
}
