//! What time and memory do where windows, keys and inputs grow.

use std::path::PathBuf;

use crate::events::Events;
use crate::measured::Fallible;
use crate::{Bench, Entrant, Line, W};

/// Events are one millisecond apart, so this window holds as many records as it has milliseconds.
fn one_key(window: &str) -> String {
    format!(
        r#"[pipeline]
name = "population"
[sources.transactions]
kind = "file"
path = "${{W_INPUT}}"
format = "json"
schema = {{ event_id = "int64", ts = "timestamp_ms", amount = "float64" }}
event_time = "ts"
key = "event_id"
[features.all]
from = "transactions"
entity = []
windows = ["{window}"]
[features.all.aggregates]
count = "count(*)"
sum = "sum(amount)"
mean = "avg(amount)"
std = "stddev_pop(amount)"
max = "max(amount)"
[sinks.rows]
kind = "parquet"
from = "features.all"
path = "${{W_ROWS}}"
"#
    )
}

/// The same events through windows of 1, 10³ and 10⁶ records of one key.
pub fn population(bench: &Bench) -> Fallible<Vec<Line>> {
    // The largest window is full after half of them.
    let events = Events { count: 2_000_000, gap: 1.0, ..Events::w(0) };
    let input = bench.input("population", events)?;
    let windows = [("1", "1ms"), ("10³", "1s"), ("10⁶", "1000s")];
    let mut entrants: Vec<Entrant> = windows
        .iter()
        .map(|(_, window)| bench.pipeline(&format!("population-{window}"), &one_key(window), &input, 1))
        .collect::<Fallible<_>>()?;
    bench.race(&mut entrants.iter_mut().collect::<Vec<_>>())?;
    let times: Vec<String> = windows.iter().zip(&entrants).map(|((n, _), entrant)| format!("{n}: {:.2} µs", 1e6 / entrant.rate)).collect();
    let (best, worst) =
        entrants.iter().fold((0.0f64, f64::INFINITY), |(best, worst), entrant| (best.max(entrant.rate), worst.min(entrant.rate)));
    let measured = format!("× {:.2} ({} an event)", best / worst, times.join(", "));
    let measure = "cost per event while one key's window holds 1, 10³, 10⁶ records";
    Ok(vec![Line::new(measure, "within 1.3 ×", measured, Some(best / worst <= 1.3))])
}

/// W over 10³, 10⁵ and 10⁶ users, all alike, beside the hand-written loop.
pub fn keys(bench: &Bench) -> Fallible<Vec<Line>> {
    let counts = [("10³", 1_000), ("10⁵", 100_000), ("10⁶", 1_000_000)];
    let inputs: Vec<PathBuf> = counts
        .iter()
        .map(|(_, users)| bench.input(&format!("keys-{users}"), Events { users: *users, skew: 0.0, ..Events::w(2 * bench.events) }))
        .collect::<Fallible<_>>()?;
    let mut own: Vec<Entrant> = inputs
        .iter()
        .zip(&counts)
        .map(|(input, (_, users))| bench.pipeline(&format!("keys-{users}"), W, input, 1))
        .collect::<Fallible<_>>()?;
    // Of the hand-written loops this is the one whose table grows.
    let mut hand: Vec<Entrant> = inputs.iter().filter_map(|input| bench.by_hand("w", input)).collect();
    bench.race(&mut own.iter_mut().chain(&mut hand).collect::<Vec<_>>())?;
    let mut lines = Vec::new();
    for (at, (users, _)) in counts.iter().enumerate().skip(1) {
        let grown = own[0].rate / own[at].rate;
        let measure = format!("W with {users} users instead of {}", counts[0].0);
        let (target, times) = ("no more growth than the hand-written loop's × 1.3", format!("{:.2} µs an event", 1e6 / own[at].rate));
        lines.push(match hand.get(at) {
            Some(by_hand) => {
                let limit = hand[0].rate / by_hand.rate * 1.3;
                Line::new(&measure, target, format!("× {grown:.2}, allowed × {limit:.2} ({times})"), Some(grown <= limit))
            }
            None => Line::new(&measure, target, format!("× {grown:.2} ({times})"), None),
        });
    }
    Ok(lines)
}

/// What the views of W hold in the end, by their own account.
pub fn state(bench: &Bench) -> Fallible<Vec<Line>> {
    let input = bench.w_input()?;
    let mut entrant = bench.pipeline("state", W, &input, 1)?;
    entrant.run()?;
    let summary = entrant.summary()?;
    let views = summary["views"].as_array().cloned().unwrap_or_default();
    let of = |field: &str| views.iter().filter_map(|view| view[field].as_u64()).collect::<Vec<u64>>();
    let mib = of("bytes").iter().sum::<u64>() as f64 / f64::from(1 << 20);
    let measured = format!(
        "{mib:.0} MiB ({:?} keys, {} records; of the process {:.0} MiB at most, {:.1} s of processor time)",
        of("keys"),
        of("records").iter().sum::<u64>(),
        entrant.last.peak_mib,
        entrant.last.cpu_seconds
    );
    Ok(vec![Line::new("state for W's 124 k users and 5 k merchants", "≤ 120 MiB", measured, Some(mib <= 120.0 && !views.is_empty()))])
}

/// Inputs of two lengths, where windows and keys are full before the shorter one ends.
pub fn memory(bench: &Bench) -> Fallible<Vec<Line>> {
    let short = Events { users: 2_000, merchants: 500, gap: 1_000.0, ..Events::w(bench.events.min(300_000)) };
    let long = Events { count: 10 * short.count, ..short };
    let (short, long) = (bench.input("short", short)?, bench.input("long", long)?);
    let (mut short, mut long) = (bench.pipeline("short", W, &short, 2)?, bench.pipeline("long", W, &long, 2)?);
    short.run()?;
    long.run()?;
    let (a, b) = (short.last.peak_mib, long.last.peak_mib);
    let measured = format!("{a:.0} MiB and {b:.0} MiB, × {:.2} ({} and {} records)", b / a, short.count, long.count);
    // A few pages are chance.
    Ok(vec![Line::new("peak memory of W, 2 workers, input of 10 × length", "the same (within 10 %)", measured, Some(b <= 1.1 * a))])
}
