//! Who somebody with a token is, and what he may: asked of the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use penstock_crds::GROUP;

use super::call::{CallError, call};
use super::cluster::Cluster;
use crate::view::{Person, Right, Stranger};

/// Who has come with a token.
pub(super) async fn admit(cluster: &Cluster, token: Option<&str>) -> Result<Person, Stranger> {
    let token = token.ok_or(Stranger::Unnamed)?;
    let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
    let asked = TokenReview { spec, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(cluster.client.clone());
    let review = call(&cluster.metrics, api.create(&PostParams::default(), &asked)).await.map_err(unasked)?;
    let status = review.status.unwrap_or_default();
    match status.user.filter(|_| status.authenticated == Some(true)).and_then(person) {
        Some(person) => Ok(person),
        None => Err(Stranger::Unknown),
    }
}

/// Whether a person may do that.
pub(super) async fn may(cluster: &Cluster, person: &Person, right: Right<'_>) -> Result<bool, Stranger> {
    let (verb, namespace, name) = match right {
        Right::See(namespace) => ("list", namespace, None),
        Right::Order(of) => ("patch", Some(of.namespace.as_str()), Some(of.name.clone())),
    };
    let attributes = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        resource: Some("rollouts".to_owned()),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        name,
        ..ResourceAttributes::default()
    };
    let extra: BTreeMap<String, Vec<String>> = person.extra.iter().cloned().collect();
    let spec = SubjectAccessReviewSpec {
        user: Some(person.name.clone()),
        uid: person.uid.clone(),
        groups: Some(person.groups.clone()),
        extra: Some(extra),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let asked = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let review = call(&cluster.metrics, api.create(&PostParams::default(), &asked)).await.map_err(unasked)?;
    Ok(review.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

/// Somebody without a name is nobody.
fn person(user: UserInfo) -> Option<Person> {
    let name = user.username.filter(|name| !name.is_empty())?;
    let extra = user.extra.unwrap_or_default().into_iter().collect();
    Some(Person { name, uid: user.uid, groups: user.groups.unwrap_or_default(), extra })
}

fn unasked(error: CallError) -> Stranger {
    Stranger::Unasked(error.why)
}
