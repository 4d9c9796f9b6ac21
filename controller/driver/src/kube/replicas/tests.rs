//! ReplicaSets as API servers have them, and what is seen of them.
