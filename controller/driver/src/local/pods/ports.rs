//! Ports for pods: free when they are given, and given once.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Below the ports that systems give to outgoing connections, so that none of those can take one.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// The ports that are given.
#[derive(Debug)]
pub(super) struct Ports {
    given: Mutex<BTreeSet<u16>>,
}

/// No port is left.
#[derive(Debug, thiserror::Error)]
#[error("no port from {} to {} is free on 127.0.0.1: stop what listens there", RANGE.start, RANGE.end - 1)]
pub(super) struct NoPort;

impl Ports {
    /// None is given yet.
    pub(super) fn new() -> Ports {
        Ports { given: Mutex::new(BTreeSet::new()) }
    }

    /// A port on which nobody listens, and that was given to nobody.
    pub(super) fn take(&self) -> Result<u16, NoPort> {
        let mut given = self.given();
        // From anywhere in the range: two folders on one machine hardly ever try the same at the same time.
        let first = fastrand::u16(RANGE);
        let port =
            (first..RANGE.end).chain(RANGE.start..first).find(|port| !given.contains(port) && is_free(*port));
        let port = port.ok_or(NoPort)?;
        given.insert(port);
        Ok(port)
    }

    /// Counts a port as given that a pod has already.
    pub(super) fn claim(&self, port: u16) {
        self.given().insert(port);
    }

    /// Takes a port back.
    pub(super) fn give_back(&self, port: u16) {
        self.given().remove(&port);
    }

    fn given(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nobody listens on a port of 127.0.0.1.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_only_when_it_is_free() {
        let ports = Ports::new();
        let first = ports.take().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert!(!is_free(first));
        let others: BTreeSet<u16> = (0..200).map(|_| ports.take().unwrap()).collect();
        assert_eq!(others.len(), 200);
        assert!(!others.contains(&first));
        drop(listener);
    }
}
