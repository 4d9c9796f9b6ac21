//! Manifests of Rollouts, as a person would write them.

use serde_json::{Value, json};

use super::place::Images;

/// The name of Rollout and Service.
pub const ROLLOUT: &str = "checkout";

/// A release of the test application.
#[derive(Clone, Debug)]
pub struct Release {
    /// What its answers say.
    pub version: String,
    /// `spec.replicas`; left out when somebody else owns it.
    pub replicas: Option<u32>,
    /// Variables of its pods, beside `VERSION`.
    pub env: Vec<(String, String)>,
    /// The image of its pods, when it is another.
    pub image: Option<String>,
    /// `spec.strategy.canary.steps`.
    pub steps: Value,
    /// `spec.analysis`.
    pub analysis: Value,
    /// `spec.progressDeadlineSeconds`.
    pub deadline: u32,
    /// What else stands in the spec.
    pub more: Value,
}

impl Release {
    /// Two pods of a version that works: 20 and 50 % with a second each, judged each second.
    pub fn new(version: &str) -> Release {
        Release {
            version: version.to_owned(),
            replicas: Some(2),
            env: Vec::new(),
            image: None,
            steps: steps(&[20, 50], "1s"),
            analysis: json!({
                "source": {"proxy": {}},
                "interval": "1s",
                "minRequests": 20,
                "metrics": [{"name": "errors", "errorRate": {"max": "1%"}}],
            }),
            deadline: 120,
            more: json!({}),
        }
    }

    /// The same with another version, which works.
    pub fn with_version(&self, version: &str) -> Release {
        Release { version: version.to_owned(), env: Vec::new(), image: None, ..self.clone() }
    }

    /// The same with a variable more for its pods.
    pub fn with_env(&self, name: &str, value: impl ToString) -> Release {
        let mut release = self.clone();
        release.env.push((name.to_owned(), value.to_string()));
        release
    }

    /// The same with other steps.
    pub fn with_steps(&self, steps: Value) -> Release {
        Release { steps, ..self.clone() }
    }

    /// The same with another analysis; fields that are left out stay.
    pub fn with_analysis(&self, analysis: &Value) -> Release {
        let mut release = self.clone();
        merge(&mut release.analysis, analysis);
        release
    }

    /// The pod template.
    pub fn template(&self, images: &Images) -> Value {
        let env = |name: &str, value: &str| json!({"name": name, "value": value});
        let own = [env("HOST", "0.0.0.0"), env("PORT", "8080"), env("VERSION", &self.version)];
        let more = self.env.iter().map(|(name, value)| env(name, value));
        // A pod that answers late on a busy machine must not count as one that is not ready.
        json!({
            "metadata": {"labels": {"app": ROLLOUT}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "app",
                    "image": self.image.as_ref().unwrap_or(&images.test),
                    "env": own.into_iter().chain(more).collect::<Vec<_>>(),
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5},
                    "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        })
    }

    /// The whole Rollout.
    pub fn manifest(&self, images: &Images) -> Value {
        let mut spec = json!({
            "selector": {"matchLabels": {"app": ROLLOUT}},
            "template": self.template(images),
            "service": {"name": ROLLOUT, "port": 80, "targetPort": "http"},
            "strategy": {"canary": {"steps": self.steps}},
            "analysis": self.analysis,
            "progressDeadlineSeconds": self.deadline,
        });
        if let Some(replicas) = self.replicas {
            spec["replicas"] = replicas.into();
        }
        merge(&mut spec, &self.more);
        json!({
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": ROLLOUT},
            "spec": spec,
        })
    }
}

/// These weights, with so long a pause after each.
pub fn steps(weights: &[u8], pause: &str) -> Value {
    let step = |weight: &u8| [json!({"setWeight": weight}), json!({"pause": {"duration": pause}})];
    Value::Array(weights.iter().flat_map(step).collect())
}

/// These weights; a person is waited for at the first.
pub fn steps_that_wait(weights: &[u8]) -> Value {
    let mut all: Vec<Value> = weights.iter().map(|weight| json!({"setWeight": weight})).collect();
    all.insert(1.min(all.len()), json!({"pause": {}}));
    Value::Array(all)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
