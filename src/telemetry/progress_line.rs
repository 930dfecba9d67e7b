//! The progress of a run: one line that is redrawn on a terminal, a log line every few seconds otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Figures;
use crate::time::{BusyTimes, WorkTime, clock, work_between};

const REDRAW: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Shows figures at most every so often.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    shown: Instant,
    quiet: bool,
    busy: BusyTimes,
    before: Vec<WorkTime>,
}

impl ProgressLine {
    /// A live line if standard error is a terminal, log lines otherwise, which also say what the components take; nothing if `quiet`.
    pub fn new(quiet: bool, busy: BusyTimes) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self { bar, shown: clock::now(), quiet, busy, before: Vec::new() }
    }

    /// Shows `figures` if it is time.
    pub fn show(&mut self, figures: &Figures) {
        let now = clock::now();
        let every = if self.bar.is_some() { REDRAW } else { LOG_EVERY };
        if self.quiet || now.duration_since(self.shown) < every {
            return;
        }
        let since = now.duration_since(std::mem::replace(&mut self.shown, now));
        let alarms: u64 = figures.alarms.values().sum();
        match &self.bar {
            Some(bar) => {
                bar.set_message(line(figures, alarms));
                bar.tick();
            }
            None => {
                let loss = figures.losses.iter().map(|(model, loss)| format!("{model}={loss:.4}")).collect::<Vec<_>>().join(" ");
                let work = self.busy.so_far();
                let cores = cores(&work_between(&self.before, &work), since);
                self.before = work;
                tracing::info!(
                    rows = figures.rows_in,
                    rows_per_s = figures.rate().round(),
                    epoch = figures.epoch.0,
                    event_time = %figures.event_time,
                    loss,
                    alarms,
                    cores,
                    "progress"
                );
            }
        }
    }

    /// Clears the live line.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// How many cores each component kept busy: `features.user/update=0.41 …`, the busiest first, those below a thousandth left out.
fn cores(work: &[WorkTime], since: Duration) -> String {
    let cores = work.iter().map(|time| (time, time.seconds / since.as_secs_f64().max(1e-9)));
    let shown = cores.filter(|(_, cores)| *cores >= 0.001);
    shown.map(|(time, cores)| format!("{}/{}={cores:.3}", time.component, time.work)).collect::<Vec<_>>().join(" ")
}

fn line(figures: &Figures, alarms: u64) -> String {
    let mut line = format!("{:>9.0} rows/s  epoch {}  event time {}", figures.rate(), figures.epoch, figures.event_time);
    for (model, loss) in &figures.losses {
        line.push_str(&format!("  {model} loss {loss:.4}"));
    }
    line.push_str(&format!("  alarms {alarms}"));
    line
}
