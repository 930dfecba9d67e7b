//! The rows that a statistic compares, as counts per bin: rows are never kept (S12.1).
//!
//! A window of event time is a whole number of `every` intervals, so it is their counts, added when an interval closes and subtracted when it
//! falls out. A window of n rows keeps one bin number per row and column. Rows whose interval is not closed yet wait beside, by interval: what a
//! closed interval says does not depend on how many later rows have been seen.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// How far a window looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// So many intervals, the one that closes included.
    Intervals(i64),
    /// So many rows.
    Rows(usize),
}

/// Rows of one interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Part {
    /// Rows, and their counts by column and cell.
    Counts(u64, Vec<u32>),
    /// Cells by row and column; no more rows than the window.
    Cells(VecDeque<u16>),
}

/// A window over several columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    reach: Reach,
    columns: usize,
    cells: usize,
    /// Not closed yet, by number of interval.
    open: BTreeMap<i64, Part>,
    /// Closed and still within reach: intervals, or (in one part, number 0) rows.
    closed: VecDeque<(i64, Part)>,
    totals: Vec<u64>,
    rows: u64,
}

impl Window {
    /// An empty window over `columns` columns of `cells` cells each.
    pub fn new(reach: Reach, columns: usize, cells: usize) -> Self {
        Self { reach, columns, cells, open: BTreeMap::new(), closed: VecDeque::new(), totals: vec![0; columns * cells], rows: 0 }
    }

    /// Adds a row to `interval`; `row` has one cell per column.
    pub fn add(&mut self, interval: i64, row: &[u16]) {
        let (reach, cells, columns) = (self.reach, self.cells, self.columns);
        let part = self.open.entry(interval).or_insert_with(|| match reach {
            Reach::Intervals(_) => Part::Counts(0, vec![0; columns * cells]),
            Reach::Rows(_) => Part::Cells(VecDeque::new()),
        });
        match part {
            Part::Counts(rows, counts) => {
                *rows += 1;
                for (column, cell) in counts.chunks_exact_mut(cells).zip(row) {
                    column[usize::from(*cell)] += 1;
                }
            }
            Part::Cells(kept) => {
                kept.extend(row);
                if let Reach::Rows(most) = reach {
                    while kept.len() > most * columns {
                        kept.pop_front();
                    }
                }
            }
        }
    }

    /// Intervals below `before` that hold rows and are not closed.
    pub fn open_before(&self, before: i64) -> impl Iterator<Item = i64> + '_ {
        self.open.range(..before).map(|(interval, _)| *interval)
    }

    /// Closes `interval`: the window now ends with it. Intervals are closed in order. False if no row fell into it.
    pub fn close(&mut self, interval: i64) -> bool {
        let part = self.open.remove(&interval);
        let any = part.is_some();
        match (self.reach, part) {
            (Reach::Intervals(reach), part) => {
                while self.closed.front().is_some_and(|(oldest, _)| oldest.saturating_add(reach) <= interval) {
                    if let Some((_, Part::Counts(rows, counts))) = self.closed.pop_front() {
                        self.rows -= rows;
                        self.totals.iter_mut().zip(&counts).for_each(|(total, count)| *total -= u64::from(*count));
                    }
                }
                if let Some(Part::Counts(rows, counts)) = part {
                    self.rows += rows;
                    self.totals.iter_mut().zip(&counts).for_each(|(total, count)| *total += u64::from(*count));
                    self.closed.push_back((interval, Part::Counts(rows, counts)));
                }
            }
            (Reach::Rows(most), Some(Part::Cells(new))) => self.slide(most, new),
            (Reach::Rows(_), _) => {}
        }
        any
    }

    fn slide(&mut self, most: usize, new: VecDeque<u16>) {
        let (columns, cells) = (self.columns.max(1), self.cells);
        if self.closed.is_empty() {
            self.closed.push_back((0, Part::Cells(VecDeque::new())));
        }
        let Some((_, Part::Cells(kept))) = self.closed.front_mut() else { return };
        for (i, cell) in new.iter().enumerate() {
            self.totals[i % columns * cells + usize::from(*cell)] += 1;
        }
        kept.extend(new);
        let gone = kept.len().saturating_sub(most * columns);
        for (i, cell) in kept.drain(..gone).enumerate() {
            self.totals[i % columns * cells + usize::from(cell)] -= 1;
        }
        self.rows = (kept.len() / columns) as u64;
    }

    /// Rows of the window as last closed.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Counts of one column, by cell, of the window as last closed.
    pub fn counts(&self, column: usize) -> &[u64] {
        &self.totals[column * self.cells..(column + 1) * self.cells]
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Counts(_, counts) => counts.capacity() * 4,
            Part::Cells(cells) => cells.capacity() * 2,
        };
        let parts = self.open.values().map(part).sum::<usize>() + self.closed.iter().map(|(_, kept)| part(kept)).sum::<usize>();
        size_of::<Self>() + self.totals.capacity() * 8 + parts
    }
}
