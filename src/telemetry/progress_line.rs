//! The progress of a run: one line that is redrawn on a terminal, a log line every few seconds otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Figures;
use crate::time::clock;

const REDRAW: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Shows figures at most every so often.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    shown: Instant,
    quiet: bool,
}

impl ProgressLine {
    /// A live line if standard error is a terminal, log lines otherwise; nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        let bar = live.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self { bar, shown: clock::now(), quiet }
    }

    /// Shows `figures` if it is time.
    pub fn show(&mut self, figures: &Figures) {
        let now = clock::now();
        let every = if self.bar.is_some() { REDRAW } else { LOG_EVERY };
        if self.quiet || now.duration_since(self.shown) < every {
            return;
        }
        self.shown = now;
        let alarms: u64 = figures.alarms.values().sum();
        match &self.bar {
            Some(bar) => {
                bar.set_message(line(figures, alarms));
                bar.tick();
            }
            None => {
                let loss = figures.losses.iter().map(|(model, loss)| format!("{model}={loss:.4}")).collect::<Vec<_>>().join(" ");
                tracing::info!(
                    rows = figures.rows_in,
                    rows_per_s = figures.rate().round(),
                    epoch = figures.epoch.0,
                    event_time = %figures.event_time,
                    loss,
                    alarms,
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

fn line(figures: &Figures, alarms: u64) -> String {
    let mut line = format!("{:>9.0} rows/s  epoch {}  event time {}", figures.rate(), figures.epoch, figures.event_time);
    for (model, loss) in &figures.losses {
        line.push_str(&format!("  {model} loss {loss:.4}"));
    }
    line.push_str(&format!("  alarms {alarms}"));
    line
}
