//! Traffic routers: reads and writes splits in their objects, one file per router.
//!
//! All of it is pure: an object comes in as JSON and goes out as JSON. This crate never does I/O, and never decides
//! who gets which share.

pub mod gateway;
pub mod service;
