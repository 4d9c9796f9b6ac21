//! An object as the API server sent it: what of it is needed, or why it can't be used.
//!
//! An object that does not fit its type is no error of the list or watch that it came with: the others are good.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

use super::kind::{Watched, keep};
use crate::config::object::{Id, Object, typed};

/// Most fields of an object that are named as unknown.
const MAX_UNKNOWN: usize = 20;

/// An object of type `K`, or what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Seen<K> {
    metadata: ObjectMeta,
    read: Result<K, String>,
    unknown: Vec<String>,
}

/// An object for the index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) id: Id,
    /// The object, or what can't be read of it.
    pub(crate) object: Result<Object, String>,
    /// What of it has no effect.
    pub(crate) notes: Vec<String>,
}

impl<K> Seen<K> {
    /// The version of the collection that it was sent with.
    pub(crate) fn version(&self) -> Option<String> {
        self.metadata.resource_version.clone().filter(|version| !version.is_empty())
    }
}

impl<K: Watched> Seen<K> {
    pub(crate) fn id(&self) -> Id {
        let name = self.metadata.name.clone().unwrap_or_default();
        Id { kind: K::KIND.name(), namespace: self.metadata.namespace.clone().unwrap_or_default(), name }
    }

    pub(crate) fn found(self) -> Found {
        let id = self.id();
        let note = |field| format!("{field}: is no known field and has no effect; correct or remove it");
        let notes = self.unknown.into_iter().map(note).collect();
        Found { id, object: self.read.map(K::object), notes }
    }
}

impl<'de, K: Watched> Deserialize<'de> for Seen<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seen<K>, D::Error> {
        let mut document = Value::deserialize(deserializer)?;
        let metadata = document.get("metadata").cloned().unwrap_or_default();
        let mut metadata = serde_json::from_value::<ObjectMeta>(metadata).map_err(D::Error::custom)?;
        metadata.managed_fields = None;
        slim::<K>(&mut document);
        let mut unknown = Vec::new();
        let read = typed(&document, &mut unknown);
        unknown.retain(|field| K::STRICT && field != "apiVersion" && field != "kind");
        unknown.truncate(MAX_UNKNOWN);
        Ok(Seen { metadata, read, unknown })
    }
}

/// Takes away what no table needs. What changes often, as versions do, would make equal objects differ.
fn slim<K: Watched>(document: &mut Value) {
    K::slim(document);
    let Some(metadata) = document.get_mut("metadata") else { return };
    keep(metadata, &["name", "namespace", "uid", "labels", "annotations"]);
    for ours in ["labels", "annotations"] {
        if let Some(all) = metadata.get_mut(ours).and_then(Value::as_object_mut) {
            all.retain(|name, _| name.starts_with("penstock.dev/") || Some(name.as_str()) == K::LABEL);
        }
    }
}

impl<K: Watched> Resource for Seen<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use gateway_api::httproutes::HttpRoute;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use serde_json::json;

    use super::*;
    use crate::config::slice::Condition;

    fn metadata(name: &str) -> Value {
        json!({
            "name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl"}],
            "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "b"}],
            "labels": {"app": "shop", "penstock.dev/rollout": "shop", "kubernetes.io/service-name": "shop"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "penstock.dev/generation": "4"},
        })
    }

    fn found<K: Watched>(document: Value) -> Found {
        let seen: Seen<K> = serde_json::from_value(document).unwrap();
        assert_eq!(seen.version().as_deref(), Some("7"));
        seen.found()
    }

    #[test]
    fn only_what_tables_need_is_kept() {
        let endpoint = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "nodeName": "a", "zone": "b",
            "targetRef": {"kind": "Pod", "name": "p"}});
        let slice = json!({"metadata": metadata("s"), "addressType": "IPv4", "endpoints": [endpoint],
            "ports": [{"port": 80}]});
        let Object::Slice(slice) = found::<EndpointSlice>(slice).object.unwrap() else { unreachable!() };
        assert_eq!(slice.service.as_deref(), Some("shop"));
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(
            (slice.endpoints.as_ref(), slice.ports.len()),
            ([(address, Condition::Ready)].as_slice(), 1)
        );
        let service = json!({"metadata": metadata("s"), "status": {"loadBalancer": {}},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 80, "targetPort": 10001}]}});
        let Object::Service(service) = found::<Service>(service).object.unwrap() else { unreachable!() };
        let meta = service.metadata;
        assert_eq!((meta.managed_fields.is_some(), meta.owner_references.is_some()), (false, false));
        assert_eq!((&meta.resource_version, meta.annotations.unwrap().len()), (&None, 1));
        assert_eq!(meta.labels.unwrap().into_keys().collect::<Vec<_>>(), ["penstock.dev/rollout"]);
        let spec = service.spec.unwrap();
        assert_eq!((spec.cluster_ip, spec.ports.unwrap().len(), service.status), (None, 1, None));
    }

    #[test]
    fn a_route_whose_status_alone_differs_is_the_same() {
        let route = |version: &str, status: Value| {
            let mut metadata = metadata("r");
            metadata["resourceVersion"] = version.into();
            let route = json!({"metadata": metadata, "spec": {"rules": []}, "status": status});
            serde_json::from_value::<Seen<HttpRoute>>(route).unwrap().found()
        };
        assert_eq!(route("7", json!({"parents": []})), route("8", json!({"parents": [{"any": "thing"}]})));
    }

    #[test]
    fn an_object_that_does_not_fit_is_named_with_its_field() {
        let found =
            found::<HttpRoute>(json!({"metadata": metadata("r"), "spec": {"rules": [{"matches": 7}]}}));
        assert_eq!(found.id.to_string(), "HTTPRoute shop/r");
        let problem = found.object.unwrap_err();
        assert!(problem.starts_with("spec.rules[0].matches: "), "{problem}");
    }

    #[test]
    fn fields_of_a_route_that_have_no_effect_are_named_and_those_of_others_are_not() {
        let route = json!({"metadata": metadata("r"), "spec": {"rules": [], "rulez": []}});
        assert!(found::<HttpRoute>(route).notes[0].starts_with("spec.rulez: is no known field"));
        let service = json!({"metadata": metadata("s"), "spec": {"ports": []}, "brandNew": {}});
        assert_eq!(found::<Service>(service).notes.len(), 0);
    }
}
