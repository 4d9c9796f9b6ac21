//! What a cluster says of a Rollout before it is applied there. Nothing is written.

use anyhow::Result;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::{Api, Error};
use penstock_core::split::Generation;
use penstock_crds::{API_VERSION, Admitted, Facts, KIND, admit, clashes};
use penstock_driver::kube::replicas::{Wanted, replica_set};
use penstock_routers::apex::{self, Apex, Standing};
use serde_json::Value;

use super::orders::MANAGER;
use super::{Cluster, is_absent, patiently, trouble};
use crate::cli::paint::clean;

/// The group and version without which nothing can be routed.
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

/// What a cluster says of a Rollout.
#[derive(Debug)]
pub(crate) struct Said {
    /// Whether it would not work.
    pub(crate) refused: bool,
    /// The field that it is about.
    pub(crate) path: &'static str,
    pub(crate) text: String,
}

impl Said {
    fn no(path: &'static str, text: impl Into<String>) -> Said {
        Said { refused: true, path, text: text.into() }
    }

    fn yes(path: &'static str, text: impl Into<String>) -> Said {
        Said { refused: false, path, text: text.into() }
    }
}

impl Cluster {
    /// The namespace of what names none.
    pub(crate) fn own_namespace(&self) -> &str {
        &self.namespace
    }

    /// Asks the cluster about a Rollout that is well by itself.
    ///
    /// Errors: the cluster can't be asked.
    pub(crate) fn inspect(&self, object: &Value, admitted: &Admitted) -> Result<Vec<Said>> {
        self.runtime.block_on(async {
            let facts = &admitted.facts;
            let rollout = match self.would_take(facts, object).await? {
                Ok(rollout) => rollout,
                Err(said) => return Ok(vec![said]),
            };
            let uid = rollout.metadata.uid.unwrap_or_default();
            let said = [
                self.gateway_api(facts).await?,
                self.others(facts).await?,
                self.service(facts, &uid).await?,
                self.template(admitted, &uid).await?,
            ];
            Ok(said.into_iter().flatten().collect())
        })
    }

    /// The object as the API server would keep it, or its refusal.
    async fn would_take(&self, facts: &Facts, object: &Value) -> Result<Result<DynamicObject, Said>> {
        let doing = self.doing("patch", Some(&facts.namespace));
        let mut object = object.clone();
        if let Value::Object(fields) = &mut object {
            fields.remove("status");
        }
        let (api, patch) = (self.rollouts(Some(&facts.namespace)), Patch::Apply(&object));
        let taken = patiently(&doing, async || api.patch(&facts.name, &trial(), &patch).await).await?;
        let namespace = &facts.namespace;
        match taken {
            Ok(rollout) => Ok(Ok(rollout)),
            Err(Error::Api(status)) if status.message.contains("namespaces") && status.code == 404 => {
                let text =
                    format!("there is no namespace {namespace}: run `kubectl create namespace {namespace}`");
                Ok(Err(Said::no("metadata.namespace", text)))
            }
            Err(Error::Api(status)) if matches!(status.code, 400 | 422) => {
                let said = clean(&status.message);
                Ok(Err(Said::no("", format!("the cluster does not take it: {said}"))))
            }
            Err(error) => Err(trouble::explain(&error, &doing)),
        }
    }

    async fn gateway_api(&self, facts: &Facts) -> Result<Option<Said>> {
        let doing = self.doing("reach", Some(&facts.namespace));
        let asked = async || self.client.list_api_group_resources(GATEWAY_API).await;
        match patiently(&doing, asked).await? {
            Ok(there) if there.resources.iter().any(|kind| kind.kind == "HTTPRoute") => Ok(None),
            Ok(_) => Ok(Some(no_gateway_api())),
            Err(error) if is_absent(&error) => Ok(Some(no_gateway_api())),
            Err(error) => Err(trouble::explain(&error, &doing)),
        }
    }

    /// Whether it can live beside the Rollouts that are there.
    async fn others(&self, facts: &Facts) -> Result<Option<Said>> {
        let there = self.list(Some(&facts.namespace)).await?;
        let others = there.iter().filter(|saved| saved.name() != facts.name);
        let mut all: Vec<Facts> =
            others.filter_map(|saved| admit(&saved.rollout).ok()).map(|admitted| admitted.facts).collect();
        let last = all.len();
        all.push(facts.clone());
        let clash = clashes(&all).into_iter().find(|(n, _)| *n == last);
        Ok(clash.map(|(_, refusal)| {
            Said::no("spec.service.name", format!("{}; {}", refusal.problem, refusal.remedy))
        }))
    }

    async fn service(&self, facts: &Facts, uid: &str) -> Result<Option<Said>> {
        let doing = self.doing("get", Some(&facts.namespace));
        let api: Api<Service> = Api::namespaced(self.client.clone(), &facts.namespace);
        let name = &facts.service.name;
        let there = match patiently(&doing, async || api.get_opt(name).await).await? {
            Ok(Some(there)) => there,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(untried("spec.service", "its Service can't be looked at", &error))),
        };
        let apex = Apex {
            namespace: facts.namespace.clone(),
            rollout: facts.name.clone(),
            name: name.clone(),
            port: facts.service.port,
            target_port: facts.service.target_port,
        };
        Ok(match apex::state(&there, &apex, uid) {
            Standing::Ours | Standing::Adopted => None,
            Standing::Adoptable => {
                Some(Said::yes("spec.service", format!("the Service {name} will be taken over")))
            }
            Standing::Foreign(conflict) => Some(Said::no("spec.service", conflict.to_string())),
        })
    }

    /// Whether pods can be made from the template, as far as that can be known before they are.
    async fn template(&self, admitted: &Admitted, uid: &str) -> Result<Option<Said>> {
        let Admitted { strategy, facts, .. } = admitted;
        let doing = self.doing("patch", Some(&facts.namespace));
        let owner = OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: facts.name.clone(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let set = replica_set(&Wanted {
            facts,
            revision: &strategy.revision,
            replicas: 0,
            generation: Generation::default(),
            min_ready_seconds: facts.min_ready_seconds,
            owner,
        });
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &facts.namespace);
        let (name, patch) = (set.metadata.name.clone().unwrap_or_default(), Patch::Apply(&set));
        Ok(match patiently(&doing, async || api.patch(&name, &trial(), &patch).await).await? {
            Ok(_) => None,
            // Some values are only found to be none when the object is converted: 500.
            Err(Error::Api(status)) if matches!(status.code, 400 | 422 | 500) => {
                let said = clean(&status.message);
                Some(Said::no("spec.template", format!("no pods can be made from it: {said}")))
            }
            Err(error) => Some(untried("spec.template", "its template can't be tried", &error)),
        })
    }
}

/// Checks everything and writes nothing.
fn trial() -> PatchParams {
    PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    }
}

fn no_gateway_api() -> Said {
    Said::no(
        "",
        "the cluster has no HTTPRoutes: install the Gateway API, see https://gateway-api.sigs.k8s.io/guides",
    )
}

/// What a person may not look at is no fault of the Rollout.
fn untried(path: &'static str, what: &str, error: &Error) -> Said {
    let why = if let Error::Api(status) = error { status.message.clone() } else { error.to_string() };
    Said::yes(path, format!("{what}: {}", clean(&why)))
}
