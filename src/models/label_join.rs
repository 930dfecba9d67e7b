//! Rows that wait for their label, labels that wait for their row (S10.5). Generic over what waits; pure.
//!
//! Both sides are handed over in canonical order; either may come first. Rules, where S10.5 leaves a choice:
//!
//! * A label belongs to a row of the same identity if its time lies in `[t, t + within]`. The first such label wins and the pair stands at the
//!   canonical position of the later side. While the pair is remembered, further labels of that identity are `Duplicate`, for the caller to quarantine.
//! * A label outside the window of a known row is `OutOfWindow`; it claims nothing, the row goes on waiting.
//! * A label without a row waits. It claims the identity: further labels are `Duplicate` until the row comes. If the row shows it to lie outside, it is
//!   dropped and counted as out of window, and the row waits. If no row can come any more (W > its time), it is dropped and counted as orphan.
//! * Rows: the first row of an identity is the one that is joined. While it is remembered, another row with that identity is `Repeated`: it keeps its
//!   prediction, but is never paired nor expired.
//! * An identity is remembered until W ≥ t + within, matched or not. Then a waiting row is expired and the identity is free again.
//!
//! So labels = matched + duplicate + out of window + orphan + waiting labels, and rows = matched + expired + repeated + waiting rows. Memory: rows of
//! the last `within` plus lateness, labels of the last lateness, at most one of each per identity.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::delays::Delays;
use super::little_endian::{Reader, Writer};
use crate::data::hash_key;
use crate::time::Micros;

/// The version `snapshot` writes; the only one `restore` reads.
pub const VERSION: u32 = 2;

/// A place in the canonical order of a whole run (S3.1): epoch first, then event time, source, partition, offset, ordinal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Epoch.
    pub epoch: u64,
    /// Event time, UTC microseconds.
    pub time: i64,
    /// Index of the source.
    pub source: u16,
    /// Index of the partition.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// Ordinal within a fan-out.
    pub ordinal: u32,
}

/// A row and its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<P> {
    /// What waited for the row.
    pub payload: P,
    /// Event time of the row, UTC microseconds.
    pub row_time: i64,
    /// The label.
    pub y: f64,
    /// Event time of the label, UTC microseconds.
    pub label_time: i64,
    /// Where the pair is learned and emitted: the later of its sides' positions.
    pub position: Position,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowOutcome<P> {
    /// Its label was here already.
    Matched(Pair<P>),
    /// It waits.
    Waiting,
    /// Its identity is taken by an earlier row; the payload comes back.
    Repeated(P),
}

/// What became of a label.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelOutcome<P> {
    /// Its row was waiting.
    Matched(Pair<P>),
    /// It waits for its row.
    Waiting,
    /// The identity has its label: quarantine it as `label_duplicate`.
    Duplicate,
    /// Its time lies outside `[t, t + within]` of its row.
    OutOfWindow,
}

/// A row whose label did not come in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Expired<P> {
    /// What waited.
    pub payload: P,
    /// Key bytes of its identity.
    pub key: Arc<[u8]>,
    /// Event time of the row, UTC microseconds.
    pub row_time: i64,
    /// `row_time + within`.
    pub due: i64,
}

/// Counts since the start, and what waits now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCounts {
    /// Pairs.
    pub matched: u64,
    /// Rows whose label did not come in time.
    pub expired: u64,
    /// Labels after the first of their identity.
    pub duplicate: u64,
    /// Labels for which no row came.
    pub orphan: u64,
    /// Labels outside the window of their row.
    pub out_of_window: u64,
    /// Rows whose identity was taken.
    pub repeated: u64,
    /// Rows that wait.
    pub waiting_rows: u64,
    /// Labels that wait.
    pub waiting_labels: u64,
    /// Median of label time minus row time over all pairs, microseconds, within 0.8 %.
    pub median_delay: Option<Micros>,
}

/// What is known of one identity.
#[derive(Clone, Debug)]
enum State<P> {
    /// A row since `time`, its payload until it is matched.
    Row { time: i64, position: Position, payload: Option<P> },
    /// A label without a row.
    Label { time: i64, position: Position, y: f64 },
}

#[derive(Clone, Debug)]
struct Identity<P> {
    key: Arc<[u8]>,
    state: State<P>,
}

/// The join. `P` is what waits with a row: its inputs as served, its prediction as emitted. Snapshots write `P` as JSON, so floats in it must be finite
/// or kept as bits.
#[derive(Clone, Debug)]
pub struct LabelJoin<P> {
    within: Micros,
    identities: HashTable<Identity<P>>,
    /// (due, key) of every remembered row.
    rows: BTreeSet<(i64, Arc<[u8]>)>,
    /// (time, key) of every waiting label.
    labels: BTreeSet<(i64, Arc<[u8]>)>,
    counts: LabelCounts,
    delays: Delays,
}

impl<P> LabelJoin<P> {
    /// An empty join; `within` in microseconds, at least 0.
    pub fn new(within: Micros) -> Self {
        Self {
            within: within.max(0),
            identities: HashTable::new(),
            rows: BTreeSet::new(),
            labels: BTreeSet::new(),
            counts: LabelCounts::default(),
            delays: Delays::default(),
        }
    }

