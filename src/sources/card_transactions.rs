//! The generator `card_transactions`: card payments with fraud whose nature changes back and forth, for ever.
//!
//! Users and merchants are drawn by Zipf's law, amounts are log-normal around each user's own level. In one of eight stretches of 1,024 records (about two
//! minutes) a card is under attack: one user and one merchant take 4 % of the records, mostly fraud, so counts over short windows carry signal. Every
//! 500,000 records the attackers change between few large and many small amounts: the drift that a model has to follow. 2 % of the records have no label.
//!
//! Each record takes one block of the ChaCha stream (16 words), addressed by its number: record i is a function of seed and i alone. Logarithms and
//! exponentials are those of `libm`, so the bits do not depend on the machine.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, TimestampUnit, timestamp_type};
use crate::error::{Error, Result};

use super::Generator;

const USERS: usize = 200_000;
const MERCHANTS: usize = 5_000;
/// First event time: 2000-01-01T00:00Z.
const BEGIN: i64 = 946_684_800_000_000;
/// Microseconds between records on average, as in workload W: 2,000,000 records in 72 hours.
const GAP: i64 = 129_600;
/// Records of a stretch in which a card may be under attack.
const STRETCH: u64 = 1_024;
/// Records between two changes of the attackers' ways.
const REGIME: u64 = 500_000;
const COUNTRIES: [&str; 10] = ["DE", "US", "FR", "GB", "ES", "IT", "NL", "PL", "SE", "JP"];
const CHANNELS: [&str; 4] = ["web", "pos", "app", "atm"];

/// The generator.
pub(super) struct CardTransactions {
    seed: [u8; 32],
    users: Vec<f64>,
    merchants: Vec<f64>,
    /// Per user the mean of the logarithm of amounts.
    levels: Vec<f64>,
}

/// The cumulative distribution of Zipf's law over `count` ranks.
fn zipf(count: usize, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += libm::pow(rank as f64, -exponent);
            sum
        })
        .collect();
    sums.iter_mut().for_each(|value| *value /= sum);
    sums
}

/// The rank that a uniform number falls on, spread over all ids so that frequent ones are not the first.
fn pick(distribution: &[f64], uniform: f64, stride: usize) -> usize {
    let rank = distribution.partition_point(|bound| *bound <= uniform).min(distribution.len() - 1);
    rank.wrapping_mul(stride) % distribution.len()
}

/// Strides without common divisors with the numbers of users and merchants.
const USER_STRIDE: usize = 77_773;
const MERCHANT_STRIDE: usize = 1_237;

/// A uniform number in [0, 1).
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A standard normal number from two uniform ones (Box and Muller, 1958).
fn normal(first: f64, second: f64) -> f64 {
    libm::sqrt(-2.0 * libm::log(1.0 - first)) * libm::cos(std::f64::consts::TAU * second)
}

/// One record's random numbers, always drawn in the same order.
struct Draw {
    user: f64,
    merchant: f64,
    amount: f64,
    noise: f64,
    label: f64,
    attacked: f64,
    jitter: u32,
    country: u32,
    channel: u32,
    rest: u32,
}

impl CardTransactions {
    /// The column of event time.
    pub const EVENT_TIME: &'static str = "ts";

    /// The columns.
    pub fn schema() -> DeclaredSchema {
        let column = |name: &str, kind, nullable| DeclaredColumn::new(name, kind, nullable);
        DeclaredSchema {
            columns: vec![
                column("transaction_id", LogicalType::Int64, false),
                column("ts", LogicalType::Timestamp(TimestampUnit::Microsecond), false),
                column("user", LogicalType::String, false),
                column("merchant", LogicalType::String, false),
                column("amount", LogicalType::Float64, false),
                column("country", LogicalType::String, false),
                column("channel", LogicalType::String, false),
                column("is_fraud", LogicalType::Bool, true),
            ],
            closed: false,
        }
    }

    /// The generator with a seed.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = stream(bytes, 1);
        let levels = (0..USERS).map(|_| 3.5 + 0.6 * normal(uniform(&mut random), uniform(&mut random))).collect();
        Self { seed: bytes, users: zipf(USERS, 1.1), merchants: zipf(MERCHANTS, 0.8), levels }
    }

    /// The user and the merchant of the attack in the stretch of record `index`, if there is one.
    fn attack(&self, index: u64) -> Option<(usize, usize)> {
        let mut random = stream(self.seed, 2);
        random.set_word_pos(u128::from(index / STRETCH) * 16);
        random.next_u32().is_multiple_of(8).then(|| (random.next_u32() as usize % USERS, random.next_u32() as usize % MERCHANTS))
    }
}

/// A stream of random numbers of its own.
fn stream(seed: [u8; 32], stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::from_seed(seed);
    random.set_stream(stream);
    random
}

/// Appends the digits of `id` over the zeros at the end of `pattern`.
fn append_id(ids: &mut StringBuilder, pattern: &str, id: usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(id);
    let mut text = [b'0'; 24];
    let width = pattern.len().max(digits.len() + 1).min(text.len());
    text[..1].copy_from_slice(&pattern.as_bytes()[..1]);
    text[width - digits.len()..width].copy_from_slice(digits.as_bytes());
    ids.append_value(std::str::from_utf8(&text[..width]).unwrap_or(pattern));
}

