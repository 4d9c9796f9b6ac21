//! A Prometheus in a pod that finds the routers of its namespace by itself, and scrapes them each 5 seconds.

use anyhow::Result;
use serde_json::{Value, json};

use super::shop::Shop;

const CONFIGURATION: &str = "
global: {scrape_interval: 5s, scrape_timeout: 4s}
scrape_configs:
  - job_name: routers
    kubernetes_sd_configs: [{role: pod, namespaces: {own_namespace: true}}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_label_penstock_dev_component], regex: router, action: keep}
      - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: admin, action: keep}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: instance}
";

/// The manifests of one.
pub fn manifests(shop: &Shop) -> Value {
    let named = json!({"name": "prometheus"});
    let read = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "prometheus"});
    let subject = json!([{"kind": "ServiceAccount", "name": "prometheus", "namespace": shop.name}]);
    let rbac = "rbac.authorization.k8s.io/v1";
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {"apiVersion": rbac, "kind": "Role", "metadata": named, "rules": read},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": named, "roleRef": role_ref, "subjects": subject},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {"prometheus.yml": CONFIGURATION}},
        {"apiVersion": "v1", "kind": "Service", "metadata": named,
         "spec": {"selector": {"app": "prometheus"}, "ports": [{"port": 9090}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": named, "spec": {
            "selector": {"matchLabels": {"app": "prometheus"}},
            "template": {"metadata": {"labels": {"app": "prometheus"}}, "spec": pod(&shop.place.images.prometheus)},
        }},
    ]})
}

/// Starts one, and waits until it is ready. Its address.
pub async fn start(shop: &Shop) -> Result<String> {
    shop.put(&manifests(shop)).await?;
    shop.kubectl(&["rollout", "status", "deployment/prometheus", "--timeout=50s"]).await?;
    Ok(format!("http://prometheus.{}.svc.cluster.local:9090", shop.name))
}

fn pod(image: &str) -> Value {
    json!({
        "serviceAccountName": "prometheus",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [
            {"name": "configuration", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ],
        "containers": [{
            "name": "prometheus",
            "image": image,
            "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"],
            "ports": [{"containerPort": 9090}],
            "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "configuration", "mountPath": "/etc/prometheus"},
                {"name": "data", "mountPath": "/data"},
            ],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}
