//! The clock that a service is given, and the points in time that it reads from it.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Datelike, Timelike};
use serde::{Serialize, Serializer};

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

    /// This point in time moved by a number of seconds.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Writes `2026-01-31T12:34:56.789012Z` into the buffer; years outside 0 to 9999 are clamped.
    fn write(self, out: &mut [u8; 27]) {
        let time = DateTime::from_timestamp_micros(self.0).unwrap_or_default();
        let year = time.year().clamp(0, 9999).unsigned_abs();
        *out = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut out[0..4], year);
        digits(&mut out[5..7], time.month());
        digits(&mut out[8..10], time.day());
        digits(&mut out[11..13], time.hour());
        digits(&mut out[14..16], time.minute());
        digits(&mut out[17..19], time.second());
        digits(&mut out[20..26], time.nanosecond() % 1_000_000_000 / 1_000);
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
        fn any_timestamp_is_parsed_back_by_chrono(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let text = Timestamp::from_micros(micros).to_string();
            prop_assert_eq!(DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros(), micros);
        }
    }
}
