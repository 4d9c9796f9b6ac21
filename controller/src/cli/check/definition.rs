//! Whether the definition of Rollouts on a cluster is that of this command. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::report::Finding;
use crate::cli::install::CRD;

/// Most fields that are named.
const MOST: usize = 5;

/// How the definition of a cluster differs from ours.
pub(super) fn compare(there: &Value) -> Finding {
    let ours = penstock_crds::read(CRD.as_bytes(), "what is built in");
    let Some(ours) = ours.into_iter().flatten().next() else {
        return Finding::bad("this command has no definition built in", "install another one");
    };
    let (ours, theirs) = (fields(&ours.value), fields(there));
    let lacking: Vec<_> = ours.difference(&theirs).collect();
    let more: Vec<_> = theirs.difference(&ours).collect();
    let version = env!("CARGO_PKG_VERSION");
    match (lacking.is_empty(), more.is_empty()) {
        (true, true) => {
            Finding::good(format!("rollouts.penstock.dev is the definition of version {version}"))
        }
        (false, _) => Finding::bad(
            format!(
                "rollouts.penstock.dev is older than this command ({version}), it lacks {}",
                named(&lacking)
            ),
            "apply it again: penstock install | kubectl apply -f -, or helm upgrade",
        ),
        (true, false) => Finding::warning(
            format!("rollouts.penstock.dev is newer than this command ({version}), it has {}", named(&more)),
            "take the command of the version that is installed",
        ),
    }
}

fn named(fields: &[&String]) -> String {
    let mut names: Vec<_> = fields.iter().take(MOST).map(|name| name.as_str()).collect();
    let more = format!("{} more", fields.len().saturating_sub(MOST));
    if fields.len() > MOST {
        names.push(&more);
    }
    names.join(", ")
}

/// The paths of all fields of `v1alpha1`.
fn fields(definition: &Value) -> BTreeSet<String> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let mut all = BTreeSet::new();
    for version in versions.filter(|version| version["name"] == "v1alpha1") {
        walk(&version["schema"]["openAPIV3Schema"], "", &mut all);
    }
    all
}

fn walk(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        walk(inner, &path, all);
        all.insert(path);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::report::Mark;

    fn ours() -> Value {
        penstock_crds::read(CRD.as_bytes(), "ours").remove(0).unwrap().value
    }

    #[test]
    fn the_same_definition_with_what_an_api_server_adds_is_the_same() {
        let mut there = ours();
        there["metadata"]["annotations"] = serde_json::json!({"a": "b"});
        there["status"] = serde_json::json!({"storedVersions": ["v1alpha1"]});
        assert_eq!(compare(&there).mark, Mark::Good);
    }

    #[test]
    fn an_older_and_a_newer_definition_are_told_apart_by_their_fields() {
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let mut there = ours();
        let fields = there.pointer_mut(spec).unwrap().as_object_mut().unwrap();
        let strategy = fields.remove("strategy").unwrap();
        let told = compare(&there);
        assert!(told.mark == Mark::Bad && told.text.contains("spec.strategy"), "{told:?}");
        let fields = there.pointer_mut(spec).unwrap().as_object_mut().unwrap();
        fields.insert("strategy".to_owned(), strategy);
        fields.insert("mirror".to_owned(), serde_json::json!({"type": "string"}));
        let told = compare(&there);
        assert!(told.mark == Mark::Warning && told.text.contains("spec.mirror"), "{told:?}");
    }
}
