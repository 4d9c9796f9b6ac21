//! Rollouts as people read them. Pure: the present and the colours are arguments.

mod table;
mod tree;

pub(crate) use table::table;
pub(crate) use tree::tree;

#[cfg(test)]
mod tests;
