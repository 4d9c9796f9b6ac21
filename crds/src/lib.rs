//! The API types of Penstock and their conversion to the rollout machine's.
