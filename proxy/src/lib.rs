//! The data plane: splits live traffic between revisions.
