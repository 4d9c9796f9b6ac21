//! Services and EndpointSlices as files have them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use penstock_core::revision::Revision;
use penstock_routers::service::{Apex, Backend, Endpoint, apex, service, slices};

fn endpoint(pod: &str, address: &str, ready: bool, terminating: bool) -> Endpoint {
    Endpoint { pod: pod.into(), address: address.parse().unwrap(), ready, terminating }
}

fn backend(endpoints: Vec<Endpoint>) -> Backend {
    Backend {
        namespace: "shop".into(),
        rollout: "checkout".into(),
        revision: Revision::new("aa").unwrap(),
        app_protocol: None,
        endpoints,
    }
}

#[test]
fn the_service_that_clients_call_leads_to_the_proxy() {
    let apex = apex(&Apex {
        namespace: "shop".into(),
        rollout: "checkout".into(),
        name: "checkout".into(),
        port: 80,
        target_port: 20_001,
    });
    insta::assert_json_snapshot!([apex, service(&backend(vec![]), 8080)]);
}

#[test]
fn each_port_has_a_slice_of_its_own() {
    let backend = Backend {
        app_protocol: Some("kubernetes.io/h2c".into()),
        ..backend(vec![
            endpoint("checkout-aa-2", "127.0.0.1:9002", true, true),
            endpoint("checkout-aa-1", "127.0.0.1:9001", true, false),
            endpoint("checkout-aa-3", "127.0.0.1:9002", false, false),
            endpoint("checkout-aa-4", "[::1]:9002", true, false),
        ])
    };
    insta::assert_json_snapshot!(slices(&backend));
}

#[test]
fn a_slice_has_at_most_a_thousand_endpoints() {
    let many = (0..2500).map(|n| endpoint(&format!("p{n}"), "127.0.0.1:80", true, false)).collect();
    let slices = slices(&backend(many));
    let names: BTreeSet<_> = slices.iter().map(|s| s["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["checkout-aa-80", "checkout-aa-80-2", "checkout-aa-80-3"]
    );
    assert_eq!(slices.iter().map(|s| s["endpoints"].as_array().unwrap().len()).sum::<usize>(), 2500);
}
