//! Orders, and what becomes of them: decided by the seed and the order's number alone.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// An order, as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// `ORD-0001`: its correlation id.
    pub order: String,
    /// Who placed it; the record's key.
    pub customer: String,
    /// The sum, in the smallest unit of the currency. Negative in orders that nobody can charge.
    pub amount: i64,
    /// ISO 4217; `XTS` is one that nobody can pay in.
    pub currency: String,
    /// What is in it.
    pub items: Vec<Item>,
}

/// A line of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// The article.
    pub sku: String,
    /// How many.
    pub quantity: u32,
}

/// What becomes of an order in billing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is charged.
    Charged,
    /// The payment provider times out, until the retry topic's attempt.
    Late,
    /// No attempt can charge it: it goes to the dead letters over the retry topic.
    Impossible,
    /// No attempt is worth it: it goes to the dead letters at once.
    Senseless,
}

/// The seed of a run: everything that looks like chance comes from here.
#[derive(Clone, Copy, Debug)]
pub struct Dice {
    seed: u64,
}

impl Dice {
    /// Returns the dice of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice { seed }
    }

    /// Returns order `number`.
    #[must_use]
    pub fn order(self, number: u64) -> Order {
        let mut chance = self.chance(number, "order");
        let fate = self.fate(number);
        // A few customers place most orders, as in life: partitions are not even.
        let customer = 1 + (chance.random::<f64>().powi(2) * 240.0) as u32;
        let items = (0..chance.random_range(1..=4))
            .map(|_| Item {
                sku: format!("SKU-{:03}", chance.random_range(1..=400)),
                quantity: chance.random_range(1..=3),
            })
            .collect();
        let amount = chance.random_range(490..=24_900);
        let currency = if chance.random_ratio(1, 4) {
            "USD"
        } else {
            "EUR"
        };
        Order {
            order: name(number),
            customer: format!("customer-{customer}"),
            amount: if fate == Fate::Impossible {
                -amount
            } else {
                amount
            },
            currency: if fate == Fate::Senseless {
                "XTS"
            } else {
                currency
            }
            .to_owned(),
            items,
        }
    }

    /// Returns what becomes of order `number`: of a thousand, about forty are late, fifteen impossible, ten senseless.
    #[must_use]
    pub fn fate(self, number: u64) -> Fate {
        match self.chance(number, "fate").random_range(0..1000) {
            0..40 => Fate::Late,
            40..55 => Fate::Impossible,
            55..65 => Fate::Senseless,
            _ => Fate::Charged,
        }
    }

    /// Returns how long `task` takes for `order`: about `typical`, at times much longer.
    #[must_use]
    pub fn time(self, order: &str, task: &str, typical: Duration) -> Duration {
        let mut chance = self.chance(number(order).unwrap_or(0), task);
        let stretch = if chance.random_ratio(1, 50) { 5.0 } else { 1.0 };
        typical.mul_f64(chance.random_range(0.6..1.6) * stretch)
    }

    fn chance(self, number: u64, task: &str) -> ChaCha8Rng {
        // FNV-1a: the same on every machine and in every version of Rust.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in [self.seed, number]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .chain(task.bytes())
        {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        ChaCha8Rng::seed_from_u64(hash)
    }
}

/// Returns the correlation id of order `number`.
#[must_use]
pub fn name(number: u64) -> String {
    format!("ORD-{number:04}")
}

/// Returns the number of the order called `name`.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    name.strip_prefix("ORD-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_orders_and_other_seeds_others() {
        let of = |seed: u64| {
            (1..50)
                .map(|number| Dice::new(seed).order(number))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_fate_comes_up_within_three_hundred_orders_of_the_demo() {
        let fates: Vec<Fate> = (1..=300).map(|number| Dice::new(1).fate(number)).collect();
        for fate in [Fate::Charged, Fate::Late, Fate::Impossible, Fate::Senseless] {
            assert!(fates.contains(&fate), "{fate:?}");
        }
        let charged = fates.iter().filter(|fate| **fate == Fate::Charged).count();
        assert!((260..300).contains(&charged), "{charged} of 300");
    }

    #[test]
    fn names_and_numbers_of_orders_are_each_others_inverse() {
        assert_eq!(name(7), "ORD-0007");
        assert_eq!(number(&name(123_456)), Some(123_456));
        assert_eq!(number("order 7"), None);
    }
}
