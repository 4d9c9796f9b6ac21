//! The port of this machine on which a Rollout is served.

use std::collections::{BTreeMap, BTreeSet};

use super::home::Key;
use super::pods::ports::is_free;

/// Annotation of a Rollout: the port on which it is served in local mode.
pub const LOCAL_PORT: &str = "penstock.dev/local-port";

/// Why a Rollout cannot be served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListenError {
    /// The annotation is no port.
    #[error("{key}: annotation {LOCAL_PORT} is `{text}`; write a port from 1 to 65535, in quotes")]
    NoPort {
        /// The Rollout.
        key: Key,
        /// What it says.
        text: String,
    },
    /// Another Rollout of the folder has the port.
    #[error(
        "{key} cannot be served on port {port}: {other} is; give one of them an annotation {LOCAL_PORT}: \"PORT\""
    )]
    Shared {
        /// The Rollout.
        key: Key,
        /// The port.
        port: u16,
        /// Who has it.
        other: Key,
    },
    /// Another program has the port.
    #[error(
        "{key} cannot be served on port {port}: another program listens there, or it may not be used; stop that \
         program (`ss -ltnp 'sport = :{port}'` names it), or give the Rollout an annotation {LOCAL_PORT}: \"PORT\""
    )]
    InUse {
        /// The Rollout.
        key: Key,
        /// The port.
        port: u16,
    },
}

/// The port that a Rollout asks for: its annotation, else its Service's port, which below 1024 (where only root may
/// listen) becomes 8000 and that.
pub fn wanted(key: &Key, annotation: Option<&str>, service_port: u16) -> Result<u16, ListenError> {
    match annotation {
        Some(text) => {
            let no_port = || ListenError::NoPort { key: key.clone(), text: text.chars().take(40).collect() };
            text.trim().parse().ok().filter(|&port: &u16| port > 0).ok_or_else(no_port)
        }
        None if service_port < 1024 => Ok(8000 + service_port),
        None => Ok(service_port),
    }
}

/// Which Rollout is served on which port.
#[derive(Clone, Debug, Default)]
pub struct Listens {
    ports: BTreeMap<u16, Key>,
}

impl Listens {
    /// Gives a Rollout its port. `own` are the ports on which our proxy listens already: those are in use by us.
    ///
    /// Errors: the port is another Rollout's, or another program's; the Rollout keeps the port that it had.
    pub fn assign(&mut self, key: &Key, port: u16, own: &BTreeSet<u16>) -> Result<(), ListenError> {
        match self.ports.get(&port) {
            Some(other) if other == key => return Ok(()),
            Some(other) => return Err(ListenError::Shared { key: key.clone(), port, other: other.clone() }),
            None if !own.contains(&port) && !is_free(port) => {
                return Err(ListenError::InUse { key: key.clone(), port });
            }
            None => {}
        }
        self.release(key);
        self.ports.insert(port, key.clone());
        Ok(())
    }

    /// The port of a Rollout.
    pub fn of(&self, key: &Key) -> Option<u16> {
        self.ports.iter().find(|(_, owner)| *owner == key).map(|(port, _)| *port)
    }

    /// Takes a Rollout's port back.
    pub fn release(&mut self, key: &Key) {
        self.ports.retain(|_, owner| owner != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("shop", name).unwrap()
    }

    #[test]
    fn a_rollout_asks_for_a_port_that_everybody_may_use() {
        assert_eq!(wanted(&key("a"), None, 80), Ok(8080));
        assert_eq!(wanted(&key("a"), None, 443), Ok(8443));
        assert_eq!(wanted(&key("a"), None, 9000), Ok(9000));
        assert_eq!(wanted(&key("a"), Some(" 7000 "), 80), Ok(7000));
        for text in ["0", "65536", "http", ""] {
            assert!(matches!(wanted(&key("a"), Some(text), 80), Err(ListenError::NoPort { .. })), "{text}");
        }
    }

    #[test]
    fn a_port_in_use_is_refused_with_its_remedy() {
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = stranger.local_addr().unwrap().port();
        let mut listens = Listens::default();
        let refused = listens.assign(&key("a"), port, &BTreeSet::new()).unwrap_err().to_string();
        for part in ["shop/a", &port.to_string(), LOCAL_PORT] {
            assert!(refused.contains(part), "{refused}");
        }
        listens.assign(&key("a"), port, &BTreeSet::from([port])).unwrap();
        let refused = listens.assign(&key("b"), port, &BTreeSet::from([port])).unwrap_err();
        assert!(refused.to_string().contains("shop/a is"), "{refused}");
        assert_eq!((listens.of(&key("a")), listens.of(&key("b"))), (Some(port), None));
    }
}
