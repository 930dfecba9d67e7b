//! Repeats of a record's identity within a span of event time (S2.5).

use std::collections::BTreeMap;

use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use crate::data::KeyColumn;
use crate::time::{EventTime, Micros};

/// Identities by the event time at which they were seen, ascending.
pub type Seen = Vec<(i64, Vec<Box<[u8]>>)>;

/// Remembers identities for `span` of event time behind the watermark.
#[derive(Clone, Debug)]
pub struct Dedup {
    span: Micros,
    seen: HashMap<Box<[u8]>, i64, Xxh3DefaultBuilder>,
    /// Identities by the event time at which they were last seen, to forget them in order.
    by_time: BTreeMap<i64, Vec<Box<[u8]>>>,
}

impl Dedup {
    /// Remembers for `span`.
    pub fn new(span: Micros) -> Self {
        Self { span, seen: HashMap::default(), by_time: BTreeMap::new() }
    }

    /// Whether the identity of `row` was seen at an event time within `span` of `t`; if not, it is remembered. Null identities never repeat.
    pub fn is_repeat(&mut self, keys: &KeyColumn, row: usize, t: i64) -> bool {
        if keys.is_null(row) {
            return false;
        }
        let key = keys.key(row);
        match self.seen.get_mut(key) {
            Some(last) if last.abs_diff(t) < self.span.unsigned_abs() => return true,
            Some(last) => *last = (*last).max(t),
            None => {
                self.seen.insert(key.into(), t);
            }
        }
        self.by_time.entry(t).or_default().push(key.into());
        false
    }

    /// Forgets what no admissible record can repeat any more: last seen at or before `watermark - span`.
    pub fn forget(&mut self, watermark: EventTime) {
        let bound = watermark.minus(self.span).0;
        while let Some(entry) = self.by_time.first_entry() {
            if *entry.key() > bound {
                break;
            }
            let (time, keys) = entry.remove_entry();
            for key in keys {
                if self.seen.get(&key) == Some(&time) {
                    self.seen.remove(&key);
                }
            }
        }
    }

    /// What is remembered (S15.2).
    pub fn snapshot(&self) -> Seen {
        self.by_time.iter().map(|(time, keys)| (*time, keys.clone())).collect()
    }

    /// Remembers what `snapshot` gave, and nothing else.
    pub fn restore(&mut self, seen: Seen) {
        self.by_time = seen.into_iter().collect();
        self.seen.clear();
        // In order of time, so what stays is when an identity was seen last.
        for (time, keys) in &self.by_time {
            self.seen.extend(keys.iter().map(|key| (key.clone(), *time)));
        }
    }

    /// Identities remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[test]
    fn a_repeat_within_the_span_is_found_and_later_ones_are_not() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(2), Some(1), None, None]));
        let keys = KeyColumn::encode(&[column], 6);
        let mut dedup = Dedup::new(10);
        assert!(!dedup.is_repeat(&keys, 0, 100));
        assert!(dedup.is_repeat(&keys, 1, 109));
        assert!(!dedup.is_repeat(&keys, 2, 109));
        assert!(!dedup.is_repeat(&keys, 3, 110));
        assert!(!dedup.is_repeat(&keys, 4, 110) && !dedup.is_repeat(&keys, 5, 110));
        let mut again = Dedup::new(10);
        again.restore(dedup.snapshot());
        assert_eq!((&again.seen, &again.by_time), (&dedup.seen, &dedup.by_time));
        dedup.forget(EventTime(119));
        assert_eq!(dedup.len(), 1);
        dedup.forget(EventTime(120));
        assert!(dedup.is_empty());
    }
}
