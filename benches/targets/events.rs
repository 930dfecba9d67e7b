//! Events like those of workload W, the same in every run: card transactions of users and merchants, whose labels depend on amount, pace and channel.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;
use serde::Deserialize;

use crate::measured::Fallible;

const COUNTRIES: [&str; 10] = ["DE", "US", "FR", "GB", "ES", "IT", "NL", "PL", "SE", "JP"];
const CHANNELS: [&str; 4] = ["web", "pos", "app", "atm"];

/// What a stream is like.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    pub count: u64,
    pub users: usize,
    pub merchants: usize,
    /// How uneven users are (Zipf); 0: all alike.
    pub skew: f64,
    /// Mean time between events in milliseconds; below 2 it is 1 and no chance.
    pub gap: f64,
    /// Every second line is none that can be used.
    pub half_garbage: bool,
}

impl Events {
    /// As workload W: 124,000 of 200,000 users occur in 2,000,000 events.
    pub fn w(count: u64) -> Self {
        Self { count, users: 200_000, merchants: 5_000, skew: 1.1, gap: 129.6, half_garbage: false }
    }
}

/// Numbers from a seed (splitmix64, Vigna 2015).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Draws numbers below a bound with Zipf's law, frequent ones in no order.
struct Zipf {
    cumulative: Vec<f64>,
    numbers: Vec<u32>,
}

impl Zipf {
    fn new(bound: usize, skew: f64, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=bound)
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        let mut numbers: Vec<u32> = (0..bound as u32).collect();
        (1..bound).for_each(|at| numbers.swap(at, random.below(at + 1)));
        Self { cumulative, numbers }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let wanted = random.unit() * self.cumulative.last().copied().unwrap_or(1.0);
        self.numbers[self.cumulative.partition_point(|sum| *sum <= wanted).min(self.numbers.len() - 1)] as usize
    }
}

/// Writes the events as NDJSON.
pub fn write_ndjson(path: &Path, events: &Events) -> Fallible<()> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    let mut random = Random(20_240_501);
    let (users, merchants) = (Zipf::new(events.users, events.skew, &mut random), Zipf::new(events.merchants, 0.8, &mut random));
    let mut known: Vec<(f64, i64)> = (0..events.users).map(|_| (3.5 + 0.6 * random.normal(), i64::MIN / 2)).collect();
    let mut time = 1_700_000_000_000i64;
    for event in 0..events.count {
        time += 1 + if events.gap < 2.0 { 0 } else { (-(events.gap - 1.0) * (1.0 - random.unit()).ln()) as i64 };
        let (user, merchant) = (users.draw(&mut random), merchants.draw(&mut random));
        let (mean, last) = known[user];
        known[user].1 = time;
        let size = mean + 0.8 * random.normal();
        let cents = ((size.exp() * 100.0).round() as u64).clamp(1, 2_000_000);
        let (country, channel) = (COUNTRIES[random.below(10)], random.below(4));
        // At six tenths of the stream what the label depends on changes.
        let (amount, quick) = (size - 3.5, f64::from(u8::from(time - last < 60_000)));
        let late = event >= events.count / 10 * 6;
        let score = if late { -1.0 - amount + 1.5 * quick } else { -2.5 + 1.5 * amount - quick } + if channel == 1 { 0.5 } else { 0.0 };
        let label = u8::from(random.unit() < 1.0 / (1.0 + (-score).exp()));
        let line = format!(
            "{{\"event_id\":{event},\"ts\":{time},\"user\":\"u{user:06}\",\"merchant\":\"m{merchant:04}\",\"amount\":{}.{:02},\"country\":\"{country}\",\"channel\":\"{}\"{}}}",
            cents / 100,
            cents % 100,
            CHANNELS[channel],
            if random.below(50) == 0 { String::new() } else { format!(",\"label\":{label}") },
        );
        if events.half_garbage && event % 2 == 1 {
            file.write_all(&garbage(&line, event / 2)).map_err(failed)?;
        } else {
            file.write_all(line.as_bytes()).map_err(failed)?;
        }
        file.write_all(b"\n").map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// A line that cannot be used, about as long as the record it is made from; kinds take turns.
fn garbage(line: &str, nth: u64) -> Vec<u8> {
    let replaced = |from: &str, to: &str| line.replacen(from, to, 1).into_bytes();
    match nth % 8 {
        0 => line.as_bytes()[..line.len() / 2].to_vec(),
        1 => line.replace(['{', '}'], "").into_bytes(),
        2 => replaced("\"event_id\":", "\"event_id\":\"x\",\"x\":"),
        3 => replaced("\"ts\":", "\"t\":"),
        4 => replaced("\"user\":\"u", "\"user\":\"\u{1}"),
        5 => replaced("\"amount\":", "\"amount\":1e9999,\"a\":"),
        6 => {
            let mut bytes = line.as_bytes().to_vec();
            bytes[line.len() / 3] = 0xFF;
            bytes
        }
        _ => replaced("\"country\":", &format!("\"country\":{}", "[".repeat(150))),
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    event_id: i64,
    ts: i64,
    user: &'a str,
    merchant: &'a str,
    amount: f64,
    country: &'a str,
    channel: &'a str,
    label: Option<i64>,
}

/// Writes the records of an NDJSON file as Parquet.
pub fn write_parquet(from: &Path, to: &Path) -> Fallible<()> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot turn {} into {}: {error}", from.display(), to.display());
    let text = BufReader::new(File::open(from).map_err(|error| failed(&error))?);
    let (mut lines, mut writer) = (text.lines(), None);
    loop {
        let some: Result<Vec<String>, _> = lines.by_ref().take(1 << 16).collect();
        let some = some.map_err(|error| failed(&error))?;
        if some.is_empty() {
            break;
        }
        let records: Result<Vec<Line<'_>>, _> = some.iter().map(|line| serde_json::from_str(line)).collect();
        let records = records.map_err(|error| failed(&error))?;
        let text =
            |of: fn(&Line<'_>) -> String| -> ArrayRef { Arc::new(records.iter().map(|line| Some(of(line))).collect::<StringArray>()) };
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("event_id", Arc::new(records.iter().map(|line| line.event_id).collect::<Int64Array>())),
            ("ts", Arc::new(records.iter().map(|line| Some(line.ts)).collect::<TimestampMillisecondArray>())),
            ("user", text(|line| line.user.to_string())),
            ("merchant", text(|line| line.merchant.to_string())),
            ("amount", Arc::new(records.iter().map(|line| Some(line.amount)).collect::<Float64Array>())),
            ("country", text(|line| line.country.to_string())),
            ("channel", text(|line| line.channel.to_string())),
            ("label", Arc::new(records.iter().map(|line| line.label).collect::<Int64Array>())),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, name == "label")));
        let batch = batch.map_err(|error| failed(&error))?;
        if writer.is_none() {
            let file = File::create(to).map_err(|error| failed(&error))?;
            writer = Some(ArrowWriter::try_new(file, batch.schema(), None).map_err(|error| failed(&error))?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch).map_err(|error| failed(&error))?;
        }
    }
    writer.map_or(Ok(()), |writer| writer.close().map(|_| ()).map_err(|error| failed(&error)))
}
