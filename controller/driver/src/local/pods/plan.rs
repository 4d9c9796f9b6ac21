//! From a pod template to what is started for it.
//!
//! Of the template's first container: `command`, `args`, `env` with values, `workingDir`, `readinessProbe`; of the
//! pod: `terminationGracePeriodSeconds`. The image is not looked at: the command runs on this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec};

use super::expand::expand;
use super::probe::{self, Probe};
use crate::local::process::Start;

/// What is started for each pod of a template.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    command: Vec<String>,
    env: Vec<(String, String)>,
    dir: PathBuf,
    /// How its readiness is found out.
    pub(super) probe: Probe,
    /// From SIGTERM to SIGKILL.
    pub(super) grace: Duration,
    /// What of the template has no effect here although it matters, in words.
    pub(super) left_out: Vec<String>,
}

/// What tells one pod of a template from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) pod: &'a str,
    pub(super) namespace: &'a str,
    pub(super) revision: &'a str,
    pub(super) port: u16,
}

impl Plan {
    /// Reads a template. `home` is the folder that relative paths begin in.
    ///
    /// Errors: what cannot be run here, in words, with what to write instead.
    pub(super) fn read(template: &PodTemplateSpec, home: &Path) -> Result<Plan, String> {
        let pod = template.spec.as_ref().ok_or("the template has no spec: write one with a container")?;
        let container = pod.containers.first().ok_or("the template has no container: write one")?;
        let grace = u64::try_from(pod.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(0);
        Ok(Plan {
            command: command(container)?,
            env: env(container)?,
            dir: home.join(container.working_dir.as_deref().unwrap_or(".")),
            probe: probe::of(container)?,
            grace: Duration::from_secs(grace),
            left_out: left_out(pod, container),
        })
    }

    /// What is started for one pod.
    pub(super) fn start(&self, named: Named<'_>, mark: String) -> Start {
        let env = self.env_of(named);
        let known = |name: &str| env.get(name).map(String::as_str);
        let mut words = self.command.iter().map(|word| expand(word, known));
        let program = self.program(words.next().unwrap_or_default());
        let args = words.map(OsString::from).collect();
        Start { program, args, env, dir: self.dir.clone(), mark }
    }

    /// A path is meant from where the program runs, a bare name is looked up in `PATH`.
    fn program(&self, word: String) -> OsString {
        if word.contains('/') { self.dir.join(word).into() } else { word.into() }
    }

    /// Later values may name earlier ones. What names the pod cannot be overwritten.
    fn env_of(&self, named: Named<'_>) -> BTreeMap<String, String> {
        let ours = [
            ("PORT", named.port.to_string()),
            ("POD_NAME", named.pod.to_owned()),
            ("POD_NAMESPACE", named.namespace.to_owned()),
            ("PENSTOCK_REVISION", named.revision.to_owned()),
        ];
        let mut env: BTreeMap<String, String> = ours.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let fixed: Vec<String> = env.keys().cloned().collect();
        for (name, value) in self.env.iter().filter(|(name, _)| !fixed.contains(name)) {
            let value = expand(value, |name| env.get(name).map(String::as_str));
            env.insert(name.clone(), value);
        }
        env
    }
}

fn command(container: &Container) -> Result<Vec<String>, String> {
    let mut words = container.command.clone().unwrap_or_default();
    if words.is_empty() {
        return Err(format!(
            "container `{}` has no command: images are not run in local mode, so write `command: [PROGRAM, …]`",
            container.name
        ));
    }
    words.extend(container.args.clone().unwrap_or_default());
    match words.iter().find(|word| word.contains('\0')) {
        Some(_) => {
            Err(format!("the command of container `{}` has a NUL character: take it out", container.name))
        }
        None => Ok(words),
    }
}

fn env(container: &Container) -> Result<Vec<(String, String)>, String> {
    if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return Err(format!(
            "container `{}` has envFrom: there are no ConfigMaps and Secrets in local mode, so write `env` with values",
            container.name
        ));
    }
    container.env.iter().flatten().map(|variable| value(container, variable)).collect()
}

