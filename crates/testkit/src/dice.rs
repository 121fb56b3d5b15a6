//! Random numbers for tests, from a seed that is printed.

use std::{
    env,
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A pseudorandom number generator. It prints its seed, and the environment variable `SEED` sets the seed to repeat a
/// test.
#[derive(Debug)]
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        let seed = env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64));
        println!("SEED={seed}");
        Dice(seed)
    }
}

impl Dice {
    /// Creates a generator with this seed.
    pub fn seeded(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Returns a number from `from` on, below `to` (SplitMix64).
    pub fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        from + (z ^ (z >> 31)) % (to - from).max(1)
    }

    /// Returns a duration of a whole number of milliseconds in a range.
    pub fn pause(&mut self, milliseconds: &Range<u64>) -> Duration {
        Duration::from_millis(self.roll(milliseconds.start, milliseconds.end))
    }
}
