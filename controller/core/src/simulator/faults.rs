//! What goes wrong, how often, and a count of it.

/// Counts of faults that occurred, in a world of so much hostility.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Percent of the usual chances.
    severity: u32,
    counts: std::collections::BTreeMap<&'static str, u32>,
}

/// What people do does not depend on how hostile the world is.
const PEOPLE: [&str; 6] =
    ["order", "template changes", "spec changes", "route edited by hand", "freeze", "gate says no"];

/// Every fault with its chance in percent at each occasion.
const CHANCES: [(&str, u32); 33] = [
    ("state read stale", 15),
    ("second leader acts", 20),
    ("save lost", 5),
    ("save done but reported as failed", 5),
    ("save late", 15),
    ("crash between effects", 10),
    ("write lost", 10),
    ("write late", 15),
    ("write doubled", 10),
    ("write stale by long", 5),
    ("revisions not seen", 10),
    ("route not seen", 8),
    ("proxies not known", 5),
    ("report missing", 8),
    ("report old", 10),
    ("route reaches proxy late", 25),
    ("proxy restarts", 1),
    ("no metrics", 12),
    ("metrics late", 15),
    ("metrics doubled", 10),
    ("metrics half", 8),
    ("metrics lost between", 10),
    ("gate says nothing", 20),
    ("gate says no", 10),
    ("gate answer lost", 15),
    ("gate answer late", 20),
    ("gate answer doubled", 15),
    ("freeze", 1),
    ("pod dies", 3),
    ("order", 5),
    ("template changes", 4),
    ("spec changes", 3),
    ("route edited by hand", 10),
];

impl Faults {
    pub(crate) fn new(severity: u32) -> Faults {
        Faults { severity, ..Faults::default() }
    }

    /// Whether this fault occurs on this occasion.
    pub(crate) fn strike(&mut self, rng: &mut fastrand::Rng, name: &'static str) -> bool {
        let chance = CHANCES.iter().find(|(n, _)| *n == name).map(|(_, c)| *c);
        let chance = chance.unwrap_or_else(|| panic!("{name} is no fault"));
        let severity = if PEOPLE.contains(&name) { 100 } else { self.severity };
        let struck = rng.u32(0..10_000) < chance * severity;
        if struck {
            *self.counts.entry(name).or_default() += 1;
        }
        struck
    }

    pub(crate) fn add(&mut self, other: &Faults) {
        for (name, times) in &other.counts {
            *self.counts.entry(name).or_default() += times;
        }
    }

    pub(crate) fn each(&self, check: impl Fn(&str, u32)) {
        CHANCES.iter().for_each(|(name, _)| check(name, self.counts.get(name).copied().unwrap_or(0)));
    }
}
