//! Time at work, by component: for people and metrics; nothing of it reaches an output.
//!
//! A component measures a batch or an epoch at a time (two readings of the clock and one addition), never a record. What is measured is time on the
//! thread that works, so it includes waiting for a processor, and all threads of the process count together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock;

/// Counts the time that one kind of work of one component takes, on any number of threads.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<AtomicU64>);

impl Busy {
    /// Does `work`, and counts how long it took.
    #[inline]
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = clock::now();
        let result = work();
        self.add(clock::now().duration_since(began));
        result
    }

    /// Counts work that took this long.
    pub fn add(&self, took: Duration) {
        self.0.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All work counted so far.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// How long one kind of work of a component took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkTime {
    /// The component's id, such as `features.airport`; `epochs` and `commit` are the engine's own.
    pub component: String,
    /// What it did, in one word.
    pub work: String,
    /// Seconds, all threads of this process together.
    pub seconds: f64,
}

struct Counter {
    component: String,
    work: &'static str,
    busy: Busy,
}

/// The time at work of every component of a process; clones share it.
#[derive(Clone, Default)]
pub struct BusyTimes(Arc<Mutex<Vec<Counter>>>);

impl BusyTimes {
    /// The counter of this work of a component: one, however many workers ask for it. To be asked for once, not in a loop.
    pub fn of(&self, component: impl std::fmt::Display, work: &'static str) -> Busy {
        let component = component.to_string();
        let mut counters = self.lock();
        let known = counters.iter().find(|counter| counter.work == work && counter.component == component);
        if let Some(counter) = known {
            return counter.busy.clone();
        }
        let busy = Busy::default();
        counters.push(Counter { component, work, busy: busy.clone() });
        busy
    }

    /// What has been counted so far, the longest first.
    pub fn so_far(&self) -> Vec<WorkTime> {
        let time = |counter: &Counter| WorkTime {
            component: counter.component.clone(),
            work: counter.work.to_string(),
            seconds: counter.busy.total().as_secs_f64(),
        };
        sorted(self.lock().iter().map(time).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Counter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was counted between two looks, the longest first.
pub fn work_between(before: &[WorkTime], after: &[WorkTime]) -> Vec<WorkTime> {
    let less = |time: &WorkTime| {
        let former = before.iter().find(|former| (&former.component, &former.work) == (&time.component, &time.work));
        WorkTime { seconds: time.seconds - former.map_or(0.0, |former| former.seconds), ..time.clone() }
    };
    sorted(after.iter().map(less).collect())
}

fn sorted(mut times: Vec<WorkTime>) -> Vec<WorkTime> {
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| (&a.component, &a.work).cmp(&(&b.component, &b.work))));
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_has_one_counter_whoever_asks_and_differences_are_by_name() {
        let times = BusyTimes::default();
        times.of("models.m", "predict").add(Duration::from_millis(30));
        times.clone().of("models.m", "predict").add(Duration::from_millis(10));
        times.of("features.f", "update").add(Duration::from_millis(70));
        let before = times.so_far();
        let shown = |times: &[WorkTime]| -> Vec<(String, String, f64)> {
            times.iter().map(|time| (time.component.clone(), time.work.clone(), (time.seconds * 1e3).round())).collect()
        };
        let row = |component: &str, work: &str, millis: f64| (component.to_string(), work.to_string(), millis);
        assert_eq!(shown(&before), [row("features.f", "update", 70.0), row("models.m", "predict", 40.0)]);
        times.of("models.m", "predict").add(Duration::from_millis(5));
        times.of("commit", "write").add(Duration::from_millis(2));
        let since = work_between(&before, &times.so_far());
        assert_eq!(shown(&since), [row("models.m", "predict", 5.0), row("commit", "write", 2.0), row("features.f", "update", 0.0)]);
        assert_eq!(Busy::default().during(|| 7), 7);
    }
}
