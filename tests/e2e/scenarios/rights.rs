//! Who may do what.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use penstock_tests::cluster::release::Release;
use penstock_tests::cluster::runner::Kind;
use penstock_tests::cluster::{Figures, Scenario, Shop, kubectl};

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario {
        name: "routers and controller may do what they need and no more",
        kind: Kind::Beside,
        run: |shop| Box::pin(rights(shop)),
    }]
}

/// A verb on a resource of a group (`""`: the core group), in a namespace (`""`: in all).
struct Deed<'a> {
    verb: &'a str,
    group: &'a str,
    resource: &'a str,
    namespace: &'a str,
}

async fn rights(shop: &Shop) -> Result<Figures> {
    let namespace = shop.name.as_str();
    shop.apply(&Release::new("v1")).await?;
    shop.is_stable().await?;
    let router = format!("system:serviceaccount:{namespace}:penstock-router");
    let controller = "system:serviceaccount:penstock-system:penstock-controller".to_owned();
    let deed = |verb, group, resource, namespace| Deed { verb, group, resource, namespace };
    let routes = "gateway.networking.k8s.io";
    let slices = "discovery.k8s.io";

    let mut asked = 0;
    for verb in ["list", "watch"] {
        for (group, resource) in [(routes, "httproutes"), ("", "services"), (slices, "endpointslices")] {
            asked += 1;
            ensure!(
                may(shop, &router, &deed(verb, group, resource, namespace)).await?,
                "a router can't {verb} {resource}"
            );
            for elsewhere in ["", "default", "penstock-system"] {
                asked += 1;
                let there = deed(verb, group, resource, elsewhere);
                ensure!(
                    !may(shop, &router, &there).await?,
                    "a router may {verb} {resource} in {elsewhere:?}"
                );
            }
        }
    }
    let never = [
        deed("get", "", "secrets", namespace),
        deed("get", routes, "httproutes", namespace),
        deed("list", "", "pods", namespace),
        deed("list", "", "configmaps", namespace),
        deed("get", "penstock.dev", "rollouts", namespace),
        deed("update", routes, "httproutes", namespace),
        deed("patch", "", "services", namespace),
        deed("create", "", "pods", namespace),
        deed("create", "", "serviceaccounts/token", namespace),
        deed("list", "", "namespaces", ""),
    ];
    for deed in &never {
        asked += 1;
        ensure!(!may(shop, &router, deed).await?, "a router may {} {}", deed.verb, deed.resource);
    }
    let never = [
        deed("get", "", "secrets", namespace),
        deed("list", "", "secrets", ""),
        deed("create", "", "pods", namespace),
        deed("delete", "", "pods", namespace),
        deed("create", "", "pods/exec", namespace),
        deed("create", "penstock.dev", "rollouts", namespace),
        deed("delete", "penstock.dev", "rollouts", namespace),
        deed("create", "", "namespaces", ""),
        deed("escalate", "rbac.authorization.k8s.io", "roles", namespace),
        deed("create", "rbac.authorization.k8s.io", "clusterroles", ""),
        deed("create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
        deed("impersonate", "", "serviceaccounts", namespace),
        deed("create", "", "serviceaccounts/token", namespace),
        deed("*", "*", "*", ""),
    ];
    for deed in &never {
        asked += 1;
        ensure!(!may(shop, &controller, deed).await?, "the controller may {} {}", deed.verb, deed.resource);
    }
    let pod = shop.kubectl(&["get", "httproutes", "-o", "name", "--as", &router]).await?;
    ensure!(pod.contains("httproute"), "a router sees no HTTPRoute: {pod:?}");
    for refused in [["get", "secrets"], ["get", "pods"]] {
        let said = shop.kubectl(&[&refused[..], &["--as", &router]].concat()).await;
        ensure!(said.is_err_and(|e| e.to_string().contains("forbidden")), "a router may {refused:?}");
    }
    let elsewhere = kubectl(&["get", "httproutes", "-n", "default", "--as", &router]).await;
    ensure!(elsewhere.is_err_and(|e| e.to_string().contains("forbidden")), "a router sees other namespaces");

    let mut figures = Figures::new();
    figures.say(format!("{asked} questions answered as they should be"));
    Ok(figures)
}

/// Whether somebody may, as the API server itself would say.
async fn may(shop: &Shop, who: &str, deed: &Deed<'_>) -> Result<bool> {
    let (resource, sub) = deed.resource.split_once('/').map_or((deed.resource, None), |(r, s)| (r, Some(s)));
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(who.to_owned()),
            groups: Some(vec!["system:serviceaccounts".to_owned(), "system:authenticated".to_owned()]),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(deed.verb.to_owned()),
                group: Some(deed.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: sub.map(str::to_owned),
                namespace: Some(deed.namespace.to_owned()).filter(|n| !n.is_empty()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(shop.place.client.clone());
    let answer = api.create(&PostParams::default(), &review).await.context("ask for rights")?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
