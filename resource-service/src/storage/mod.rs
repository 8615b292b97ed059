//! Where persons are kept. Only this module names tables, and its rows are its own.

mod import;
mod page;
mod persons;
mod schema;
mod spool;

pub(crate) use self::{
    import::Import,
    persons::{Persons, Put},
    spool::Spool,
};
