//! One run: what all measurements need.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::backends::Backends;
use crate::machine::Machine;
use crate::peers::Wanted;
use crate::place::Place;

/// What costs our proxy something and is off unless asked for.
const FEATURES: [&str; 2] = ["--access-log=sampled:100", "--begin-traces=unsampled"];
/// Connections that a proxy has room for where few are needed.
const FEW_CONNECTIONS: usize = 4096;

/// Programs that are measured.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) penstock: PathBuf,
    pub(crate) envoy: PathBuf,
    /// Options of our proxy that turn features on, of those that it has.
    pub(crate) features: Vec<&'static str>,
    /// Name and version of each.
    pub(crate) versions: Vec<String>,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// The same, for latencies: what one request in 100 meets is seldom, and often the machine's.
    pub(crate) latency_rounds: usize,
    /// Of one measurement in one round.
    pub(crate) time: Duration,
}

impl Effort {
    /// Two minutes in all.
    pub(crate) const QUICK: Effort = Effort { rounds: 1, latency_rounds: 1, time: Duration::from_secs(1) };
    /// For figures to be published.
    pub(crate) const FULL: Effort = Effort { rounds: 5, latency_rounds: 15, time: Duration::from_secs(2) };
}

/// All that a measurement needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) tools: Tools,
    pub(crate) effort: Effort,
    pub(crate) backends: Backends,
    pub(crate) place: Place,
}

impl Bench {
    /// The usual: nginx behind, few connections.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted { upstreams: self.backends.ports, connections: FEW_CONNECTIONS }
    }
}

impl Tools {
    /// Looks at what is there.
    pub(crate) fn find(penstock: PathBuf, envoy: PathBuf) -> Result<Tools> {
        let help = said(&penstock, &["run", "--help"])?;
        let versions = [
            said(&penstock, &["--version"])?,
            said("nginx".as_ref(), &["-v"])?,
            said("haproxy".as_ref(), &["-v"])?,
            said(&envoy, &["--version"])?,
            said("wrk".as_ref(), &["-v"])?,
            said("h2load".as_ref(), &["--version"])?,
        ];
        let versions = versions.iter().map(|text| version(text)).collect();
        let has = |feature: &&&str| feature.split('=').next().is_some_and(|option| help.contains(option));
        let features = FEATURES.iter().filter(has).copied().collect();
        Ok(Tools { features, penstock, envoy, versions })
    }
}

fn said(program: &Path, arguments: &[&str]) -> Result<String> {
    let out = Command::new(program).args(arguments).output();
    let out =
        out.with_context(|| format!("{} is missing; tests/bench/install gets it", program.display()))?;
    Ok(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

/// The first line that is not empty, without paths, addresses and copyrights.
fn version(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line =
        line.split(" Copyright").next().unwrap_or_default().split(" - http").next().unwrap_or_default();
    match line.split_once(" version: ") {
        Some((path, version)) if path.contains('/') => {
            let number = version.split('/').nth(1).unwrap_or(version);
            format!("{} {number}", path.trim().rsplit('/').next().unwrap_or_default())
        }
        _ => line.trim().to_owned(),
    }
}

/// Tells the person at the terminal how far it is.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stderr(), "bench: {line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_name_no_paths() {
        assert_eq!(version("\n/a/b/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n"), "envoy 1.40.0");
        assert_eq!(version("nginx version: nginx/1.22.1\n"), "nginx version: nginx/1.22.1");
        assert_eq!(
            version("HAProxy version 2.6.12-1 2026/10/17 - https://x/\n"),
            "HAProxy version 2.6.12-1 2026/10/17"
        );
    }
}
