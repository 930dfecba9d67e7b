//! The comparison that the closing summary prints: the model beside its baselines over the whole run, and the model month by month.
//!
//! Two entry points, because a baseline may only know what was known when the row was predicted (S12.4):
//! * [`ModelReport::predicted`], at prediction: freezes the baselines' guesses for the row; they wait with the row for its label.
//! * [`ModelReport::resolved`], when the label is there: scores model and guesses on that row, and only then lets the baselines know the label.
//!
//! Rows without a prediction are scored for nobody, so that all predictors are compared on the same rows. Memory is bounded: sums, and
//! histograms of p (see [`ScoreHistogram`](super::ScoreHistogram) for the error bound of the AUC).
//!
//! Rows are scored in rounds, predictor by predictor: in which round a row falls changes no bit, since each predictor sees the rows in their order.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{BaselineGuess, Baselines, Card, Numbers, Scored};

/// Months whose ranking is kept exact; of older ones AUC and precision are as they were when a newer month took their place.
const LIVE_MONTHS: usize = 12;

/// The whole run of one model, row by row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelReport {
    classification: bool,
    threshold: f64,
    predicted: u64,
    cold_rows: u64,
    unpredicted: u64,
    baselines: Baselines,
    model: Card,
    mean: Card,
    frequent: Card,
    last: Card,
    /// By months since year 0, of the row's event time in UTC.
    months: BTreeMap<i32, Card>,
    #[serde(skip)]
    waiting: Waiting,
}

/// Rows that are resolved and not scored yet: at most one round of them.
#[derive(Clone, Debug, Default)]
struct Waiting {
    rows: Vec<Resolution>,
    scored: Scored,
    /// The newest month, from its first to before the microsecond after it: most rows fall into it.
    newest: (i32, Range<i64>),
}

/// A label that met its prediction.
#[derive(Clone, Copy, Debug)]
struct Resolution {
    month: i32,
    y: f64,
    p: f64,
    guess: BaselineGuess,
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictorRow {
    /// `model`, `label rate so far`, `most frequent class`, `last known label`; `mean label so far` for regression.
    pub name: String,
    /// Its numbers.
    pub numbers: Numbers,
}

/// The model in one calendar month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonthRow {
    /// `2001-01`, UTC.
    pub month: String,
    /// Its numbers.
    pub numbers: Numbers,
}

/// The closing summary of one model, ready to print.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Classes or values.
    pub classification: bool,
    /// Rows asked.
    pub predicted: u64,
    /// Of those, rows asked before the model had learned anything (S10.2).
    pub cold_rows: u64,
    /// Labels that came for rows without a prediction.
    pub unpredicted: u64,
    /// The model first, then its baselines.
    pub predictors: Vec<PredictorRow>,
    /// In order of time.
    pub months: Vec<MonthRow>,
}

impl ModelReport {
    /// An empty report of a model with this task and threshold.
    pub fn new(classification: bool, threshold: f64) -> Self {
        let card = Card::new(classification, threshold);
        Self {
            classification,
            threshold,
            predicted: 0,
            cold_rows: 0,
            unpredicted: 0,
            baselines: Baselines::new(classification),
            model: card.clone(),
            mean: card.clone(),
            frequent: card.clone(),
            last: card,
            months: BTreeMap::new(),
            waiting: Waiting::default(),
        }
    }

    /// A row is predicted now; `cold`: the model has learned nothing yet. Keep the guess with the row until [`resolved`](Self::resolved).
    #[inline]
    pub fn predicted(&mut self, cold: bool) -> BaselineGuess {
        self.predicted += 1;
        self.cold_rows += u64::from(cold);
        self.baselines.guess(cold)
    }

    /// The label `y` of a row is known now: `row_time` is the row's event time, `p` the prediction as emitted (`None`: there was none), `guess`
    /// what [`predicted`](Self::predicted) returned for it. Labels that are not finite are ignored.
    #[inline]
    pub fn resolved(&mut self, row_time: i64, y: f64, p: Option<f64>, guess: &BaselineGuess) {
        if !y.is_finite() {
            return;
        }
        match p.filter(|p| p.is_finite()) {
            None => self.unpredicted += 1,
            Some(p) => {
                let month = self.waiting.month(row_time);
                self.waiting.rows.push(Resolution { month, y, p, guess: *guess });
                if self.waiting.rows.len() >= Scored::ROUND {
                    self.score();
                }
            }
        }
        self.baselines.learn(y);
    }

