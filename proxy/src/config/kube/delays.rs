//! How long to wait before the next attempt: longer each time, within bounds, never quite the same.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
/// Long enough to let an API server come up in peace, short enough to hear of a new endpoint soon after.
const LONGEST: Duration = Duration::from_secs(5);

/// Delays that grow.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    failures: u32,
}

impl Delays {
    /// All is well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait, between one half of a bound and the bound. `random` is any number.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = bound / 2;
        half + half.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_begin_anew() {
        let mut delays = Delays::default();
        let least: Vec<_> = (0..8).map(|_| delays.next(0).as_millis()).collect();
        assert_eq!(least, [100, 200, 400, 800, 1600, 2500, 2500, 2500]);
        assert!(delays.next(u64::MAX) <= LONGEST);
        delays.reset();
        assert!(delays.next(u64::MAX) <= FIRST);
        (0..100).for_each(|_| assert!(delays.next(u64::MAX) <= LONGEST));
    }
}
