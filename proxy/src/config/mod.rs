//! From files to what the data plane does: [`folder`] reads, [`object`] parses, [`route`] and [`backend`]
//! translate, [`assemble`] puts together and remembers what was good last.

pub(crate) mod assemble;
pub(crate) mod backend;
pub(crate) mod contents;
pub(crate) mod folder;
pub(crate) mod kube;
pub(crate) mod object;
pub(crate) mod route;
pub(crate) mod source;
pub(crate) mod watch;
