//! How long to wait before the next try.

use std::time::Duration;

use super::Backoff;

impl Backoff {
    /// The wait before try number `tries` (0: the first after a failure): anything up to a bound
    /// that doubles, so that many agents spread over time. `dice` is in `0.0..1.0`.
    pub fn wait(&self, tries: u32, dice: f64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(tries));
        doubled.min(self.longest).mul_f64(dice.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_over_all_of_it() {
        let backoff = Backoff::default();
        let bounds: Vec<u128> =
            [0, 1, 2, 3, 4, 5, 40].map(|tries| backoff.wait(tries, 1.0).as_millis()).to_vec();
        assert_eq!(bounds, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.wait(3, 0.5), Duration::from_millis(800));
    }
}
