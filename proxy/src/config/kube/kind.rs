//! The kinds of objects that are watched, and what is kept of each.

use std::fmt::Debug;

use gateway_api::httproutes::HttpRoute;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::object::Object;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Route,
    Slice,
    Service,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Route, Kind::Slice, Kind::Service];

    /// Its name in objects.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Route => "HTTPRoute",
            Kind::Slice => "EndpointSlice",
            Kind::Service => "Service",
        }
    }

    /// Its name in the API's paths and in Roles, with its group.
    pub(crate) fn resource(self) -> (&'static str, &'static str) {
        match self {
            Kind::Route => ("httproutes", "gateway.networking.k8s.io"),
            Kind::Slice => ("endpointslices", "discovery.k8s.io"),
            Kind::Service => ("services", ""),
        }
    }
}

/// A type of objects that can be watched.
pub(crate) trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    const KIND: Kind;
    /// Only objects with this label are watched.
    const LABEL: Option<&'static str>;
    /// Whether fields that the type does not know are worth a word.
    const STRICT: bool;

    /// Takes away what no table needs.
    fn slim(document: &mut Value);

    fn object(self) -> Object;
}

impl Watched for HttpRoute {
    const KIND: Kind = Kind::Route;
    const LABEL: Option<&'static str> = Some(penstock_proxy_api::object::ROLLOUT);
    const STRICT: bool = true;

    fn slim(document: &mut Value) {
        remove(document, "status");
    }

    fn object(self) -> Object {
        Object::Route(std::sync::Arc::new(self))
    }
}

impl Watched for EndpointSlice {
    const KIND: Kind = Kind::Slice;
    const LABEL: Option<&'static str> = Some(crate::config::slice::SERVICE_NAME);
    const STRICT: bool = false;

    fn slim(document: &mut Value) {
        let endpoints = document.get_mut("endpoints").and_then(Value::as_array_mut);
        for endpoint in endpoints.into_iter().flatten() {
            keep(endpoint, &["addresses", "conditions"]);
        }
    }

    fn object(self) -> Object {
        Object::Slice(Box::new(self.into()))
    }
}

impl Watched for Service {
    const KIND: Kind = Kind::Service;
    const LABEL: Option<&'static str> = None;
    const STRICT: bool = false;

    fn slim(document: &mut Value) {
        remove(document, "status");
        document.get_mut("spec").into_iter().for_each(|spec| keep(spec, &["ports"]));
    }

    fn object(self) -> Object {
        Object::Service(Box::new(self))
    }
}

/// Removes a field.
pub(crate) fn remove(document: &mut Value, field: &str) {
    document.as_object_mut().and_then(|fields| fields.remove(field));
}

/// Removes all other fields.
pub(crate) fn keep(document: &mut Value, fields: &[&str]) {
    if let Some(object) = document.as_object_mut() {
        object.retain(|field, _| fields.contains(&field.as_str()));
    }
}
