//! What a person does, by what a person has.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// A command that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs `kubectl` with these arguments. Errors: it ends with another code than 0; with what it said.
pub async fn kubectl(arguments: &[&str]) -> Result<String> {
    run(arguments, None).await
}

/// `kubectl apply --server-side`, as a GitOps tool does it, of one manifest or a list of them.
pub async fn apply(namespace: &str, manifest: &Value) -> Result<String> {
    let arguments =
        ["apply", "--server-side", "--field-manager=shop", "--force-conflicts", "-n", namespace, "-f", "-"];
    feed(&arguments, manifest).await
}

/// Runs `kubectl` with a manifest on its standard input.
pub async fn feed(arguments: &[&str], manifest: &Value) -> Result<String> {
    run(arguments, Some(serde_json::to_vec(manifest)?)).await
}

/// Runs `kubectl` with this standard input.
pub async fn run(arguments: &[&str], input: Option<Vec<u8>>) -> Result<String> {
    let mut command = Command::new("kubectl");
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().context("start kubectl")?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(&input).await.context("write to kubectl")?;
    }
    let output = timeout(PATIENCE, child.wait_with_output()).await.context("kubectl does not end")??;
    if !output.status.success() {
        bail!("kubectl {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
