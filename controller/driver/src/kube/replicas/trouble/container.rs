//! Why a pod's containers are not ready.

use k8s_openapi::api::core::v1::{
    Container, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;

use super::{Rank, Said, behind, condition, count, plain, since};

/// One container: what was wanted, what is, and what people call it.
struct Seen<'a> {
    wanted: Option<&'a Container>,
    status: &'a ContainerStatus,
    called: String,
    /// It runs once, before the others.
    once: bool,
    /// Since when its pod is not ready.
    unready: Option<&'a Stamp>,
}

pub(super) fn most_telling(pod: &Pod) -> Option<Said> {
    containers(pod).into_iter().filter_map(|seen| seen.said()).min_by_key(|(rank, _)| *rank)
}

fn containers(pod: &Pod) -> Vec<Seen<'_>> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return Vec::new() };
    let unready = condition(pod, "Ready").filter(|ready| ready.status != "True");
    let unready = unready.and_then(|ready| ready.last_transition_time.as_ref());
    let named = |containers: &'_ [Container], name: &str| containers.iter().position(|c| c.name == name);
    let first = status.init_container_statuses.iter().flatten().map(|status| {
        let all = spec.init_containers.as_deref().unwrap_or_default();
        let wanted = named(all, &status.name).map(|n| &all[n]);
        let once = wanted.and_then(|wanted| wanted.restart_policy.as_deref()) != Some("Always");
        Seen { wanted, status, called: format!("init container {}", plain(&status.name)), once, unready }
    });
    let then = status.container_statuses.iter().flatten().map(|status| {
        let wanted = named(&spec.containers, &status.name).map(|n| &spec.containers[n]);
        Seen { wanted, status, called: format!("container {}", plain(&status.name)), once: false, unready }
    });
    first.chain(then).collect()
}

impl Seen<'_> {
    /// Nothing, when all is well with it.
    fn said(&self) -> Option<Said> {
        let state = self.status.state.as_ref()?;
        if self.status.ready {
            return None;
        }
        if let Some(ended) = &state.terminated {
            let done = self.once && ended.exit_code == 0;
            return (!done).then(|| self.ended(ended));
        }
        if let Some(running) = &state.running {
            return Some(self.runs(running));
        }
        state.waiting.as_ref().map(|waiting| self.waits(waiting))
    }

    fn waits(&self, waiting: &ContainerStateWaiting) -> Said {
        let called = &self.called;
        let reason = waiting.reason.as_deref().unwrap_or("ContainerCreating");
        let message = behind(waiting.message.as_deref().map(to_the_point));
        match reason {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => (
                Rank::Image,
                format!("the image {} of {called} can't be pulled ({reason}){message}", self.image()),
            ),
            "InvalidImageName" => {
                (Rank::Refused, format!("the image {} of {called} has no valid name{message}", self.image()))
            }
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError" => {
                (Rank::Refused, format!("{called} can't be started ({reason}){message}"))
            }
            // "back-off 40s restarting failed container": how it ended says more.
            "CrashLoopBackOff" => match self.last_end() {
                Some(ended) => self.ended(ended),
                None => (Rank::Crash, format!("{called} ends again and again, {}", self.restarts())),
            },
            "ContainerCreating" => {
                let lacks = "its volumes, its network or its image are not there yet";
                (Rank::Starting, format!("{called} is being made: {lacks}{message}"))
            }
            "PodInitializing" => {
                (Rank::Starting, format!("{called} waits for those that come before it{message}"))
            }
            other => (Rank::Starting, format!("{called} waits ({}){message}", plain(other))),
        }
    }

    fn runs(&self, running: &ContainerStateRunning) -> Said {
        let called = &self.called;
        if let Some(ended) = self.last_end().filter(|_| self.status.restart_count > 0) {
            let (_, ended) = self.ended(ended);
            return (Rank::Crash, format!("{ended}; it runs again and is not ready"));
        }
        let started = running.started_at.as_ref();
        let unready = since(started.max(self.unready));
        let started = since(started);
        let probe = |probe: fn(&Container) -> bool| self.wanted.is_some_and(probe);
        if self.once {
            (Rank::Starting, format!("{called} runs{started} and has not ended yet"))
        } else if self.status.started == Some(false) && probe(|wanted| wanted.startup_probe.is_some()) {
            (Rank::Unready, format!("{called} runs{started}, and its startup probe has not succeeded yet"))
        } else if probe(|wanted| wanted.readiness_probe.is_some()) {
            (Rank::Unready, format!("{called} is not ready{unready}: its readiness probe does not succeed"))
        } else {
            (Rank::Unready, format!("{called} is not ready{unready}"))
        }
    }

    /// What the process has left as its last words stays out: nobody knows what is in it.
    fn ended(&self, ended: &ContainerStateTerminated) -> Said {
        let called = &self.called;
        let how = match (ended.reason.as_deref(), ended.exit_code) {
            (Some("OOMKilled"), _) => {
                "was killed for taking more memory than its limit (OOMKilled)".to_owned()
            }
            (Some(reason @ ("StartError" | "ContainerCannotRun")), _) => {
                format!("can't be started ({reason}){}", behind(ended.message.as_deref().map(to_the_point)))
            }
            (Some(reason), code) => format!("ended with exit code {code} ({})", plain(reason)),
            (None, code) => format!("ended with exit code {code}"),
        };
        (Rank::Crash, format!("{called} {how}, {}", self.restarts()))
    }

    fn last_end(&self) -> Option<&ContainerStateTerminated> {
        self.status.last_state.as_ref()?.terminated.as_ref()
    }

    fn restarts(&self) -> String {
        match count(self.status.restart_count) {
            1 => "1 restart".to_owned(),
            n => format!("{n} restarts"),
        }
    }

    /// As it was written, not as the kubelet has resolved it.
    fn image(&self) -> String {
        let written = self.wanted.and_then(|wanted| wanted.image.as_deref());
        plain(written.unwrap_or(&self.status.image))
    }
}

/// What is behind the words in which each layer of a runtime wraps the one below.
fn to_the_point(message: &str) -> &str {
    let wraps = ["unable to start container process: ", ": ErrImagePull: "];
    wraps.iter().fold(message, |rest, wrap| rest.split_once(wrap).map_or(rest, |(_, inner)| inner))
}
