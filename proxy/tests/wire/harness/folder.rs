//! The folder of files.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub struct Folder(TempDir);

/// The split of the Rollout `shop` between `v1` and `v2`.
#[derive(Clone, Debug)]
pub struct Split {
    pub generation: u64,
    weights: (u32, u32),
    port: u16,
    annotations: String,
    rules: String,
    rule: String,
}

impl Split {
    pub fn new(generation: u64, v1: u32, v2: u32) -> Split {
        let empty = String::new;
        Split { generation, weights: (v1, v2), port: 0, annotations: empty(), rules: empty(), rule: empty() }
    }

    pub fn port(mut self, port: u16) -> Split {
        self.port = port;
        self
    }

    pub fn annotation(mut self, name: &str, value: &str) -> Split {
        self.annotations += &format!("    {name}: \"{value}\"\n");
        self
    }

    /// A rule after the split, in YAML's flow style.
    pub fn and_rule(mut self, rule: &str) -> Split {
        self.rules += &format!("    - {rule}\n");
        self
    }

    /// More fields of the split's own rule.
    pub fn field(mut self, field: &str) -> Split {
        self.rule += &format!("      {field}\n");
        self
    }

    pub fn yaml(&self) -> String {
        let Split { generation, weights: (v1, v2), port, annotations, rules, rule } = self;
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: shop\n  annotations:\n\
             \x20   penstock.dev/generation: \"{generation}\"\n{annotations}spec:\n  parentRefs:\n\
             \x20   - {{group: \"\", kind: Service, name: shop, port: {port}}}\n  rules:\n    - backendRefs:\n\
             \x20       - {{name: shop-v1, port: 80, weight: {v1}}}\n\
             \x20       - {{name: shop-v2, port: 80, weight: {v2}}}\n{rule}{rules}"
        )
    }
}

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file as a whole.
    pub fn put(&self, name: &str, text: &str) {
        let hidden = self.file(&format!(".{name}"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.file(name)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    pub fn route(&self, split: &Split) {
        self.put("route.yaml", &split.yaml());
    }

    pub fn endpoints(&self, service: &str, ports: &[u16]) {
        self.endpoints_of(service, ports, "");
    }

    pub fn endpoints_of(&self, service: &str, ports: &[u16], app_protocol: &str) {
        self.endpoints_that_are(service, ports, app_protocol, "{}");
    }

    pub fn endpoints_that_are(&self, service: &str, ports: &[u16], app_protocol: &str, conditions: &str) {
        let slice = |(i, port): (usize, &u16)| {
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-{i}\n\
                 \x20 labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\n\
                 ports: [{{port: {port}{app_protocol}}}]\n\
                 endpoints: [{{addresses: [127.0.0.1], conditions: {conditions}}}]\n---\n"
            )
        };
        let empty = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}}}\n\
             addressType: IPv4\nendpoints: []\n"
        );
        let slices: String = ports.iter().enumerate().map(slice).collect();
        self.put(&format!("{service}.yaml"), if ports.is_empty() { &empty } else { &slices });
    }
}
