//! From objects to what the data plane does: [`source`] is where they come from, the files of a [`folder`] or a cluster
//! ([`kube`]); [`object`] parses, [`route`], [`slice`] and [`backend`] translate, [`assemble`] puts together and
//! remembers what was good last.

pub(crate) mod assemble;
pub(crate) mod backend;
pub(crate) mod contents;
pub(crate) mod folder;
pub(crate) mod kube;
pub(crate) mod object;
pub(crate) mod route;
pub(crate) mod slice;
pub(crate) mod source;
pub(crate) mod watch;
