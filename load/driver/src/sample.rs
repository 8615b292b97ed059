//! Times and answers, counted.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// How long things took.
#[derive(Default)]
pub(crate) struct Times(Vec<u32>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Count, percentiles and the longest, in microseconds.
    pub(crate) fn report(mut self) -> Value {
        self.0.sort_unstable();
        let at = |per_mille: usize| {
            let rank = (self.0.len() * per_mille).div_ceil(1000).saturating_sub(1);
            self.0.get(rank).copied()
        };
        json!({
            "count": self.0.len(),
            "p50_us": at(500), "p90_us": at(900), "p99_us": at(990), "p999_us": at(999), "max_us": at(1000),
        })
    }
}

/// How often each answer came: a status, or `failed` where there was none.
#[derive(Default)]
pub(crate) struct Answers(BTreeMap<String, u64>);

impl Answers {
    pub(crate) fn add(&mut self, answer: &str) {
        if let Some(count) = self.0.get_mut(answer) {
            *count += 1;
        } else {
            self.0.insert(answer.to_owned(), 1);
        }
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        for (answer, count) in other.0 {
            *self.0.entry(answer).or_default() += count;
        }
    }

    pub(crate) fn report(&self) -> Value {
        json!(self.0)
    }
}
