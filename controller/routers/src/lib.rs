//! Traffic routers: reads and writes splits in their objects.