fn value(container: &Container, variable: &EnvVar) -> Result<(String, String), String> {
    let EnvVar { name, value, value_from } = variable;
    if value_from.is_some() {
        return Err(format!(
            "variable `{name}` of container `{}` has valueFrom: in local mode a variable has a `value`; POD_NAME, \
             POD_NAMESPACE, PENSTOCK_REVISION and PORT are set for every pod",
            container.name
        ));
    }
    let value = value.clone().unwrap_or_default();
    if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
        return Err(format!(
            "container `{}` has a variable `{name}` that no process can have: rename it",
            container.name
        ));
    }
    Ok((name.clone(), value))
}

fn left_out(pod: &PodSpec, container: &Container) -> Vec<String> {
    let some = |there: bool, what: String| there.then_some(what);
    let first = &container.name;
    [
        some(pod.containers.len() > 1, format!("only the first of its containers, `{first}`, is run")),
        some(
            pod.init_containers.iter().flatten().next().is_some(),
            "its init containers are not run".to_owned(),
        ),
        some(
            container.volume_mounts.iter().flatten().next().is_some(),
            "its volumes are not mounted".to_owned(),
        ),
        some(container.liveness_probe.is_some(), "its liveness probe is not asked".to_owned()),
        some(container.startup_probe.is_some(), "its startup probe is not asked".to_owned()),
        some(container.lifecycle.is_some(), "its lifecycle hooks are not run".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NAMED: Named<'_> =
        Named { pod: "checkout-5c6b7-abcde", namespace: "shop", revision: "5c6b7", port: 20_123 };

    fn plan(container: Value) -> Result<Plan, String> {
        let template = serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap();
        Plan::read(&template, Path::new("/home/ada/shop"))
    }

    #[test]
    fn words_and_values_name_variables() {
        let plan = plan(json!({
            "name": "app", "command": ["./server", "--port=$(PORT)"], "args": ["$(GREETING)", "$$(PORT)"],
            "workingDir": "bin",
            "env": [{"name": "WHO", "value": "$(POD_NAME)"}, {"name": "GREETING", "value": "hello $(WHO) $(LATER)"},
                    {"name": "LATER", "value": "x"}, {"name": "PORT", "value": "8080"}],
        }));
        let start = plan.unwrap().start(NAMED, "m".into());
        assert_eq!(start.program, "/home/ada/shop/bin/./server");
        assert_eq!(start.args, ["--port=20123", "hello checkout-5c6b7-abcde $(LATER)", "$(PORT)"]);
        assert_eq!(start.env["PORT"], "20123");
        assert_eq!(start.dir, Path::new("/home/ada/shop/bin"));
    }

    #[test]
    fn what_cannot_be_run_here_says_what_to_write() {
        let refused = [
            (json!({"name": "app", "image": "nginx"}), "has no command"),
            (json!({"name": "app", "command": ["x"], "envFrom": [{"prefix": "a"}]}), "envFrom"),
            (json!({"name": "app", "command": ["x"], "env": [{"name": "A", "valueFrom": {}}]}), "valueFrom"),
            (json!({"name": "app", "command": ["x"], "env": [{"name": "A=B", "value": ""}]}), "A=B"),
            (json!({"name": "app", "command": ["x"], "readinessProbe": {"grpc": {"port": 1}}}), "grpc"),
        ];
        for (container, part) in refused {
            let why = plan(container).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let template = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "init"}],
            "containers": [{"name": "app", "command": ["x"]}, {"name": "sidecar"}],
        }}));
        let plan = Plan::read(&template.unwrap(), Path::new("/")).unwrap();
        assert_eq!(plan.left_out.len(), 2, "{:?}", plan.left_out);
    }
}
