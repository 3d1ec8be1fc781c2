//! A rate over the last few seconds, from samples of a total.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(5);
/// Most samples held, however often they are taken.
const SAMPLES_MOST: usize = 64;

/// Samples of a total that only rises.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Takes a sample; call about once a second.
    pub fn sample(&mut self, now: Instant, total: u64) {
        // One sample at or before the window's start stays: it is what the newest is compared with.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
            || self.samples.len() >= SAMPLES_MOST
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, total));
    }

    /// Events per second over the samples held; 0 until there are two.
    pub fn per_second(&self) -> f64 {
        let (Some((from, old)), Some((to, new))) = (self.samples.front(), self.samples.back()) else { return 0.0 };
        let elapsed = to.saturating_duration_since(*from).as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // A rate for people.
        let events = new.saturating_sub(*old) as f64;
        if elapsed > 0.0 { events / elapsed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_five_seconds_count() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.per_second().to_bits(), 0.0f64.to_bits());
        for second in 0..20u64 {
            let total = if second < 10 { second * 1000 } else { 10_000 + (second - 10) * 10 };
            rate.sample(start + Duration::from_secs(second), total);
        }
        assert!((rate.per_second() - 10.0).abs() < 1e-9, "{}", rate.per_second());
        assert_eq!(rate.samples.len(), 6);
    }

    #[test]
    fn a_burst_of_samples_is_bounded() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for n in 0..1000 {
            rate.sample(start + Duration::from_micros(n), n);
        }
        assert_eq!(rate.samples.len(), SAMPLES_MOST);
    }
}
