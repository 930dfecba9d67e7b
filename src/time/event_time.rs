//! Event time: the record's own timestamp (S4.4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A length of time in microseconds.
pub type Micros = i64;

/// An instant of event time: UTC microseconds since 1970 (S4.4). Hot columns hold the bare `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every record: the watermark of epoch 0 (S4.1).
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// After every record: the watermark once all bounded sources are exhausted (S4.3).
    pub const MAX: EventTime = EventTime(i64::MAX);

    /// This instant less `span`, staying at the infinities.
    pub fn minus(self, span: Micros) -> EventTime {
        match self {
            Self::MIN | Self::MAX => self,
            EventTime(t) => EventTime(t.saturating_sub(span)),
        }
    }

    /// This instant plus `span`, staying at the infinities.
    pub fn plus(self, span: Micros) -> EventTime {
        match self {
            Self::MIN | Self::MAX => self,
            EventTime(t) => EventTime(t.saturating_add(span)),
        }
    }
}

impl fmt::Display for EventTime {
    /// RFC 3339 in UTC with as many digits as needed (0, 3 or 6); the infinities as `-inf` and `+inf`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("-inf"),
            Self::MAX => f.write_str("+inf"),
            EventTime(t) => match chrono::DateTime::from_timestamp_micros(t) {
                Some(at) => f.write_str(&at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
                None => write!(f, "{t}us"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_and_keeps_infinities() {
        assert_eq!(EventTime(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(EventTime(1_500_000).to_string(), "1970-01-01T00:00:01.500Z");
        assert_eq!(EventTime::MAX.minus(5), EventTime::MAX);
        assert_eq!(EventTime::MIN.plus(5), EventTime::MIN);
    }
}
