//! Endpoints of pods as files that the proxy reads: one EndpointSlice per pod, for each has a port of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use penstock_core::revision::Revision;
use penstock_routers::service::{Backend, Endpoint, slices};
use serde_json::Value;

use super::files::{self, Care, FileError};
use super::home::{Home, Key};

const END: &str = ".endpointslice.json";

/// The endpoint of one pod.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Its Rollout.
    pub key: &'a Key,
    /// Its revision.
    pub revision: &'a Revision,
    /// Its name.
    pub pod: &'a str,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What it speaks: `kubernetes.io/h2c`; HTTP/1.1 when left out.
    pub app_protocol: Option<&'a str>,
    /// Whether it can be sent to.
    pub ready: bool,
}

/// The endpoints of a folder.
#[derive(Clone, Debug)]
pub struct Endpoints {
    dir: PathBuf,
}

impl Endpoints {
    /// The endpoints of a folder.
    pub fn new(home: &Home) -> Endpoints {
        Endpoints { dir: home.proxy() }
    }

    /// Makes a pod's endpoint known.
    pub fn publish(&self, endpoint: Published<'_>) -> Result<(), FileError> {
        let path = self.path(endpoint.key, endpoint.revision, endpoint.pod);
        let bytes = serde_json::to_vec_pretty(&slice(endpoint))
            .map_err(|e| FileError::new("write", &path, e.into()))?;
        files::write(&path, &bytes, Care::Quick)
    }

    /// Takes a pod's endpoint away.
    pub fn withdraw(&self, key: &Key, revision: &Revision, pod: &str) -> Result<(), FileError> {
        files::remove(&self.path(key, revision, pod)).map(drop)
    }

    /// Takes away all endpoints but those of pods that are kept.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), FileError> {
        for path in files::list(&self.dir, usize::MAX)? {
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(END));
            let Some(pod) = name.and_then(|n| n.rsplit('.').next()) else { continue };
            if !keep(pod) {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    /// The file of a pod's endpoint.
    pub fn path(&self, key: &Key, revision: &Revision, pod: &str) -> PathBuf {
        self.dir.join(format!("{}-{revision}.{pod}{END}", key.stem()))
    }
}

fn slice(endpoint: Published<'_>) -> Option<Value> {
    let Published { key, revision, pod, port, app_protocol, ready } = endpoint;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let backend = Backend {
        namespace: key.namespace().to_owned(),
        rollout: key.name().to_owned(),
        revision: revision.clone(),
        app_protocol: app_protocol.map(str::to_owned),
        endpoints: vec![Endpoint { pod: pod.to_owned(), address, ready, terminating: false }],
    };
    slices(&backend).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_endpoint_is_a_slice_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let endpoints = Endpoints::new(&home);
        let (key, revision) = (Key::new("shop", "checkout").unwrap(), Revision::new("5c6b7").unwrap());
        for pod in ["a", "b"] {
            endpoints
                .publish(Published {
                    key: &key,
                    revision: &revision,
                    pod,
                    port: 20_001,
                    app_protocol: None,
                    ready: true,
                })
                .unwrap();
        }
        let path = home.proxy().join("shop.checkout-5c6b7.a.endpointslice.json");
        let slice: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "checkout-5c6b7");
        assert_eq!(slice["metadata"]["labels"]["penstock.dev/revision"], "5c6b7");
        assert_eq!(slice["endpoints"][0]["addresses"][0], "127.0.0.1");
        assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
        assert_eq!(slice["ports"][0]["port"], 20_001);
        endpoints.retain(|pod| pod == "b").unwrap();
        assert!(!path.exists());
        endpoints.withdraw(&key, &revision, "b").unwrap();
        assert!(files::list(&home.proxy(), 9).unwrap().is_empty());
    }
}
