//! What a person is, how a list of them is ordered, and what a line of an import means. Nothing in here does I/O.

mod import;
mod list;
mod person;

pub(crate) use self::{
    list::{KeyValue, List, Position, Sort, SortKey},
    person::{Age, Details, Email, Name, NewPerson, Person, PersonId, PersonRef},
};
