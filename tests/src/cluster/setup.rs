//! What a cluster needs before the first scenario: definitions, and a controller with exactly its rights.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::kubectl::{self, kubectl};
use super::place::Place;
use crate::wait::{PATIENCE, wait_until};

/// Namespace and label of the controller's pods.
pub const CONTROLLER: (&str, &str) = ("penstock-system", "app.kubernetes.io/name=penstock-controller");

/// Installs Penstock as `penstock install` says, on a node of ours with the definitions of the Gateway API before it.
pub async fn install(place: &Place) -> Result<()> {
    if place.node.is_some() {
        gateway_api().await?;
    } else if kubectl(&["get", "crd", "httproutes.gateway.networking.k8s.io"]).await.is_err() {
        bail!(
            "this cluster lacks the definitions of the Gateway API: install its standard channel, v1.5.1 or newer"
        );
    }
    let manifests =
        penstock(&["install", "--image", &place.images.penstock, "--router-image", &place.images.proxy])
            .await?;
    kubectl::run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(manifests)).await?;
    ready().await
}

/// Installs the definitions of the Gateway API on a node of ours.
pub async fn gateway_api() -> Result<()> {
    let folder = std::env::var("CLUSTER_BIN").context("CLUSTER_BIN is not set")?;
    kubectl(&["apply", "--server-side", "-f", &format!("{folder}/gateway-api")]).await?;
    Ok(())
}

/// Waits until a controller leads and another one stands by.
pub async fn ready() -> Result<()> {
    let (namespace, label) = CONTROLLER;
    kubectl(&["-n", namespace, "wait", "--for=condition=Ready", "pods", "-l", label, "--timeout=50s"])
        .await?;
    wait_until("a controller leads", PATIENCE, async || {
        let holder =
            ["-n", namespace, "get", "lease", "penstock-controller", "-o", "jsonpath={.spec.holderIdentity}"];
        let holder = kubectl(&holder).await?;
        if holder.is_empty() { bail!("the lease is nobody's") } else { Ok(()) }
    })
    .await
}

/// Sends all controllers of the cluster away, and waits until they are gone.
pub async fn dismiss() -> Result<()> {
    let (namespace, label) = CONTROLLER;
    kubectl(&["-n", namespace, "scale", "deployment/penstock-controller", "--replicas=0"]).await?;
    kubectl(&["-n", namespace, "wait", "--for=delete", "pods", "-l", label, "--timeout=50s"]).await?;
    Ok(())
}

/// Calls the controllers of the cluster back, and waits until they work.
pub async fn recall() -> Result<()> {
    let (namespace, _) = CONTROLLER;
    kubectl(&["-n", namespace, "scale", "deployment/penstock-controller", "--replicas=2"]).await?;
    kubectl(&["-n", namespace, "rollout", "status", "deployment/penstock-controller", "--timeout=50s"])
        .await?;
    ready().await
}

/// What `penstock` prints, the binary beside this one.
pub async fn penstock(arguments: &[&str]) -> Result<Vec<u8>> {
    let output =
        Command::new(program()?).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("penstock {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// The command line of Penstock, built beside this program.
pub fn program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("penstock");
    if !path.is_file() {
        bail!("{} is missing: run it with `make e2e`", path.display());
    }
    Ok(path)
}
