//! Ids as Svix makes them: a prefix and 27 base62 digits that sort by time (a KSUID with milliseconds).
//!
//! Limit: real ids made within the same 4 ms are in random order; these are in the order they were made, so that
//! lists are the same in every run.

use jiff::Timestamp;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 27 digits hold the 160 bits of a KSUID.
const LENGTH: usize = 27;
/// KSUIDs count from 2014-05-13, so that 32 bits of seconds last until 2150.
const EPOCH_MS: i64 = 1_400_000_000_000;
/// Eight bits hold the fraction of the second in steps of 4 ms.
const STEP_MS: u64 = 4;

/// Makes ids that only ever grow, even if the clock steps back.
#[derive(Debug, Default)]
pub(super) struct Ids {
    stamp: u64,
    made: u32,
}

impl Ids {
    pub(super) fn next(&mut self, prefix: &str) -> String {
        let ms = u64::try_from(Timestamp::now().as_millisecond() - EPOCH_MS).unwrap_or(0);
        self.stamp = self.stamp.max(((ms / 1000) << 8) | (ms % 1000 / STEP_MS));
        self.made = self.made.wrapping_add(1);
        let random: u128 = rand::random();
        let words = [
            (self.stamp >> 8) as u32,
            ((self.stamp as u32 & 0xff) << 24) | (self.made >> 8),
            (self.made << 24) | (random as u32 >> 8),
            (random >> 32) as u32,
            (random >> 64) as u32,
        ];
        format!("{prefix}{}", base62(words))
    }
}

fn base62(mut words: [u32; 5]) -> String {
    let mut digits = [0u8; LENGTH];
    for digit in digits.iter_mut().rev() {
        let mut rest: u64 = 0;
        for word in &mut words {
            let part = (rest << 32) | u64::from(*word);
            *word = (part / 62) as u32;
            rest = part % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Ids, base62};

    #[test]
    fn ids_look_like_those_of_svix_and_sort_in_the_order_they_were_made() {
        let mut ids = Ids::default();
        let made: Vec<String> = (0..1000).map(|_| ids.next("app_")).collect();
        assert!(made.is_sorted());
        assert!(made.iter().all(|id| id.len() == 31 && id.starts_with("app_")));
    }

    #[test]
    fn the_largest_id_is_the_largest_ksuid() {
        assert_eq!(base62([u32::MAX; 5]), "aWgEPTl1tmebfsQzFP4bxwgy80V");
        assert_eq!(base62([0; 5]), "0".repeat(27));
    }
}
