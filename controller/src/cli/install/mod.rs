//! `penstock install`: the manifests of the controller.

mod sheet;

use std::io::{Write, stdout};

use anyhow::{Result, bail};
use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use penstock_crds::is_label;
use serde_json::Value;

use super::Exit;
use super::place::Misused;
use super::routers::{RouterArgs, image};
use sheet::{Sheet, sheets};

pub(super) const CRD: &str = include_str!("../../../../crds/penstock.dev_rollouts.yaml");
const NAMESPACE: &str = include_str!("../../../deploy/namespace.yaml");
pub(super) const ACCOUNT: &str = include_str!("../../../deploy/account.yaml");
pub(super) const RIGHTS: &str = include_str!("../../../deploy/rights.yaml");
const PEOPLE: &str = include_str!("../../../deploy/people.yaml");
const PAGE: &str = include_str!("../../../deploy/page.yaml");
const CONTROLLER: &str = include_str!("../../../deploy/controller.yaml");

/// Namespaces that a cluster has by itself; their labels are others' affair.
const GIVEN: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

#[derive(Debug, Args)]
#[command(after_help = "It only prints. Each right of the controller stands there with its reason.

Examples:
  penstock install | kubectl apply -f -
  penstock install --prometheus http://prometheus.monitoring:9090 | kubectl apply -f -
  penstock install --watch-namespace shop | kubectl diff -f -")]
pub(super) struct Install {
    /// The namespace of the controller
    #[arg(short, long, value_name = "NAMESPACE", default_value = "penstock-system", value_parser = label)]
    namespace: String,
    /// The image of the controller
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/penstock/penstock:", env!("CARGO_PKG_VERSION")), value_parser = image)]
    image: String,
    #[command(flatten)]
    routers: RouterArgs,
    /// The Prometheus that judges Rollouts that name no source; the routers themselves when left out
    #[arg(long, value_name = "URL", value_parser = url)]
    prometheus: Option<String>,
    /// The only namespace with Rollouts: the controller gets rights there and nowhere else
    #[arg(long, value_name = "NAMESPACE", value_parser = label)]
    watch_namespace: Option<String>,
    /// Controllers: one leads, the others stand by
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Whether the page is served; by default it is, but not with --watch-namespace: who a visitor is and what he may is
    /// asked of the whole cluster
    #[arg(long, value_name = "BOOL")]
    page: Option<bool>,
}

impl Install {
    pub(super) fn run(&self) -> Result<Exit> {
        stdout().write_all(self.text()?.as_bytes())?;
        Ok(Exit::Good)
    }

    fn text(&self) -> Result<String> {
        let mut all = Vec::new();
        if !GIVEN.contains(&self.namespace.as_str()) {
            all.extend(sheets(NAMESPACE, "namespace.yaml")?);
        }
        all.extend(sheets(ACCOUNT, "account.yaml")?);
        let mut rights = sheets(RIGHTS, "rights.yaml")?;
        if let Some(namespace) = &self.watch_namespace {
            if *namespace == self.namespace {
                bail!(Misused("the controller's own namespace can't be the one it watches".to_owned()));
            }
            rights.iter_mut().for_each(|sheet| confine(sheet.value(), namespace));
        }
        all.extend(rights);
        all.extend(sheets(PEOPLE, "people.yaml")?);
        if self.has_page() {
            all.extend(sheets(PAGE, "page.yaml")?);
        }
        all.extend(sheets(CONTROLLER, "controller.yaml")?);
        for sheet in &mut all {
            house(sheet.value(), &self.namespace);
            if sheet.kind() == "Deployment" {
                sheet.typed(|deployment: &mut Deployment| self.set(deployment))?;
            }
        }
        let texts: Vec<String> = all.iter().map(Sheet::text).collect();
        let head = format!("# Penstock {}, as printed by `penstock install`.\n", env!("CARGO_PKG_VERSION"));
        Ok(format!("{head}# What a Rollout is.\n{CRD}---\n{}", texts.join("---\n")))
    }

    fn set(&self, deployment: &mut Deployment) {
        let Some(spec) = &mut deployment.spec else { return };
        spec.replicas = Some(self.replicas.into());
        let containers = spec.template.spec.iter_mut().flat_map(|pod| &mut pod.containers);
        containers.for_each(|container: &mut Container| {
            container.image = Some(self.image.clone());
            container.args.get_or_insert_default().extend(self.arguments());
            let ports = container.ports.get_or_insert_default();
            ports.retain(|port| self.has_page() || port.name.as_deref() != Some("page"));
        });
    }

    fn arguments(&self) -> Vec<String> {
        let prometheus = self.prometheus.as_ref().map(|url| format!("--prometheus={url}"));
        let namespace = self.watch_namespace.as_ref().map(|name| format!("--watch-namespace={name}"));
        let page = self.has_page().then(|| "--page=0.0.0.0:9903".to_owned());
        let others = [prometheus, namespace, page].into_iter().flatten();
        self.routers.arguments().into_iter().chain(others).collect()
    }

    fn has_page(&self) -> bool {
        self.page.unwrap_or(self.watch_namespace.is_none())
    }
}

/// Moves an object, and the accounts that it names, into the controller's namespace.
fn house(object: &mut Value, namespace: &str) {
    const OURS: &str = "penstock-system";
    if object["kind"] == "Namespace" {
        object["metadata"]["name"] = namespace.into();
    }
    if object["metadata"]["namespace"] == OURS {
        object["metadata"]["namespace"] = namespace.into();
    }
    for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        subject["namespace"] = namespace.into();
    }
}

/// Rights in one namespace in place of all.
fn confine(object: &mut Value, namespace: &str) {
    let narrow = |kind: &Value| Value::from(kind.as_str().unwrap_or_default().trim_start_matches("Cluster"));
    object["kind"] = narrow(&object["kind"]);
    object["metadata"]["namespace"] = namespace.into();
    if let Some(kind) = object.pointer_mut("/roleRef/kind") {
        *kind = narrow(kind);
    }
}

/// The name of a namespace: a DNS label (RFC 1123).
fn label(text: &str) -> Result<String, String> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err("a namespace has 1 to 63 characters of a-z, 0-9 and -, first and last no -".to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let known = ["http", "https"];
    match text.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str().is_some_and(|s| known.contains(&s)) && uri.host().is_some() => {
            Ok(text.to_owned())
        }
        _ => Err("write an address as http://prometheus.monitoring:9090".to_owned()),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
