//! Traffic routers: reads and writes splits in their objects, one file per router, and the objects that a router
//! needs on a cluster.
//!
//! All of it is pure: an object comes in and goes out, as JSON or as a type of Kubernetes. This crate never does
//! I/O, and never decides who gets which share.

pub mod apex;
pub mod gateway;
pub mod live;
pub mod revision;
pub mod router;
pub mod service;
