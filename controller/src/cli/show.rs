//! Rollouts as people read them. Pure: the present and the colours are arguments.

mod past;
mod table;
mod tree;

pub(crate) use past::Past;
pub(crate) use table::{columns, table};
pub(crate) use tree::live;
#[cfg(test)]
use tree::tree;

#[cfg(test)]
mod tests;
