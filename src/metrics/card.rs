//! The score card of one predictor: every number that the closing summary has about it, in bounded memory.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Accuracy, LogLoss, Mae, Metric, R2, Rmse, ScoreHistogram, Scored};

/// The share of rows that "precision in the top 10 %" looks at.
const TOP: f64 = 0.1;

/// What is known of one predictor over the rows it was scored on. Numbers that do not apply or are undefined are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// Rows scored.
    pub rows: u64,
    /// Of those, rows predicted before anything had been learned.
    pub cold_rows: u64,
    /// Share of true labels.
    pub base_rate: Option<f64>,
    /// Nats; a bare class counts as probability 0 or 1, clipped (S12.4).
    pub log_loss: Option<f64>,
    /// ROC AUC over all rows.
    pub auc: Option<f64>,
    /// How far `auc` can be from exact.
    pub auc_error: Option<f64>,
    /// Share of true labels among the tenth of the rows with the greatest p, ties pro rata.
    pub precision_top: Option<f64>,
    /// Share of rows classified right at the threshold.
    pub accuracy: Option<f64>,
    /// Mean absolute error.
    pub mae: Option<f64>,
    /// Root mean squared error.
    pub rmse: Option<f64>,
    /// Share of variance explained.
    pub r2: Option<f64>,
}

/// The numbers of one predictor in the making.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    cold_rows: u64,
    scores: Scores,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Scores {
    Class { accuracy: Accuracy, log_loss: LogLoss, positives: u64, ranking: Ranking },
    Value { mae: Mae, rmse: Rmse, r2: R2 },
}

/// The order of the predictions: as a histogram, or as what it said when it was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Ranking {
    Live(ScoreHistogram),
    Closed { auc: Option<f64>, auc_error: Option<f64>, precision_top: Option<f64> },
}

impl Ranking {
    fn close(&self) -> Self {
        match self {
            Self::Live(histogram) => {
                Self::Closed { auc: histogram.auc(), auc_error: histogram.auc_error(), precision_top: histogram.precision_top(TOP) }
            }
            closed => closed.clone(),
        }
    }
}

impl Card {
    /// An empty card; `threshold` matters to classes only.
    pub fn new(classification: bool, threshold: f64) -> Self {
        let scores = if classification {
            Scores::Class {
                accuracy: Accuracy::new(threshold, 1.0),
                log_loss: LogLoss::new(1.0),
                positives: 0,
                ranking: Ranking::Live(ScoreHistogram::default()),
            }
        } else {
            Scores::Value { mae: Mae::new(1.0), rmse: Rmse::new(1.0), r2: R2::new(1.0) }
        };
        Self { cold_rows: 0, scores }
    }

    /// Scores the rows of `range`; `cold` of them were predicted before anything had been learned.
    pub fn add_all(&mut self, rows: &mut Scored, range: Range<usize>, cold: u64) {
        self.cold_rows += cold;
        match &mut self.scores {
            Scores::Class { accuracy, log_loss, positives, ranking } => {
                accuracy.add_all(rows, range.clone());
                log_loss.add_all(rows, range.clone());
                *positives += rows.rows(range.clone()).map(|(y, _)| u64::from(y >= 0.5)).sum::<u64>();
                if let Ranking::Live(histogram) = ranking {
                    histogram.add_all(rows, range);
                }
            }
            Scores::Value { mae, rmse, r2 } => {
                mae.add_all(rows, range.clone());
                rmse.add_all(rows, range.clone());
                r2.add_all(rows, range);
            }
        }
    }

    /// Gives up the histogram: AUC and precision stay as they are now, whatever is added later.
    pub fn close_ranking(&mut self) {
        if let Scores::Class { ranking, .. } = &mut self.scores {
            *ranking = ranking.close();
        }
    }

    /// The log loss (classes) or mean absolute error so far: one number, at no cost.
    pub fn loss(&self) -> Option<f64> {
        match &self.scores {
            Scores::Class { log_loss, .. } => log_loss.value(),
            Scores::Value { mae, .. } => mae.value(),
        }
    }

    /// All numbers; walks the histogram.
    pub fn numbers(&self) -> Numbers {
        let mut numbers = Numbers { cold_rows: self.cold_rows, ..Numbers::default() };
        match &self.scores {
            Scores::Class { accuracy, log_loss, positives, ranking } => {
                numbers.rows = accuracy.rows();
                numbers.base_rate = (numbers.rows > 0).then(|| *positives as f64 / numbers.rows as f64);
                numbers.accuracy = accuracy.value();
                numbers.log_loss = log_loss.value();
                if let Ranking::Closed { auc, auc_error, precision_top } = ranking.close() {
                    (numbers.auc, numbers.auc_error, numbers.precision_top) = (auc, auc_error, precision_top);
                }
            }
            Scores::Value { mae, rmse, r2 } => {
                numbers.rows = mae.rows();
                (numbers.mae, numbers.rmse, numbers.r2) = (mae.value(), rmse.value(), r2.value());
            }
        }
        numbers
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        let ranking = match &self.scores {
            Scores::Class { ranking: Ranking::Live(histogram), .. } => histogram.bytes(),
            _ => 0,
        };
        size_of::<Self>() + ranking
    }
}
