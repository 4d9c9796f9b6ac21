//! What no index needs of the objects.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::Resource;

pub(super) fn metadata<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Of a pod, its state is of interest, and what of its spec explains it.
pub(super) fn pod(pod: &mut Pod) {
    metadata(pod);
    pod.metadata.annotations = None;
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: spec.init_containers.map(|all| all.into_iter().map(container).collect()),
        node_name: spec.node_name,
        readiness_gates: spec.readiness_gates,
        ..PodSpec::default()
    });
}

fn container(container: Container) -> Container {
    Container {
        name: container.name,
        image: container.image,
        restart_policy: container.restart_policy,
        readiness_probe: container.readiness_probe,
        startup_probe: container.startup_probe,
        ..Container::default()
    }
}
