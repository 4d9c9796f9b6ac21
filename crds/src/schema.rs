//! The definition of the kind as it is applied to a cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::rollout::Rollout;

/// Where the schema of the status stands in the definition.
const STATUS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
/// The generation that a Rollout answers which no controller has seen. Without any, kstatus takes it for ready.
const UNSEEN: i64 = -1;

/// The CustomResourceDefinition of the Rollout. Errors: serde's, should the definition not survive its cleaning.
pub fn crd() -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut definition = serde_json::to_value(Rollout::crd())?;
    clean(&mut definition);
    if let Some(status) = definition.pointer_mut(STATUS) {
        status["default"] = json!({"observedGeneration": UNSEEN});
    }
    serde_json::from_value(definition)
}

/// Formats that an API server knows; it warns about every other one.
const FORMATS: [&str; 5] = ["int32", "int64", "float", "double", "date-time"];

fn clean(value: &mut Value) {
    if let Some(members) = value.as_object_mut() {
        let unknown = members.get("format").and_then(Value::as_str).is_some_and(|f| !FORMATS.contains(&f));
        if unknown {
            members.remove("format");
        }
        // Without it, an API server takes null for a field that was left out, and fills in the default.
        if members.get("nullable").is_some_and(Value::is_boolean) {
            members.remove("nullable");
        }
        members.values_mut().for_each(clean);
    } else if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(clean);
    }
}
