//! The clock that a service is given, and the points in time that it reads from it.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Datelike, Timelike};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time: microseconds since the Unix epoch, UTC.
///
/// Both databases keep it as a 64-bit integer, so that it sorts, compares and survives a round trip exactly alike.
/// In JSON it is RFC 3339 with six decimals and `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch (a JWT's `NumericDate`), never negative.
    pub const fn as_seconds(self) -> u64 {
        let seconds = self.0.div_euclid(1_000_000);
        if seconds < 0 { 0 } else { seconds.unsigned_abs() }
    }

    /// Reads RFC 3339, such as `2026-01-31T12:34:56Z` or `2026-01-31T13:34:56.789+01:00`; what is finer than a
    /// microsecond is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| Self(time.timestamp_micros()))
    }

    /// This point in time moved by a number of seconds.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Writes `2026-01-31T12:34:56.789012Z` into the buffer; years outside 0 to 9999 are clamped. Answers whether the
    /// year is one of them.
    fn write(self, out: &mut [u8; 27]) -> bool {
        let known = DateTime::from_timestamp_micros(self.0);
        let time = known.unwrap_or_default();
        let year = time.year().clamp(0, 9999).unsigned_abs();
        *out = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut out[0..4], year);
        digits(&mut out[5..7], time.month());
        digits(&mut out[8..10], time.day());
        digits(&mut out[11..13], time.hour());
        digits(&mut out[14..16], time.minute());
        digits(&mut out[17..19], time.second());
        digits(&mut out[20..26], time.nanosecond() % 1_000_000_000 / 1_000);
        known.is_some_and(|time| (0..=9999).contains(&time.year()))
    }
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Writes one point in time after another. What stands together in a list is often of the same day, and often of the
/// same moment, so what the last text has in common with the next one is kept.
#[derive(Clone, Debug, Default)]
pub struct TimestampText {
    /// What the text says, if the text of another point on the same day begins like it.
    last: Option<Timestamp>,
    text: [u8; 27],
}

impl TimestampText {
    /// The text of a point in time, as [`Timestamp`] shows it: ASCII, nothing in it to escape.
    pub fn of(&mut self, time: Timestamp) -> &[u8; 27] {
        match self.last {
            Some(last) if last == time => {}
            Some(last) if last.0.div_euclid(MICROS_PER_DAY) == time.0.div_euclid(MICROS_PER_DAY) => {
                self.write_time_of_day(time);
                self.last = Some(time);
            }
            _ => self.last = time.write(&mut self.text).then_some(time),
        }
        &self.text
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "parts of a day are small and positive")]
    fn write_time_of_day(&mut self, time: Timestamp) {
        let micros = time.0.rem_euclid(MICROS_PER_DAY);
        let seconds = (micros / 1_000_000) as u32;
        digits(&mut self.text[11..13], seconds / 3_600);
        digits(&mut self.text[14..16], seconds / 60 % 60);
        digits(&mut self.text[17..19], seconds % 60);
        digits(&mut self.text[20..26], (micros % 1_000_000) as u32);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a remainder of ten fits")]
fn digits(out: &mut [u8], mut number: u32) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = [0; 27];
        self.write(&mut out);
        f.write_str(str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = [0; 27];
        self.write(&mut out);
        serializer.serialize_str(str::from_utf8(&out).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected a time such as 2026-01-31T12:34:56Z"))
    }
}

/// Where a service reads the time: the system's clock, or a test's.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that shows what the function answers.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        let time = Timestamp::from_micros(1_767_225_599_000_001);
        assert_eq!(time.to_string(), "2025-12-31T23:59:59.000001Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(-1).to_string(), "1969-12-31T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn a_text_that_follows_another_one_is_that_of_its_own_time(
            first in any::<i64>(),
            steps in prop::collection::vec(prop_oneof![any::<i64>(), -100_000_000_000i64..100_000_000_000, Just(0)], 1..8),
            near_now in any::<bool>(),
        ) {
            let mut micros = if near_now { first % 4_000_000_000_000_000 } else { first };
            let mut text = TimestampText::default();
            for step in steps {
                micros = micros.wrapping_add(step);
                let time = Timestamp::from_micros(micros);
                prop_assert_eq!(std::str::from_utf8(text.of(time)).unwrap(), time.to_string());
            }
        }

        #[test]
        fn any_timestamp_is_parsed_back_by_chrono(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let text = Timestamp::from_micros(micros).to_string();
            prop_assert_eq!(DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros(), micros);
        }
    }
}