    /// Scores the rows that wait for it.
    fn score(&mut self) {
        let Waiting { mut rows, mut scored, newest } = std::mem::take(&mut self.waiting);
        let all = 0..rows.len();
        let cold = |rows: &[Resolution], flag: fn(&BaselineGuess) -> bool| rows.iter().filter(|row| flag(&row.guess)).count() as u64;
        scored.replace(rows.iter().map(|row| (row.y, row.p)));
        self.model.add_all(&mut scored, all.clone(), cold(&rows, |guess| guess.model_cold));
        let mut start = 0;
        for same in rows.chunk_by(|a, b| a.month == b.month) {
            let range = start..start + same.len();
            start = range.end;
            self.month(same[0].month).add_all(&mut scored, range, cold(same, |guess| guess.model_cold));
        }
        let without_labels = cold(&rows, |guess| guess.cold);
        let mut compare = |card: &mut Card, guess: fn(&BaselineGuess) -> f64| {
            scored.predict(rows.iter().map(|row| guess(&row.guess)));
            card.add_all(&mut scored, all.clone(), without_labels);
        };
        compare(&mut self.mean, |guess| guess.mean);
        compare(&mut self.last, |guess| guess.last);
        if self.classification {
            compare(&mut self.frequent, |guess| f64::from(u8::from(guess.frequent)));
        }
        rows.clear();
        self.waiting = Waiting { rows, scored, newest };
    }

    /// The card of a month; the first row of a new one may close the ranking of an old one.
    fn month(&mut self, month: i32) -> &mut Card {
        if !self.months.contains_key(&month)
            && self.months.len() >= LIVE_MONTHS
            && let Some((_, card)) = self.months.iter_mut().rev().nth(LIVE_MONTHS - 1)
        {
            card.close_ranking();
        }
        let (classification, threshold) = (self.classification, self.threshold);
        self.months.entry(month).or_insert_with(|| Card::new(classification, threshold))
    }

    /// The model's log loss so far (mean absolute error for regression), for a progress line.
    pub fn running_loss(&mut self) -> Option<f64> {
        self.score();
        self.model.loss()
    }

    /// Everything the summary prints.
    pub fn summary(&mut self) -> Summary {
        self.score();
        let row = |name: &str, card: &Card| PredictorRow { name: name.to_string(), numbers: card.numbers() };
        let predictors = if self.classification {
            vec![
                row("model", &self.model),
                row("label rate so far", &self.mean),
                row("most frequent class", &self.frequent),
                row("last known label", &self.last),
            ]
        } else {
            vec![row("model", &self.model), row("mean label so far", &self.mean), row("last known label", &self.last)]
        };
        let month = |(month, card): (&i32, &Card)| MonthRow {
            month: format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1),
            numbers: card.numbers(),
        };
        Summary {
            classification: self.classification,
            predicted: self.predicted,
            cold_rows: self.cold_rows,
            unpredicted: self.unpredicted,
            predictors,
            months: self.months.iter().map(month).collect(),
        }
    }

    /// State as JSON bytes (S15.2).
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.score();
        super::encode(self)
    }

    /// A report that goes on bit for bit as the one that wrote the snapshot.
    pub fn restore(version: u32, bytes: &[u8]) -> Result<Self, String> {
        super::decode(version, bytes)
    }

    /// Memory in use, in bytes: at most about 30 MB.
    pub fn bytes(&self) -> usize {
        let cards = [&self.model, &self.mean, &self.frequent, &self.last];
        size_of::<Self>() + cards.into_iter().chain(self.months.values()).map(Card::bytes).sum::<usize>()
    }
}

impl Waiting {
    /// Months since year 0 of a time, UTC.
    #[inline]
    fn month(&mut self, time: i64) -> i32 {
        if !self.newest.1.contains(&time) {
            self.newest = month_of(time);
        }
        self.newest.0
    }
}

