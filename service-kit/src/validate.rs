//! Collects what is wrong with a body, field by field, so that the caller learns everything at once.

use crate::problem::{Error, FieldError};

/// Why a value is not taken: a stable code and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Stable and documented, such as `required` or `too_long`.
    pub code: &'static str,
    /// A sentence that says what would be taken. It never repeats the value.
    pub message: String,
}

impl Invalid {
    /// A reason with its code and sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Collects the errors of a body's fields.
#[derive(Debug, Default)]
pub struct Validator {
    errors: Vec<FieldError>,
}

impl Validator {
    /// Nothing is wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the value, or notes why the field cannot be taken.
    pub fn check<T>(&mut self, field: &str, parsed: Result<T, Invalid>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.reject(field, invalid);
                None
            }
        }
    }

    /// Parses a field that must be there.
    pub fn required<V, T>(
        &mut self,
        field: &str,
        value: Option<V>,
        parse: impl FnOnce(V) -> Result<T, Invalid>,
    ) -> Option<T> {
        let parsed = match value {
            Some(value) => parse(value),
            None => Err(Invalid::new("required", "This field is required.")),
        };
        self.check(field, parsed)
    }

    /// Parses a field that may be missing; `Some(None)` means that it is missing, `None` that it is wrong.
    pub fn optional<V, T>(
        &mut self,
        field: &str,
        value: Option<V>,
        parse: impl FnOnce(V) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        match value {
            Some(value) => self.check(field, parse(value)).map(Some),
            None => Some(None),
        }
    }

    /// Notes an error of a field.
    pub fn reject(&mut self, field: &str, invalid: Invalid) {
        self.errors.push(FieldError { field: field.to_owned(), code: invalid.code.into(), message: invalid.message });
    }

    /// Nothing if every field was taken, else `validation_failed` with an entry per field.
    pub fn finish(self) -> Result<(), Error> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::Validation(self.errors)) }
    }

    /// Puts the parsed values together, or fails with everything that was noted.
    pub fn finish_with<T>(self, values: Option<T>) -> Result<T, Error> {
        match values {
            Some(values) if self.errors.is_empty() => Ok(values),
            _ => Err(Error::Validation(self.errors)),
        }
    }
}