impl Generator for CardTransactions {
    fn rows(&self, first: u64, rows: usize) -> Result<RecordBatch> {
        let mut random = stream(self.seed, 0);
        random.set_word_pos(u128::from(first) * 16);
        let (mut ids, mut times, mut amounts) = (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::with_capacity(rows));
        let (mut users, mut merchants) = (StringBuilder::with_capacity(rows, rows * 7), StringBuilder::with_capacity(rows, rows * 5));
        let (mut countries, mut channels) = (StringBuilder::with_capacity(rows, rows * 2), StringBuilder::with_capacity(rows, rows * 3));
        let mut labels = Vec::with_capacity(rows);
        let mut attack = self.attack(first);
        for index in first..first + rows as u64 {
            if index % STRETCH == 0 {
                attack = self.attack(index);
            }
            let draw = Draw {
                user: uniform(&mut random),
                merchant: uniform(&mut random),
                amount: uniform(&mut random),
                noise: uniform(&mut random),
                label: uniform(&mut random),
                attacked: uniform(&mut random),
                jitter: random.next_u32(),
                country: random.next_u32(),
                channel: random.next_u32(),
                rest: random.next_u32(),
            };
            let attack = attack.filter(|_| draw.attacked < 0.04);
            let (user, merchant) = attack
                .unwrap_or_else(|| (pick(&self.users, draw.user, USER_STRIDE), pick(&self.merchants, draw.merchant, MERCHANT_STRIDE)));
            let small = (index / REGIME) % 2 == 1;
            let level = self.levels.get(user).copied().unwrap_or(3.5);
            let shift = match (attack.is_some(), small) {
                (false, _) => 0.0,
                (true, false) => 1.5,
                (true, true) => -2.0,
            };
            let logarithm = level + shift + 0.8 * normal(draw.amount, draw.noise);
            let cents = libm::round(libm::exp(logarithm) * 100.0).clamp(1.0, 2_000_000.0);
            let home = user % COUNTRIES.len();
            let abroad = draw.country.is_multiple_of(16) || attack.is_some();
            let country = if abroad { (draw.country as usize >> 4) % COUNTRIES.len() } else { home };
            let channel = draw.channel as usize % CHANNELS.len();
            let unusual = logarithm - 3.5;
            let score = if small { -4.0 - unusual } else { -5.0 + 1.2 * unusual };
            let score = score
                + if attack.is_some() { 4.0 } else { 0.0 }
                + if country != home { 1.0 } else { 0.0 }
                + if channel == 0 { 0.5 } else { 0.0 };
            let fraud = draw.label < 1.0 / (1.0 + libm::exp(-score));
            let known = !draw.rest.is_multiple_of(50);

            ids.push(index as i64);
            let jitter = (i64::from(draw.jitter) * GAP) >> 32;
            times.push((index as i64).saturating_mul(GAP).saturating_add(BEGIN + jitter));
            append_id(&mut users, "u000000", user);
            append_id(&mut merchants, "m0000", merchant);
            amounts.push(cents / 100.0);
            countries.append_value(COUNTRIES[country]);
            channels.append_value(CHANNELS[channel]);
            labels.push(known.then_some(fraud));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(TimestampMicrosecondArray::from(times).with_data_type(timestamp_type())),
            Arc::new(users.finish()),
            Arc::new(merchants.finish()),
            Arc::new(Float64Array::from(amounts)),
            Arc::new(countries.finish()),
            Arc::new(channels.finish()),
            Arc::new(BooleanArray::from(labels)),
        ];
        RecordBatch::try_new(Self::schema().arrow(), columns)
            .map_err(|error| Error::internal(format!("generated columns do not fit together: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Float64Type, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn records_are_a_function_of_seed_and_number() {
        let generator = CardTransactions::new(7);
        let whole = generator.rows(0, 3_000).unwrap();
        let parts =
            [(0, 1), (1, 1_022), (1_023, 2), (1_025, 1_975)].map(|(first, rows)| CardTransactions::new(7).rows(first, rows).unwrap());
        assert_eq!(concat_batches(&whole.schema(), &parts).unwrap(), whole);
        assert_ne!(CardTransactions::new(8).rows(0, 3_000).unwrap(), whole);
        let times = whole.column(1).as_primitive::<TimestampMicrosecondType>().values();
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        generator.rows(u64::from(u32::MAX) * 1_000, 10).unwrap();
    }

    #[test]
    fn fraud_changes_its_ways_and_comes_back() {
        let generator = CardTransactions::new(1);
        let mut large = Vec::new();
        for regime in 0..3 {
            let batch = generator.rows(regime * REGIME, 40_000).unwrap();
            let (amounts, labels) = (batch.column(4).as_primitive::<Float64Type>(), batch.column(7).as_boolean());
            assert!((500..1_100).contains(&labels.null_count()), "{} labels are missing", labels.null_count());
            let fraud: Vec<f64> = (0..labels.len()).filter(|i| labels.is_valid(*i) && labels.value(*i)).map(|i| amounts.value(i)).collect();
            let share = fraud.len() as f64 / labels.len() as f64;
            assert!((0.01..0.15).contains(&share), "{share} of regime {regime} is fraud");
            large.push(fraud.iter().filter(|amount| **amount > 50.0).count() as f64 / fraud.len() as f64);
        }
        assert!(large[0] > 0.5 && large[1] < 0.3 && large[2] > 0.5, "{large:?}");
    }
}
