//! The books of a model in a checkpoint: what waits for its label, what the report has seen, and the counts of the summary (S15.2).

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::ledger::{Kept, Ledger, Served, TO_COMMITTER};
use super::packet::Packet;
use crate::checkpoint::{Block, Piece, PieceName};
use crate::data::Columns;
use crate::dataflow::Outbox;
use crate::error::{Error, Result};
use crate::features::bytes::{Reader, put, put_bytes, put_text};
use crate::metrics::{BaselineGuess, ModelReport, SNAPSHOT_VERSION as REPORT_VERSION};
use crate::models::{LABEL_JOIN_VERSION, LabelJoin};
use crate::plan::LabelPlan;

/// Version of the layout of a model's state.
pub const VERSION: u32 = 1;

/// The columns that waiting rows keep, and which of their rows still wait.
#[derive(Default)]
struct Waiting {
    of_epoch: Vec<(Kept, Vec<u32>)>,
}

impl Ledger {
    /// The books: the report, the counts, what waits, and the columns that it keeps.
    fn snapshot(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let mut counts = Vec::new();
        put(&mut counts, self.rows_predicted);
        put(&mut counts, self.rows_unanswered);
        put_text(&mut counts, self.example.as_deref());
        let mut waiting = Waiting::default();
        let join = self.join.as_ref().map(|join| join.snapshot(&mut |served| waiting.write(served))).transpose()?;
        Ok(vec![self.report.snapshot(), counts, join.unwrap_or_default(), waiting.columns()?])
    }

    /// Hands in the state of the model: `blocks`, and behind them the books.
    pub fn hand_in(&mut self, mut blocks: Vec<Vec<u8>>, outbox: &mut Outbox<Packet>) -> Result<()> {
        let id = self.declared().id.to_string();
        blocks.extend(self.snapshot().map_err(|reason| Error::internal(format!("{id} has no snapshot: {reason}")))?);
        let blocks = blocks.into_iter().map(|block| Block::Bytes(Arc::new(block))).collect();
        let piece = Piece { name: PieceName { component: id, shard: None }, version: VERSION, blocks };
        outbox.send(TO_COMMITTER, self.leader(), Packet::State(vec![piece]));
        Ok(())
    }

    /// Takes over what `snapshot` gave of the same model.
    pub fn restore(&mut self, blocks: &[Vec<u8>]) -> Result<(), String> {
        let [report, counts, join, columns] = blocks else { return Err(format!("{} blocks, 4 expected", blocks.len())) };
        self.report = ModelReport::restore(REPORT_VERSION, report)?;
        let mut counts = Reader::new(counts);
        (self.rows_predicted, self.rows_unanswered) = (counts.word()?, counts.word()?);
        self.example = counts.text()?.map(String::from);
        let kept = read_columns(columns)?;
        if let Some(LabelPlan::Stream { within, .. }) = &self.declared().label {
            self.join = Some(LabelJoin::restore(*within, LABEL_JOIN_VERSION, join, &mut |bytes| read_served(bytes, &kept))?);
        }
        Ok(())
    }
}

impl Waiting {
    /// A waiting row; its kept columns are only named.
    fn write(&mut self, served: &Served) -> Vec<u8> {
        // Rows of one epoch mostly follow each other.
        let at = self.of_epoch.iter().rposition(|(kept, _)| kept.is(&served.kept)).unwrap_or_else(|| {
            self.of_epoch.push((served.kept.clone(), Vec::new()));
            self.of_epoch.len() - 1
        });
        let rows = &mut self.of_epoch[at].1;
        rows.push(served.kept_row);
        let mut out = Vec::new();
        put(&mut out, served.x.len() as u64);
        served.x.iter().for_each(|x| put(&mut out, x.to_bits()));
        put(&mut out, served.valid.len() as u64);
        served.valid.iter().for_each(|word| put(&mut out, *word));
        let BaselineGuess { mean, last, frequent, cold, model_cold } = served.frozen;
        for value in [served.weight, served.prediction, mean, last] {
            put(&mut out, value.to_bits());
        }
        put(&mut out, u64::from(frequent) | u64::from(cold) << 1 | u64::from(model_cold) << 2);
        put_bytes(&mut out, served.key.as_bytes());
        put(&mut out, at as u64);
        put(&mut out, rows.len() as u64 - 1);
        out
    }

    /// The kept columns of the rows that were written, epoch by epoch.
    fn columns(&self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        put(&mut out, self.of_epoch.len() as u64);
        for (kept, rows) in &self.of_epoch {
            let rows = UInt32Array::from(rows.clone());
            put(&mut out, kept.columns().len() as u64);
            for columns in kept.columns() {
                let batch = take_record_batch(&columns.0, &rows).map_err(|error| error.to_string())?;
                put_bytes(&mut out, &Columns(batch).encode().map_err(|error| error.to_string())?);
            }
        }
        Ok(out)
    }
}

fn read_columns(bytes: &[u8]) -> Result<Vec<(Kept, usize)>, String> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    for _ in 0..reader.length(8)? {
        let columns: Vec<Columns> = (0..reader.length(8)?)
            .map(|_| Columns::decode(reader.bytes()?).map_err(|error| error.to_string()))
            .collect::<Result<_, String>>()?;
        let rows = columns.iter().map(|columns| RecordBatch::num_rows(&columns.0)).min().unwrap_or(usize::MAX);
        let kept = Kept::default();
        kept.fill(columns);
        all.push((kept, rows));
    }
    Ok(all)
}

fn read_served(bytes: &[u8], kept: &[(Kept, usize)]) -> Result<Served, String> {
    let mut reader = Reader::new(bytes);
    let x = (0..reader.length(8)?).map(|_| reader.word().map(f64::from_bits)).collect::<Result<_, _>>()?;
    let valid = (0..reader.length(8)?).map(|_| reader.word()).collect::<Result<_, _>>()?;
    let mut float = || reader.word().map(f64::from_bits);
    let (weight, prediction, mean, last) = (float()?, float()?, float()?, float()?);
    let flags = reader.word()?;
    let frozen = BaselineGuess { mean, last, frequent: flags & 1 != 0, cold: flags & 2 != 0, model_cold: flags & 4 != 0 };
    let key = std::str::from_utf8(reader.bytes()?).map_err(|_| "an identity is not UTF-8".to_string())?.into();
    let (at, row) = (reader.word()? as usize, reader.word()?);
    let (kept, rows) = kept.get(at).ok_or("a waiting row keeps columns that are not there")?;
    if row as usize >= *rows {
        return Err("a waiting row keeps a row that is not there".to_string());
    }
    Ok(Served { x, valid, weight, prediction, frozen, key, kept: kept.clone(), kept_row: row as u32 })
}
