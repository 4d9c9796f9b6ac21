//! Rights as the manifests of `penstock install` give them, and whether somebody has them.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::api::{Api, Denied};

/// Questions on their way at the same time.
const CONCURRENT: usize = 8;

/// One thing that somebody may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Right {
    pub(super) verb: String,
    pub(super) group: String,
    /// With its part behind a slash: `rollouts/status`.
    pub(super) resource: String,
    /// Of one object only.
    pub(super) name: Option<String>,
    /// In one namespace only.
    pub(super) namespace: Option<String>,
}

impl Right {
    /// To do something in all of the cluster.
    pub(super) fn everywhere(verb: &str, group: &str, resource: &str) -> Right {
        let text = str::to_owned;
        Right { verb: text(verb), group: text(group), resource: text(resource), name: None, namespace: None }
    }

    /// As people say it: `patch rollouts.penstock.dev`.
    pub(super) fn words(&self) -> String {
        let (resource, part) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let dot = if self.group.is_empty() { "" } else { "." };
        let slash = if part.is_empty() { "" } else { "/" };
        let name = self.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{} {resource}{dot}{}{slash}{part}{name}", self.verb, self.group)
    }

    fn attributes(&self) -> Value {
        let (resource, part) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        json!({
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": part,
            "name": self.name.as_deref().unwrap_or_default(),
            "namespace": self.namespace.as_deref().unwrap_or_default(),
        })
    }
}

/// All rights of the Roles and ClusterRoles in a manifest, for one namespace or for all.
pub(super) fn given(manifest: &str, namespace: Option<&str>) -> BTreeSet<Right> {
    let documents = penstock_crds::read(manifest.as_bytes(), "what is built in");
    let roles = documents.into_iter().flatten().map(|document| document.value);
    let rules = roles.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default());
    rules.flat_map(|rule| of(&rule, namespace)).collect()
}

fn of(rule: &Value, namespace: Option<&str>) -> Vec<Right> {
    let words = |field: &str| -> Vec<String> {
        let words = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let names: Vec<Option<String>> = match words("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for group in &words("apiGroups") {
        for resource in &words("resources") {
            for verb in &words("verbs") {
                rights.extend(names.iter().map(|name| Right {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    namespace: namespace.map(str::to_owned),
                }));
            }
        }
    }
    rights
}

/// Who is asked about.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// We.
    Me,
    /// A ServiceAccount.
    Account { namespace: String, name: String },
}

/// Which of these rights somebody lacks. Errors: it can't be asked.
pub(super) async fn lacking(api: &Api, who: &Who, rights: BTreeSet<Right>) -> Result<Vec<Right>, Denied> {
    let asked = rights.into_iter().map(|right| async move {
        let (path, question) = question(who, &right);
        let answer = api.ask(path, &question).await?;
        let allowed = answer["status"]["allowed"] == true;
        Ok((!allowed).then_some(right))
    });
    let answers: Vec<Result<Option<Right>, Denied>> =
        stream::iter(asked).buffered(CONCURRENT).collect().await;
    answers.into_iter().filter_map(Result::transpose).collect()
}

fn question(who: &Who, right: &Right) -> (&'static str, Value) {
    let (mut spec, kind, path) = match who {
        Who::Me => {
            (json!({}), "SelfSubjectAccessReview", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        }
        Who::Account { namespace, name } => (
            json!({
                "user": format!("system:serviceaccount:{namespace}:{name}"),
                "groups": [
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated",
                ],
            }),
            "SubjectAccessReview",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        ),
    };
    spec["resourceAttributes"] = right.attributes();
    (path, json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}))
}

/// Rights in a few words.
pub(super) fn listed(rights: &[Right]) -> String {
    const MOST: usize = 6;
    let mut words: Vec<_> = rights.iter().take(MOST).map(Right::words).collect();
    if rights.len() > MOST {
        words.push(format!("and {} more", rights.len() - MOST));
    }
    words.join(", ")
}
