//! `penstock-e2e`: scenarios on a real Kubernetes, each with a client that counts every request.
//!
//! `tests/cluster/e2e` runs it beside a cluster of its own, or with `PENSTOCK_E2E_CLUSTER=existing` on that of
//! `KUBECONFIG`. `ONLY=words` runs the scenarios with these words in their names, `KEEP=1` leaves everything as it is at
//! the end, `PARALLEL=n` says how many run beside each other.

mod scenarios;

use std::process::ExitCode;

use anyhow::Result;
use penstock_tests::cluster::{Place, runner, setup};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let place = Place::from_environment().await?;
    setup::install(&place).await?;
    let total = runner::run(&place, &scenarios::all()).await?;
    runner::say(&format!("\n{}", total.text()));
    Ok(if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
