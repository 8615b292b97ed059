//! What a person is, how a list of them is ordered, and what a line of an import means. Nothing in here does I/O.

mod csv;
mod import;
mod list;
mod person;

pub(crate) use self::{
    csv::write_fields as write_csv_fields,
    import::{BadHeader, BadLine, Counts, Format, Records},
    list::{KeyValue, List, Position, Sort, SortKey},
    person::{Age, Details, Email, Name, NewPerson, Person, PersonId, PersonRef},
};
