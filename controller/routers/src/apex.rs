//! The Service that clients call, on a cluster: made for a Rollout, or taken over from its owner and given back.
//!
//! A Service that is not ours is never touched, unless its owner put the annotation [`ADOPT`] on it.

mod before;
mod fitness;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use penstock_proxy_api::object;

use crate::revision::PORT;
use crate::router;
pub use crate::service::Apex;
use before::Before;

/// Annotation of a Service: with the value `true`, its owner hands it over to the Rollout that names it.
pub const ADOPT: &str = "penstock.dev/adopt";
/// Annotation of a Service that was taken over: what was there, as JSON.
pub const ADOPTED_FROM: &str = "penstock.dev/adopted-from";

/// Whose a Service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was made for this Rollout, or for an earlier one of the same name that left it behind.
    Ours,
    /// It was taken over for this Rollout. [`adopt`] puts it right when somebody has changed it since.
    Adopted,
    /// Its owner hands it over, and [`adopt`] can take it.
    Adoptable,
    /// It is not to be touched.
    Foreign(Conflict),
}

/// Why a Service can't be ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {remedy}")]
pub struct Conflict {
    /// Why.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// The Service that clients call, for a Rollout that finds none of its name.
pub fn service(apex: &Apex, owner: OwnerReference) -> Service {
    let port = ServicePort {
        name: Some(PORT.to_owned()),
        protocol: Some("TCP".to_owned()),
        port: apex.port.into(),
        target_port: Some(IntOrString::Int(apex.target_port.into())),
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(apex.name.clone()),
            namespace: Some(apex.namespace.clone()),
            labels: Some([(object::ROLLOUT.to_owned(), apex.rollout.clone())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            ports: Some(vec![port]),
            selector: Some(router::pods()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Whose the Service of a Rollout's choice is. `uid` is the Rollout's.
pub fn state(service: &Service, apex: &Apex, uid: &str) -> Standing {
    let mut owners = service.metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.find(|owner| owner.controller == Some(true)) {
        return if owner.uid == uid { Standing::Ours } else { Standing::Foreign(owned(apex, owner)) };
    }
    match Before::of(service) {
        Some(Ok(before)) if before.rollout == apex.rollout => return Standing::Adopted,
        Some(Ok(before)) => return Standing::Foreign(taken(apex, &before.rollout)),
        Some(Err(why)) => return Standing::Foreign(unreadable(&apex.namespace, &apex.name, &why)),
        None => {}
    }
    if label(service) == Some(&apex.rollout) && *selector(service) == router::pods() {
        return Standing::Ours;
    }
    if annotation(service, ADOPT) != Some("true") {
        return Standing::Foreign(not_handed_over(apex));
    }
    match fitness::check_fresh(service, apex) {
        Ok(()) => Standing::Adoptable,
        Err(conflict) => Standing::Foreign(conflict),
    }
}

/// Takes a Service over, or puts right one that was: its selector and the target of the port that clients call are
/// the routers', what was there is kept in an annotation, everything else stays. Doing it twice is doing it once.
///
/// Errors: it can't be taken over as it stands; it is left as it was.
pub fn adopt(service: &mut Service, apex: &Apex) -> Result<(), Conflict> {
    let known = match Before::of(service) {
        Some(Err(why)) => return Err(unreadable(&apex.namespace, &apex.name, &why)),
        Some(Ok(before)) if before.rollout != apex.rollout => return Err(taken(apex, &before.rollout)),
        Some(Ok(before)) => Some(before),
        None => None,
    };
    // Somebody who changes a Service that is ours already gets it put right first, and told about it next.
    match known {
        None => fitness::check_fresh(service, apex)?,
        Some(_) => drop(fitness::port(service, apex)?),
    }
    let before = Before::now(service, apex, known);
    before.write(service);
    let labels = service.metadata.labels.get_or_insert_default();
    labels.insert(object::ROLLOUT.to_owned(), apex.rollout.clone());
    let spec = service.spec.get_or_insert_default();
    spec.selector = Some(router::pods());
    for port in spec.ports.iter_mut().flatten().filter(|port| fitness::is_apex(port, apex)) {
        port.target_port = Some(IntOrString::Int(apex.target_port.into()));
    }
    Ok(())
}

/// Whether a Service says all that [`adopt`] would make it say.
pub fn stands(service: &Service, apex: &Apex) -> bool {
    let mut wanted = service.clone();
    adopt(&mut wanted, apex).is_ok() && wanted == *service
}

/// What does not work of a Service that was taken over, because somebody has changed it since.
pub fn warning(service: &Service, apex: &Apex) -> Option<Conflict> {
    fitness::check(service, apex).err()
}

/// Gives a Service back: its selector and the target of its port are what they were, or what somebody has made of
/// them since. A Service that was not taken over stays as it is.
///
/// Errors: what was there can't be read; the Service is left as it was.
pub fn give_back(service: &mut Service) -> Result<(), Conflict> {
    let before = match Before::of(service) {
        None => return Ok(()),
        Some(Ok(before)) => before,
        Some(Err(why)) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let metadata = &service.metadata;
            return Err(unreadable(&text(&metadata.namespace), &text(&metadata.name), &why));
        }
    };
    before.restore(service);
    Ok(())
}

/// The name of the Rollout that a Service was taken over for. `None`: it was not, or it can't be read.
pub fn taken_for(service: &Service) -> Option<String> {
    Some(Before::of(service)?.ok()?.rollout)
}

fn selector(service: &Service) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).unwrap_or(&NONE)
}

fn label(service: &Service) -> Option<&String> {
    service.metadata.labels.as_ref()?.get(object::ROLLOUT)
}

fn annotation<'a>(service: &'a Service, name: &str) -> Option<&'a str> {
    service.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn not_handed_over(apex: &Apex) -> Conflict {
    let Apex { namespace, name, .. } = apex;
    Conflict {
        why: format!("the Service `{name}` is not Penstock's"),
        remedy: format!(
            "to hand it over, run: kubectl annotate service -n {namespace} {name} {ADOPT}=true; else name another one in spec.service.name"
        ),
    }
}

fn owned(apex: &Apex, owner: &OwnerReference) -> Conflict {
    let (name, OwnerReference { kind, name: owner, .. }) = (&apex.name, owner);
    let earlier = kind == "Rollout" && *owner == apex.rollout;
    let remedy = if earlier {
        "it goes with that one, which is deleted: nothing is to be done"
    } else {
        "name another Service in spec.service.name"
    };
    let which = if earlier { "an earlier Rollout".to_owned() } else { format!("the {kind}") };
    Conflict { why: format!("the Service `{name}` belongs to {which} `{owner}`"), remedy: remedy.to_owned() }
}

fn taken(apex: &Apex, rollout: &str) -> Conflict {
    Conflict {
        why: format!("the Service `{}` was handed over to the Rollout `{rollout}`", apex.name),
        remedy: "name another Service in spec.service.name, or delete that Rollout".to_owned(),
    }
}

fn unreadable(namespace: &str, name: &str, why: &str) -> Conflict {
    Conflict {
        why: format!("the annotation {ADOPTED_FROM} of the Service `{name}` can't be read ({why})"),
        remedy: format!(
            "write the Service's own selector and targetPort into it, then run: kubectl annotate service -n {namespace} {name} {ADOPTED_FROM}-"
        ),
    }
}
