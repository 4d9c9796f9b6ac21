//! The end of everything that runs for a folder.

use std::time::Duration;

use super::pods::Supervisor;
use super::proxy::Proxy;

/// Takes away the proxy, which finishes what is in flight, and then the pods: each within half of this time.
///
/// What is written down stays: a later run goes on where this one was. `true`: nothing is left behind.
pub async fn stop_all(proxy: &Proxy, pods: &Supervisor, within: Duration) -> bool {
    let drained = proxy.stop(within / 2).await;
    pods.stop_all(within / 2).await && drained
}
