//! What a controller is told for all Rollouts at once.

use penstock_crds::{Freeze, Receiver};

/// What holds for all Rollouts, beside what each says itself.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// When nothing is promoted.
    pub freezes: Vec<Freeze>,
    /// Who is told of decisions. Their Secrets stand in the controller's own namespace.
    pub receivers: Vec<Receiver>,
    /// The address of the on-call page, for links.
    pub page: Option<String>,
}
