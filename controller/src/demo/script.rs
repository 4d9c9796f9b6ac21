//! What the demo plays: scenes, their manifests, and what each must show.

use std::time::Duration;

/// Time from one measurement to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// A request slower than this is slow.
pub(crate) const SLOW: Duration = Duration::from_millis(250);
/// From the first bad answer to the last answer of a bad revision: an interval, and a second for all else.
pub(crate) const MOST_BORNE: Duration = Duration::from_secs(INTERVAL.as_secs() + 1);
/// Requests that the good release must have had at least.
pub(crate) const LEAST_REQUESTS: u64 = 20_000;
/// The Rollout's name.
pub(crate) const NAME: &str = "checkout";

/// How a release should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// With all traffic, and no request failed.
    Shipped,
    /// Back on the revision before.
    RolledBack,
}

/// One release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// Name of the version.
    pub(crate) version: &'static str,
    /// What it is like, in words.
    pub(crate) like: &'static str,
    /// What makes it so.
    env: &'static [(&'static str, &'static str)],
    /// How its release should end.
    pub(crate) ends: Ends,
}

/// The first version, and the releases after it.
pub(crate) const SCENES: [Scene; 4] = [
    Scene { version: "v1", like: "the first version", env: &[], ends: Ends::Shipped },
    Scene { version: "v2", like: "a good release", env: &[], ends: Ends::Shipped },
    Scene {
        version: "v3",
        like: "fails 20 % of its requests",
        env: &[("FAIL_SHARE", "0.2")],
        ends: Ends::RolledBack,
    },
    Scene {
        version: "v4",
        like: "answers 20 % of its requests too late",
        env: &[("SLOW_SHARE", "0.2"), ("SLOW_MS", "400")],
        ends: Ends::RolledBack,
    },
];

impl Scene {
    /// The Rollout that releases this version. `program`: this program, which is the service, too.
    pub(crate) fn manifest(&self, program: &str, port: u16) -> String {
        let env = [("REVISION_NAME", self.version)].into_iter().chain(self.env.iter().copied());
        let env: Vec<String> =
            env.map(|(name, value)| format!("{{name: {name}, value: \"{value}\"}}")).collect();
        let (env, program) = (env.join(", "), serde_json::Value::from(program));
        let (interval, slow) = (INTERVAL.as_secs(), SLOW.as_millis());
        format!(
            "# {version}: {like}
apiVersion: penstock.dev/v1alpha1
kind: Rollout
metadata:
  name: {NAME}
  namespace: demo
  annotations: {{penstock.dev/local-port: \"{port}\"}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {NAME}}}}}
  template:
    metadata: {{labels: {{app: {NAME}}}}}
    spec:
      containers:
        - name: app
          image: demo/{NAME}:{version}
          command: [{program}, demo-service]
          env: [{env}]
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
  service: {{name: {NAME}, port: 80, targetPort: 8080}}
  strategy:
    canary:
      steps:
        - setWeight: 10
        - pause: {{duration: 3s}}
        - setWeight: 25
        - pause: {{duration: 3s}}
        - setWeight: 50
        - pause: {{duration: 3s}}
        - setWeight: 75
        - pause: {{duration: 3s}}
        - setWeight: 100
        - pause: {{duration: 3s}}
  analysis:
    interval: {interval}s
    metrics:
      - {{name: errors, errorRate: {{max: \"1%\"}}}}
      - {{name: slow, latency: {{quantile: \"0.99\", max: {slow}ms}}}}
",
            version = self.version,
            like = self.like,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_is_a_rollout_of_its_own_revision() {
        let mut revisions = std::collections::BTreeSet::new();
        for scene in SCENES {
            let text = scene.manifest("/a \"strange\"\\path/penstock", 8080);
            for document in penstock_crds::read(text.as_bytes(), "checkout.yaml") {
                let (_, admitted) = document.unwrap().rollout().unwrap();
                assert!(admitted.warnings.is_empty(), "{:?}", admitted.warnings);
                revisions.insert(admitted.strategy.revision);
            }
        }
        assert_eq!(revisions.len(), SCENES.len());
    }
}