/// Months since year 0 of a time, UTC, and the times of that month; 0 and that time alone where there is no calendar.
#[cold]
fn month_of(time: i64) -> (i32, Range<i64>) {
    let first = |month: i32| {
        let day = NaiveDate::from_ymd_opt(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1);
        day.map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
    };
    let Some(at) = DateTime::from_timestamp_micros(time) else { return (0, time..time.saturating_add(1)) };
    let month = at.year() * 12 + at.month0() as i32;
    (month, first(month).unwrap_or(time)..first(month + 1).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn baselines_know_only_labels_resolved_before_the_prediction() {
        let mut report = ModelReport::new(true, 0.5);
        let first = report.predicted(true);
        let second = report.predicted(true);
        assert!(first.cold && second.cold && first.mean == 0.5 && first.last == 0.0 && !first.frequent);
        report.resolved(0, 1.0, Some(0.4), &first);
        let third = report.predicted(false);
        assert!(!third.cold && third.mean == 1.0 && third.last == 1.0 && third.frequent);
        report.resolved(DAY, 0.0, Some(0.2), &second);
        report.resolved(40 * DAY, 1.0, Some(0.9), &third);
        report.resolved(40 * DAY, 1.0, None, &third);
        let summary = report.summary();
        assert_eq!((summary.predicted, summary.cold_rows, summary.unpredicted), (3, 2, 1));
        let accuracy: Vec<Option<f64>> = summary.predictors.iter().map(|row| row.numbers.accuracy).collect();
        assert_eq!(accuracy, [Some(2.0 / 3.0); 4]);
        let losses: Vec<f64> = summary.predictors.iter().map(|row| row.numbers.log_loss.unwrap()).collect();
        assert!((losses[1] - (2.0 * 2f64.ln() + 1e-15) / 3.0).abs() < 1e-12 && losses[2] > 11.0 && losses[0] < 0.5);
        assert_eq!(summary.predictors[0].numbers.auc, Some(1.0));
        assert_eq!(summary.predictors[1].numbers.cold_rows, 2);
        let months: Vec<(&str, u64)> = summary.months.iter().map(|row| (row.month.as_str(), row.numbers.rows)).collect();
        assert_eq!(months, [("1970-01", 2), ("1970-02", 1)]);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let mut waiting = Waiting::default();
        for day in -40_000..40_000i64 {
            for time in [day * DAY, (day + 1) * DAY - 1] {
                let at = DateTime::from_timestamp_micros(time).unwrap();
                assert_eq!(waiting.month(time), at.year() * 12 + at.month0() as i32, "{at}");
            }
        }
        assert_eq!((waiting.month(i64::MAX), waiting.month(i64::MIN)), (0, 0));
    }

    #[test]
    fn regression_has_errors_and_no_classes() {
        let mut report = ModelReport::new(false, 0.5);
        for (y, p) in [(1.0, 2.0), (3.0, 3.0), (5.0, 4.0)] {
            let guess = report.predicted(false);
            report.resolved(0, y, Some(p), &guess);
        }
        let summary = report.summary();
        let model = &summary.predictors[0].numbers;
        assert_eq!((model.mae, model.r2, model.auc), (Some(2.0 / 3.0), Some(0.75), None));
        assert_eq!(summary.predictors[1].numbers.mae, Some((1.0 + 2.0 + 3.0) / 3.0));
        assert_eq!(summary.predictors[2].numbers.mae, Some((1.0 + 2.0 + 2.0) / 3.0));
    }

    #[test]
    fn restore_continues_bit_for_bit_and_years_stay_bounded() {
        let mut whole = ModelReport::new(true, 0.5);
        let mut cut = ModelReport::new(true, 0.5);
        for i in 0..40_000u32 {
            if i == 17_000 {
                cut = ModelReport::restore(super::super::SNAPSHOT_VERSION, &cut.snapshot()).unwrap();
            }
            let p = f64::from(i * 7919 % 10_007) / 10_007.0;
            let y = f64::from(u8::from(i * 104_729 % 1000 < (p * 1000.0) as u32));
            for report in [&mut whole, &mut cut] {
                let guess = report.predicted(i == 0);
                report.resolved(i64::from(i) * DAY / 10, y, Some(p), &guess);
            }
        }
        assert_eq!(whole.snapshot(), cut.snapshot());
        assert_eq!(whole.summary(), cut.summary());
        assert!(whole.summary().months.len() > 120 && whole.bytes() < 30_000_000);
        assert!(whole.summary().months[0].numbers.auc.is_some());
    }
}
