//! Manifests of Rollouts as a person would write them.

use std::fmt::Write;

use anyhow::Result;

use crate::{port, server};

/// A Rollout of the test application. Its parts are the texts that a person would write.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name, and its Service's.
    pub name: String,
    /// The port of loopback on which it is served.
    pub port: u16,
    /// What its answers say.
    pub version: String,
    /// `spec.replicas`.
    pub replicas: u32,
    /// The command of its pods.
    pub command: String,
    /// Variables of its pods, beside `VERSION`.
    pub env: Vec<(String, String)>,
    /// `spec.strategy.canary.steps`, an item each.
    pub steps: Vec<String>,
    /// `spec.analysis.interval`.
    pub interval: String,
    /// `spec.analysis.minRequests`.
    pub min_requests: u32,
    /// `spec.analysis.metrics`, an item each.
    pub metrics: Vec<String>,
    /// `spec.progressDeadlineSeconds`.
    pub deadline: u32,
    /// More lines of `spec`, without indentation.
    pub more: Vec<String>,
}

impl Manifest {
    /// Two pods of a version that work, on a free port; 20 and 50 % with 400 ms each.
    ///
    /// Errors: the application is not built, or no port is free.
    pub fn new(name: &str, version: &str) -> Result<Manifest> {
        let manifest = Manifest {
            name: name.to_owned(),
            port: port::free()?,
            version: version.to_owned(),
            replicas: 2,
            command: server::binary("penstock-test-app")?.display().to_string(),
            env: Vec::new(),
            steps: Vec::new(),
            interval: "200ms".to_owned(),
            min_requests: 10,
            // No limit on latency: a busy machine is no fault of a version.
            metrics: vec!["{name: errors, errorRate: {max: \"1%\"}}".to_owned()],
            deadline: 20,
            more: Vec::new(),
        };
        Ok(manifest.with_steps(&["setWeight: 20", PAUSE, "setWeight: 50", PAUSE]))
    }

    /// The same with another version, which works.
    pub fn with_version(&self, version: &str) -> Manifest {
        Manifest { version: version.to_owned(), env: Vec::new(), ..self.clone() }
    }

    /// The same with a variable more for its pods.
    pub fn with_env(&self, name: &str, value: impl ToString) -> Manifest {
        let mut manifest = self.clone();
        manifest.env.push((name.to_owned(), value.to_string()));
        manifest
    }

    /// The same with other steps: `setWeight: 10`, `pause: {}`.
    pub fn with_steps(&self, steps: &[&str]) -> Manifest {
        Manifest { steps: steps.iter().map(|step| (*step).to_owned()).collect(), ..self.clone() }
    }

    /// The same with one line more in its spec.
    pub fn with(&self, line: &str) -> Manifest {
        let mut manifest = self.clone();
        manifest.more.push(line.to_owned());
        manifest
    }

    /// The name of its file.
    pub fn file(&self) -> String {
        format!("{}.yaml", self.name)
    }

    /// Its text.
    pub fn text(&self) -> String {
        let Manifest { name, port, version, replicas, command, interval, min_requests, deadline, .. } = self;
        let env: String = self.env.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = write!(text, "\n            - {{name: {name}, value: \"{value}\"}}");
            text
        });
        let items = |items: &[String], indent: &str| -> String {
            items.iter().map(|item| format!("\n{indent}- {item}")).collect()
        };
        let more: String = self.more.iter().map(|line| format!("  {line}\n")).collect();
        let (steps, metrics) = (items(&self.steps, "        "), items(&self.metrics, "      "));
        format!(
            r#"apiVersion: penstock.dev/v1alpha1
kind: Rollout
metadata:
  name: {name}
  annotations: {{penstock.dev/local-port: "{port}"}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: app
          image: {name}:{version}
          command: ["{command}"]
          readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}}}
          ports: [{{containerPort: 8080}}]
          env:
            - {{name: VERSION, value: "{version}"}}{env}
  service: {{name: {name}, port: 80, targetPort: 8080}}
  strategy:
    canary:
      steps:{steps}
  analysis:
    interval: {interval}
    minRequests: {min_requests}
    metrics:{metrics}
  progressDeadlineSeconds: {deadline}
{more}"#
        )
    }
}

/// A short pause.
pub const PAUSE: &str = "pause: {duration: 400ms}";
