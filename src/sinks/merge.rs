//! Pieces of one sink's epoch, encoded on several workers, put back into canonical order (S3.1).

use std::collections::BTreeMap;

use arrow::compute::interleave_record_batch;
use serde::{Deserialize, Serialize};

use super::{Encoded, Messages, PartRows};
use crate::data::Columns;

/// The place of a row in canonical order: (event time, source, partition, offset, ordinal), compared in this order (S3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Event time, UTC microseconds.
    pub time: i64,
    /// Source index; sources are sorted by name.
    pub source: u16,
    /// Partition index.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// Ordinal within a fan-out.
    pub ordinal: u32,
}

/// What one worker has of one sink's epoch: `order[i]` is the place of row `i` of the encoder's input, never decreasing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Places of the rows.
    pub order: Vec<Position>,
    /// The rows, encoded.
    pub encoded: Encoded,
}

/// One `Encoded` with the rows of all `pieces` in canonical order; `None` if there are no pieces or they are of different kinds.
/// The result does not depend on how the rows were distributed over pieces, as long as places are distinct.
pub fn merge(pieces: Vec<Piece>) -> Option<Encoded> {
    let mut pieces: Vec<Piece> = drop_empty(pieces);
    match pieces.len() {
        0 => return None,
        1 => return pieces.pop().map(|piece| single(piece.encoded)),
        _ => {}
    }
    match pieces[0].encoded {
        Encoded::Lines { .. } => merge_lines(&pieces),
        Encoded::Messages(_) => merge_messages(&pieces),
        Encoded::Rows(_) => merge_rows(&pieces),
    }
}

/// Without the pieces that have no rows, except one if all are empty.
fn drop_empty(mut pieces: Vec<Piece>) -> Vec<Piece> {
    if pieces.iter().all(|piece| piece.encoded.is_empty()) {
        pieces.truncate(1);
    } else {
        pieces.retain(|piece| !piece.encoded.is_empty());
    }
    pieces
}

fn single(encoded: Encoded) -> Encoded {
    match encoded {
        Encoded::Rows(parts) => Encoded::Rows(parts.into_iter().map(|part| PartRows { origin: Vec::new(), ..part }).collect()),
        other => other,
    }
}

/// Calls `take(list, row)` for every row of the sorted `lists`, smallest place first, ties by list.
fn in_order(lists: &[Vec<Position>], mut take: impl FnMut(usize, usize)) {
    let mut next = vec![0; lists.len()];
    loop {
        let heads = lists.iter().zip(&next).enumerate().filter_map(|(list, (order, row))| order.get(*row).map(|place| (*place, list)));
        let Some((_, list)) = heads.min() else { break };
        take(list, next[list]);
        next[list] += 1;
    }
}

fn orders(pieces: &[Piece]) -> Vec<Vec<Position>> {
    pieces.iter().map(|piece| piece.order.clone()).collect()
}

fn merge_lines(pieces: &[Piece]) -> Option<Encoded> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let Encoded::Lines { bytes, ends } = &piece.encoded else { return None };
        parts.push((bytes, ends));
    }
    let mut bytes = Vec::with_capacity(parts.iter().map(|(bytes, _)| bytes.len()).sum());
    let mut ends = Vec::with_capacity(parts.iter().map(|(_, ends)| ends.len()).sum());
    in_order(&orders(pieces), |piece, row| {
        let (from, lines) = &parts[piece];
        let start = if row == 0 { 0 } else { lines[row - 1] as usize };
        bytes.extend_from_slice(&from[start..lines[row] as usize]);
        ends.push(bytes.len() as u32);
    });
    Some(Encoded::Lines { bytes, ends })
}

fn merge_messages(pieces: &[Piece]) -> Option<Encoded> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let Encoded::Messages(messages) = &piece.encoded else { return None };
        parts.push(messages);
    }
    let mut merged = Messages::default();
    in_order(&orders(pieces), |piece, row| merged.push(parts[piece].get(row)));
    Some(Encoded::Messages(merged))
}

fn merge_rows(pieces: &[Piece]) -> Option<Encoded> {
    let mut by_value: BTreeMap<Option<&str>, Vec<(&PartRows, Vec<Position>)>> = BTreeMap::new();
    for piece in pieces {
        let Encoded::Rows(parts) = &piece.encoded else { return None };
        for part in parts {
            let places = if part.origin.is_empty() {
                piece.order.clone()
            } else {
                part.origin.iter().map(|row| piece.order.get(*row as usize).copied()).collect::<Option<Vec<_>>>()?
            };
            by_value.entry(part.value.as_deref()).or_default().push((part, places));
        }
    }
    let mut merged = Vec::with_capacity(by_value.len());
    for (value, parts) in by_value {
        let (parts, places): (Vec<&PartRows>, Vec<Vec<Position>>) = parts.into_iter().unzip();
        let mut indices = Vec::new();
        in_order(&places, |part, row| indices.push((part, row)));
        let batches: Vec<_> = parts.iter().map(|part| &part.rows.0).collect();
        let rows = interleave_record_batch(&batches, &indices).ok()?;
        merged.push(PartRows { value: value.map(str::to_owned), rows: Columns(rows), origin: Vec::new() });
    }
    Some(Encoded::Rows(merged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::{REGISTRY, SinkRows, encoder};
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
    use arrow::compute::{take, take_record_batch};
    use std::sync::Arc;

    #[test]
    fn any_distribution_over_workers_gives_the_same_encoding() {
        let count = 60usize;
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(0..count as i64)) as ArrayRef),
            ("s", Arc::new(StringArray::from_iter_values((0..count).map(|i| "x".repeat(i % 5))))),
        ])
        .unwrap();
        let by: ArrayRef = Arc::new(StringArray::from_iter((0..count).map(|i| (i % 4 > 0).then(|| format!("p{}", i % 3)))));
        let places: Vec<Position> = (0..count)
            .map(|i| Position { time: i as i64 / 7, source: (i % 7 / 3) as u16, offset: i as u64, ..Position::default() })
            .collect();
        for (kind, _) in REGISTRY {
            let encode = |rows: &[u32]| {
                let index = UInt32Array::from(rows.to_vec());
                let columns = take_record_batch(&batch, &index).unwrap();
                let order: Vec<Position> = rows.iter().map(|row| places[*row as usize]).collect();
                let times: Vec<i64> = order.iter().map(|place| place.time).collect();
                let by = take(&by, &index, None).unwrap();
                let rows = SinkRows { columns: &columns, times: &times, by: Some(&by) };
                Piece { order, encoded: encoder(kind, &batch.schema()).unwrap().encode(&rows).unwrap().encoded }
            };
            let all: Vec<u32> = (0..count as u32).collect();
            let whole = merge(vec![encode(&all)]).unwrap();
            for workers in [2u32, 3, 7, 100] {
                let pieces =
                    (0..workers).map(|w| encode(&all.iter().copied().filter(|i| i * i % workers == w).collect::<Vec<_>>())).collect();
                let merged = merge(pieces).unwrap();
                assert_eq!(merged, whole, "{kind} over {workers}");
                assert_eq!(merged.digest(), whole.digest());
                assert_eq!(merged.rows(), count as u64);
            }
        }
        assert_eq!(merge(Vec::new()), None);
    }
}
