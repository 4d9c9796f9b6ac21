//! The proxy's decisions, in the order of a request.
