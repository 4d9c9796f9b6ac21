//! What is asked of the routers of each namespace, on every command line that asks for it.

use clap::Args;
use k8s_openapi::api::core::v1::ResourceRequirements;

/// The image when nobody names one: as old as this command.
const IMAGE: &str = concat!("ghcr.io/penstock/penstock-proxy:", env!("CARGO_PKG_VERSION"));
/// Routers of a namespace when nobody says how many.
const REPLICAS: u32 = 2;

/// The routers of each namespace.
#[derive(Debug, Args)]
pub(super) struct RouterArgs {
    /// The image of the routers
    #[arg(long, value_name = "IMAGE", env = "PENSTOCK_ROUTER_IMAGE", default_value = IMAGE, value_parser = image)]
    pub(super) router_image: String,
    /// Routers of each namespace
    #[arg(long, value_name = "N", env = "PENSTOCK_ROUTER_REPLICAS", default_value_t = REPLICAS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) router_replicas: u32,
    /// What each router may use, as `resources` of a container: {requests: {cpu: 100m}, limits: {memory: 1Gi}}; requests
    /// of 50m and 64Mi and a limit of 512Mi when left out. Memory sets how many connections one takes
    #[arg(long, value_name = "YAML", env = "PENSTOCK_ROUTER_RESOURCES", value_parser = resources)]
    pub(super) router_resources: Option<ResourceRequirements>,
    /// When the image of the routers is pulled: Always, IfNotPresent or Never; as Kubernetes does when left out
    #[arg(long, value_name = "POLICY", env = "PENSTOCK_ROUTER_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(super) router_pull_policy: Option<String>,
    /// A Secret to pull the image of the routers with, in each namespace with a Rollout; may be repeated
    #[arg(
        long = "router-pull-secret",
        value_name = "NAME",
        env = "PENSTOCK_ROUTER_PULL_SECRETS",
        value_delimiter = ','
    )]
    pub(super) router_pull_secrets: Vec<String>,
}

impl RouterArgs {
    /// The same on the command line of a controller, without what goes without saying.
    pub(super) fn arguments(&self) -> Vec<String> {
        let replicas =
            (self.router_replicas != REPLICAS).then(|| format!("--router-replicas={}", self.router_replicas));
        // What was read from text becomes text again.
        let resources = self.router_resources.as_ref().and_then(|r| serde_json::to_string(r).ok());
        let resources = resources.map(|json| format!("--router-resources={json}"));
        let policy = self.router_pull_policy.as_ref().map(|policy| format!("--router-pull-policy={policy}"));
        let secrets = self.router_pull_secrets.iter().map(|name| format!("--router-pull-secret={name}"));
        let image = format!("--router-image={}", self.router_image);
        [Some(image), replicas, resources, policy].into_iter().flatten().chain(secrets).collect()
    }
}

/// The name of an image.
pub(super) fn image(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"./_-:@".contains(&b);
    if (1..=512).contains(&text.len()) && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    Err("write an image as REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST".to_owned())
}

/// Fields that no container has are refused here: an API server would drop them in silence.
fn resources(text: &str) -> Result<ResourceRequirements, String> {
    let mut unknown = Vec::new();
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let read = serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
    let read: ResourceRequirements = read.map_err(|error| error.to_string())?;
    if let Some(field) = unknown.first() {
        return Err(format!("there is no field `{field}`: write requests and limits"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_routers_are_those_of_a_container_and_nothing_else() {
        let read = resources("{requests: {cpu: 100m}, limits: {memory: 1Gi}}").unwrap();
        assert_eq!(read.limits.unwrap()["memory"].0, "1Gi");
        assert_eq!(read.requests.unwrap()["cpu"].0, "100m");
        assert_eq!(resources("{}").unwrap(), ResourceRequirements::default());
        let why = resources("{limit: {memory: 1Gi}}").unwrap_err();
        assert_eq!(why, "there is no field `limit`: write requests and limits");
        assert!(resources("1Gi").is_err() && resources("{limits: [").is_err());
    }
}