    /// Whether a label at `label` may belong to a row at `row`.
    fn in_window(&self, row: i64, label: i64) -> bool {
        row <= label && label <= row.saturating_add(self.within)
    }

    /// A row with this identity and event time.
    pub fn row(&mut self, key: &[u8], time: i64, position: Position, payload: P) -> RowOutcome<P> {
        let due = time.saturating_add(self.within);
        let slot = self.identities.entry(hash_key(key), |known| *known.key == *key, |known| hash_key(&known.key));
        let mut entry = match slot {
            Slot::Vacant(vacant) => {
                let key: Arc<[u8]> = key.into();
                self.rows.insert((due, key.clone()));
                vacant.insert(Identity { key, state: State::Row { time, position, payload: Some(payload) } });
                self.counts.waiting_rows += 1;
                return RowOutcome::Waiting;
            }
            Slot::Occupied(entry) => entry,
        };
        let State::Label { time: label_time, position: label_position, y } = entry.get().state else {
            self.counts.repeated += 1;
            return RowOutcome::Repeated(payload);
        };
        let key = entry.get().key.clone();
        self.labels.remove(&(label_time, key.clone()));
        self.counts.waiting_labels -= 1;
        self.rows.insert((due, key));
        let in_window = time <= label_time && label_time <= due;
        if in_window {
            entry.get_mut().state = State::Row { time, position, payload: None };
            RowOutcome::Matched(self.pair(payload, time, y, label_time, position.max(label_position)))
        } else {
            entry.get_mut().state = State::Row { time, position, payload: Some(payload) };
            self.counts.out_of_window += 1;
            self.counts.waiting_rows += 1;
            RowOutcome::Waiting
        }
    }

    /// A label with this identity and event time.
    pub fn label(&mut self, key: &[u8], time: i64, position: Position, y: f64) -> LabelOutcome<P> {
        let found = self.identities.find(hash_key(key), |known| *known.key == *key).map(|known| match &known.state {
            State::Row { time, .. } => Some(*time),
            State::Label { .. } => None,
        });
        match found {
            None => {
                let key: Arc<[u8]> = key.into();
                self.labels.insert((time, key.clone()));
                self.insert(Identity { key, state: State::Label { time, position, y } });
                self.counts.waiting_labels += 1;
                LabelOutcome::Waiting
            }
            Some(Some(row_time)) if !self.in_window(row_time, time) => {
                self.counts.out_of_window += 1;
                LabelOutcome::OutOfWindow
            }
            Some(_) => match self.take_row(key) {
                Some((payload, row_time, row_position)) => {
                    self.counts.waiting_rows -= 1;
                    LabelOutcome::Matched(self.pair(payload, row_time, y, time, position.max(row_position)))
                }
                None => {
                    self.counts.duplicate += 1;
                    LabelOutcome::Duplicate
                }
            },
        }
    }

    /// The end of an epoch with watermark `w` (`i64::MAX` = +∞): rows whose label did not come, in order of (due time, key bytes). Forgets what can no
    /// longer be paired.
    pub fn expire(&mut self, w: i64) -> Vec<Expired<P>> {
        while let Some(key) = pop_if(&mut self.labels, |time| time < w) {
            self.remove(&key.1);
            self.counts.waiting_labels -= 1;
            self.counts.orphan += 1;
        }
        let mut expired = Vec::new();
        while let Some((due, key)) = pop_if(&mut self.rows, |due| due <= w) {
            if let Some(State::Row { time, payload: Some(payload), .. }) = self.remove(&key) {
                self.counts.waiting_rows -= 1;
                self.counts.expired += 1;
                expired.push(Expired { payload, key, row_time: time, due });
            }
        }
        expired
    }

    /// Counts so far.
    pub fn counts(&self) -> LabelCounts {
        LabelCounts { median_delay: self.delays.median(), ..self.counts }
    }

    /// Estimated memory in bytes, without what payloads hold on the heap.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<Identity<P>>() + size_of::<(i64, Arc<[u8]>)>() + 1;
        let keys: usize = self.rows.iter().chain(&self.labels).map(|(_, key)| key.len() + 2 * size_of::<usize>()).sum();
        size_of::<Self>() + self.identities.capacity() * entry + keys + self.delays.bytes()
    }

    /// Counts a pair and puts it together.
    fn pair(&mut self, payload: P, row_time: i64, y: f64, label_time: i64, position: Position) -> Pair<P> {
        self.counts.matched += 1;
        self.delays.observe(label_time.saturating_sub(row_time));
        Pair { payload, row_time, y, label_time, position }
    }

    /// The payload, time and position of a row that waits; it is then matched.
    fn take_row(&mut self, key: &[u8]) -> Option<(P, i64, Position)> {
        match &mut self.identities.find_mut(hash_key(key), |known| *known.key == *key)?.state {
            State::Row { time, position, payload } => payload.take().map(|payload| (payload, *time, *position)),
            State::Label { .. } => None,
        }
    }

    fn insert(&mut self, identity: Identity<P>) {
        self.identities.insert_unique(hash_key(&identity.key), identity, |known| hash_key(&known.key));
    }

    fn remove(&mut self, key: &[u8]) -> Option<State<P>> {
        let entry = self.identities.find_entry(hash_key(key), |known| *known.key == *key).ok()?;
        Some(entry.remove().0.state)
    }
}

