//! What a Service was before it was taken over.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use penstock_proxy_api::object;
use serde::{Deserialize, Serialize};

use super::{ADOPTED_FROM, Apex, annotation, fitness, label, selector};
use crate::router;

/// What a Service was, as the annotation keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Before {
    /// The Rollout that it was taken over for.
    pub(super) rollout: String,
    /// The label that names a Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    selector: BTreeMap<String, String>,
    /// The port that clients call.
    ports: Vec<Port>,
    /// What its target was made.
    listen: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    port: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_port: Option<IntOrString>,
}

impl Port {
    fn of(port: &ServicePort) -> Port {
        Port { port: port.port, protocol: port.protocol.clone(), target_port: port.target_port.clone() }
    }

    fn is(&self, other: &ServicePort) -> bool {
        let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        self.port == other.port && protocol(&self.protocol) == protocol(&other.protocol)
    }
}

impl Before {
    /// What the annotation says. `None`: there is none. Errors: it can't be read, and why.
    pub(super) fn of(service: &Service) -> Option<Result<Before, String>> {
        let text = annotation(service, ADOPTED_FROM)?;
        let before = serde_json::from_str::<Before>(text).map_err(|error| error.to_string());
        Some(before.and_then(|before| {
            let known = !before.selector.is_empty() && before.selector != router::pods();
            if known { Ok(before) } else { Err("it has no selector but the routers'".to_owned()) }
        }))
    }

    /// What stands in a Service, or stood there when it was taken over. What somebody else has written since counts
    /// as what was there.
    pub(super) fn now(service: &Service, apex: &Apex, known: Option<Before>) -> Before {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let present: Vec<Port> = ports.filter(|port| fitness::is_apex(port, apex)).map(Port::of).collect();
        let Some(known) = known else {
            return Before {
                rollout: apex.rollout.clone(),
                label: label(service).cloned(),
                selector: selector(service).clone(),
                ports: present,
                listen: apex.target_port,
            };
        };
        let theirs = theirs(service);
        let changed = |port: &Port| !ours(port.target_port.as_ref(), known.listen);
        let ports = if present.iter().any(changed) { present } else { known.ports.clone() };
        Before {
            selector: if theirs.is_empty() { known.selector.clone() } else { theirs },
            ports,
            listen: apex.target_port,
            ..known
        }
    }

    pub(super) fn write(&self, service: &mut Service) {
        // A map of texts and numbers always becomes JSON.
        let text = serde_json::to_string(self).unwrap_or_default();
        service.metadata.annotations.get_or_insert_default().insert(ADOPTED_FROM.to_owned(), text);
    }

    pub(super) fn restore(self, service: &mut Service) {
        let theirs = theirs(service);
        let Before { label, selector, ports, listen, .. } = self;
        let spec = service.spec.get_or_insert_default();
        spec.selector = Some(if theirs.is_empty() { selector } else { theirs });
        for port in spec.ports.iter_mut().flatten() {
            if let Some(was) =
                ports.iter().find(|was| was.is(port) && ours(port.target_port.as_ref(), listen))
            {
                port.target_port.clone_from(&was.target_port);
            }
        }
        put(&mut service.metadata.labels, object::ROLLOUT, label);
        put(&mut service.metadata.annotations, ADOPTED_FROM, None);
    }
}

/// A selector that somebody else has written: `kubectl apply` adds to what is there and takes nothing away.
fn theirs(service: &Service) -> BTreeMap<String, String> {
    let routers = router::pods();
    let others = selector(service).iter().filter(|(name, value)| routers.get(*name) != Some(value));
    others.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn ours(target: Option<&IntOrString>, listen: u16) -> bool {
    target == Some(&IntOrString::Int(listen.into()))
}

/// An empty map is none, as an API server has it.
fn put(map: &mut Option<BTreeMap<String, String>>, name: &str, value: Option<String>) {
    match value {
        Some(value) => drop(map.get_or_insert_default().insert(name.to_owned(), value)),
        None => {
            map.as_mut().and_then(|map| map.remove(name));
        }
    }
    if map.as_ref().is_some_and(BTreeMap::is_empty) {
        *map = None;
    }
}
