//! A namespace of a cluster in place of a folder: watches feed an index, out of which tables are made.
//!
//! [`follow`] lists and watches one kind, [`seen`] reads its objects, [`store`] is the index, a plain function of what
//! was heard; [`trouble`] says what stands in the way, [`access`] knows the way to the API server. Nothing here
//! writes to the cluster.

mod access;
mod cluster;
mod delays;
mod follow;
mod kind;
mod lines;
mod seen;
mod store;
mod trouble;

pub(crate) use access::Access;
pub use access::ClusterError;
pub(crate) use cluster::Cluster;
