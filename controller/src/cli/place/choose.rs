//! Which place is meant.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use super::cluster::Cluster;
use super::cluster::config::{self, Asked};
use super::folder::Folder;
use super::{Misused, NotFound, Place};
use crate::cli::{called, complete};

/// How the place is found, for `--help`.
pub(crate) const HELP: &str = "\
Without --dir, --context and --kubeconfig, Rollouts are looked for in
  1. the folder of PENSTOCK_DIR
  2. the folder ., if there is a .penstock in it
  3. the cluster of KUBECONFIG, or of ~/.kube/config
  4. inside a pod, the cluster that the pod runs on
`kubectl penstock` leaves the folders out.";

/// Where the Rollouts are.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Where the Rollouts are")]
pub(crate) struct Where {
    /// In this folder, which `penstock local` works on
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// On the cluster of this context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// On the cluster of this kubeconfig
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// In this namespace; when left out, on a cluster the context's, in a folder all of them
    #[arg(short, long, global = true, value_name = "NAMESPACE", add = complete::namespaces())]
    pub(crate) namespace: Option<String>,
}

/// A place by its kind.
pub(crate) enum Either {
    /// A folder; `guessed`: nobody has named it, and there is a cluster that could have been meant.
    Folder {
        dir: PathBuf,
        guessed: bool,
    },
    Cluster(Box<Cluster>),
}

/// What the command line, the environment and the folder say of the place.
#[derive(Clone, Copy, Debug)]
struct Signs<'a> {
    dir: Option<&'a Path>,
    cluster: bool,
    plugin: bool,
    env_dir: Option<&'a Path>,
    own_folder_here: bool,
    cluster_known: bool,
}

/// The place that is meant.
#[derive(Debug, PartialEq, Eq)]
enum Meant<'a> {
    Folder { dir: &'a Path, guessed: bool },
    Cluster,
    Nothing,
}

impl Where {
    /// The place that is meant.
    ///
    /// Errors: [`Misused`] for a folder and a cluster at once, [`NotFound`] where there is neither; a cluster's
    /// configuration that can't be understood.
    pub(crate) fn place(&self) -> Result<Box<dyn Place>> {
        Ok(match self.either()? {
            Either::Folder { dir, guessed } => Box::new(Folder::new(dir, guessed)),
            Either::Cluster(cluster) => cluster,
        })
    }

    /// The place that is meant, where it matters of which kind it is. Errors as those of [`Where::place`].
    pub(crate) fn either(&self) -> Result<Either> {
        let env_dir = env_dir();
        let signs = Signs {
            dir: self.dir.as_deref(),
            cluster: self.names_a_cluster(),
            plugin: called::plugin(),
            env_dir: env_dir.as_deref(),
            own_folder_here: Path::new(".penstock").is_dir(),
            cluster_known: config::is_known(),
        };
        if signs.dir.is_some() && signs.cluster {
            bail!(Misused(
                "--dir names a folder, --context and --kubeconfig a cluster: leave one out".into()
            ));
        }
        Ok(match meant(signs) {
            Meant::Folder { dir, guessed } => Either::Folder { dir: dir.to_owned(), guessed },
            Meant::Cluster => Either::Cluster(Box::new(self.cluster()?)),
            Meant::Nothing => bail!(nothing()),
        })
    }

    /// The cluster that is meant, where only a cluster can be.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        Cluster::new(&self.asked())
    }

    pub(crate) fn asked(&self) -> Asked {
        Asked { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    /// The folder that is meant, where only a folder can be.
    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.clone().or_else(env_dir).unwrap_or_else(|| PathBuf::from("."))
    }

    pub(crate) fn names_a_cluster(&self) -> bool {
        self.context.is_some() || self.kubeconfig.is_some()
    }
}

/// What a person names on the command line goes before the environment, and that before what happens to be there.
/// A folder at hand goes before a cluster at hand: an order that was meant for a laptop must not reach a cluster.
fn meant(signs: Signs<'_>) -> Meant<'_> {
    match signs {
        Signs { dir: Some(dir), .. } => Meant::Folder { dir, guessed: false },
        Signs { cluster: true, .. } | Signs { plugin: true, .. } => Meant::Cluster,
        Signs { env_dir: Some(dir), .. } => Meant::Folder { dir, guessed: false },
        Signs { own_folder_here: true, cluster_known, .. } => {
            Meant::Folder { dir: Path::new("."), guessed: cluster_known }
        }
        Signs { cluster_known: true, .. } => Meant::Cluster,
        _ => Meant::Nothing,
    }
}

fn env_dir() -> Option<PathBuf> {
    env::var_os("PENSTOCK_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Who set it to a file that is not there sees it.
fn env_kubeconfig() -> Option<String> {
    let list = env::var_os("KUBECONFIG").filter(|list| !list.is_empty())?;
    Some(list.to_string_lossy().into_owned())
}

fn nothing() -> NotFound {
    let me = called::name();
    NotFound(format!(
        "nothing was ever run in ., and no cluster is known{}: run `{me} local .`, name another folder with --dir, or \
         a cluster with --kubeconfig",
        env_kubeconfig().map(|list| format!(" (KUBECONFIG is {list})")).unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Signs<'_> = Signs {
        dir: None,
        cluster: false,
        plugin: false,
        env_dir: None,
        own_folder_here: false,
        cluster_known: false,
    };

    fn folder(dir: &str, guessed: bool) -> Meant<'_> {
        Meant::Folder { dir: Path::new(dir), guessed }
    }

    #[test]
    fn what_is_named_goes_before_what_is_there() {
        let (shop, env) = (Some(Path::new("shop")), Some(Path::new("env")));
        let here = Signs { own_folder_here: true, cluster_known: true, ..NONE };
        assert_eq!(meant(Signs { dir: shop, env_dir: env, ..here }), folder("shop", false));
        assert_eq!(meant(Signs { cluster: true, env_dir: env, ..here }), Meant::Cluster);
        assert_eq!(meant(Signs { env_dir: env, ..here }), folder("env", false));
    }

    #[test]
    fn a_folder_at_hand_goes_before_a_cluster_at_hand() {
        assert_eq!(meant(Signs { own_folder_here: true, ..NONE }), folder(".", false));
        assert_eq!(meant(Signs { own_folder_here: true, cluster_known: true, ..NONE }), folder(".", true));
        assert_eq!(meant(Signs { cluster_known: true, ..NONE }), Meant::Cluster);
        assert_eq!(meant(NONE), Meant::Nothing);
    }

    #[test]
    fn a_plugin_of_kubectl_speaks_of_a_cluster() {
        let (shop, env) = (Some(Path::new("shop")), Some(Path::new("env")));
        let plugin = Signs { plugin: true, own_folder_here: true, env_dir: env, ..NONE };
        assert_eq!(meant(plugin), Meant::Cluster);
        assert_eq!(meant(Signs { dir: shop, ..plugin }), folder("shop", false));
    }
}