/// Takes the first element if its time is `due`.
fn pop_if(set: &mut BTreeSet<(i64, Arc<[u8]>)>, due: impl Fn(i64) -> bool) -> Option<(i64, Arc<[u8]>)> {
    if set.first().is_some_and(|(time, _)| due(*time)) { set.pop_first() } else { None }
}

impl<P> LabelJoin<P> {
    /// The whole state (S15.2). Version 2, little-endian: counts, delays, then rows by (due time, key) and labels by (time, key). `payload` writes down what
    /// waits with a row.
    pub fn snapshot(&self, payload: &mut dyn FnMut(&P) -> Vec<u8>) -> Result<Vec<u8>, String> {
        let mut out = Writer::default();
        let c = &self.counts;
        [c.matched, c.expired, c.duplicate, c.orphan, c.out_of_window, c.repeated].into_iter().for_each(|count| out.u64(count));
        out.u64(self.delays.iter().len() as u64);
        for (bucket, count) in self.delays.iter() {
            out.u64(u64::from(bucket));
            out.u64(count);
        }
        for side in [&self.rows, &self.labels] {
            out.u64(side.len() as u64);
            for (_, key) in side {
                let Some(identity) = self.identities.find(hash_key(key), |known| known.key == *key) else {
                    return Err("an identity of the label join is lost".into());
                };
                out.slice(key);
                match &identity.state {
                    State::Row { time, position, payload: waiting } => {
                        write_place(&mut out, *time, position);
                        out.u64(u64::from(waiting.is_some()));
                        out.slice(&waiting.as_ref().map(&mut *payload).unwrap_or_default());
                    }
                    State::Label { time, position, y } => {
                        write_place(&mut out, *time, position);
                        out.f64(*y);
                    }
                }
            }
        }
        Ok(out.0)
    }

    /// The join that `snapshot` was taken of; `payload` reads what its own wrote.
    pub fn restore(
        within: Micros,
        version: u32,
        bytes: &[u8],
        payload: &mut dyn FnMut(&[u8]) -> Result<P, String>,
    ) -> Result<Self, String> {
        if version != VERSION {
            return Err(format!("snapshot version {version} of a label join is unknown; this build reads version {VERSION}"));
        }
        let mut join = Self::new(within);
        let mut read = Reader(bytes);
        let c = &mut join.counts;
        for count in [&mut c.matched, &mut c.expired, &mut c.duplicate, &mut c.orphan, &mut c.out_of_window, &mut c.repeated] {
            *count = read.u64()?;
        }
        for _ in 0..read.count(16)? {
            let bucket = u32::try_from(read.u64()?).map_err(|_| "a bucket of delays is out of range".to_string())?;
            join.delays.add(bucket, read.u64()?)?;
        }
        for _ in 0..read.count(64)? {
            let key: Arc<[u8]> = read.slice()?.into();
            let (time, position) = read_place(&mut read)?;
            let waits = read.u64()? == 1;
            let written = read.slice()?;
            let payload = if waits { Some(payload(written)?) } else { None };
            join.counts.waiting_rows += u64::from(payload.is_some());
            join.rows.insert((time.saturating_add(join.within), key.clone()));
            join.insert(Identity { key, state: State::Row { time, position, payload } });
        }
        for _ in 0..read.count(56)? {
            let key: Arc<[u8]> = read.slice()?.into();
            let (time, position) = read_place(&mut read)?;
            join.labels.insert((time, key.clone()));
            join.insert(Identity { key, state: State::Label { time, position, y: read.f64()? } });
            join.counts.waiting_labels += 1;
        }
        read.end()?;
        if join.identities.len() != join.rows.len() + join.labels.len() {
            return Err("an identity stands twice in the snapshot of a label join".into());
        }
        Ok(join)
    }
}

fn write_place(out: &mut Writer, time: i64, position: &Position) {
    out.i64(time);
    out.u64(position.epoch);
    out.i64(position.time);
    out.u64(u64::from(position.source) << 32 | u64::from(position.partition));
    out.u64(position.offset);
    out.u64(u64::from(position.ordinal));
}

fn read_place(read: &mut Reader<'_>) -> Result<(i64, Position), String> {
    let (time, epoch, position_time, place, offset) = (read.i64()?, read.u64()?, read.i64()?, read.u64()?, read.u64()?);
    let source = u16::try_from(place >> 32).map_err(|_| "a source index is out of range".to_string())?;
    let ordinal = u32::try_from(read.u64()?).map_err(|_| "an ordinal is out of range".to_string())?;
    Ok((time, Position { epoch, time: position_time, source, partition: place as u32, offset, ordinal }))
}

#[cfg(test)]
mod tests;
