//! Reads and writes of persons, one by one and page by page.

use std::sync::Arc;

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    connection::{DefaultLoadingMode, LoadConnection},
    result::Error as DieselError,
    row::{Field as _, Row},
    sqlite::{Sqlite, SqliteValue},
};
use service_kit::{
    Timestamp,
    db::{Backend, Database, Db, PipelinedRow, StorageError},
};
use tokio::sync::Mutex;

use super::{
    page::{PageQuery, like_pattern},
    schema::persons,
};
use crate::{
    domain::{Age, Details, Email, List, Name, NewPerson, Person, PersonId, PersonRef, Position},
    error::Error,
};

const COLUMNS: (
    persons::id,
    persons::name,
    persons::email,
    persons::age,
    persons::created_at,
    persons::updated_at,
    persons::version,
) = (
    persons::id,
    persons::name,
    persons::email,
    persons::age,
    persons::created_at,
    persons::updated_at,
    persons::version,
);

/// A person as the table has it.
type PersonRow = (String, String, Option<String>, Option<i32>, i64, i64, i64);

fn from_row((id, name, email, age, created_at, updated_at, version): PersonRow) -> Person {
    Person {
        id: PersonId::from_stored(id),
        details: Details {
            name: Name::from_stored(name),
            email: email.map(Email::from_stored),
            age: age.map(Age::from_stored),
        },
        created_at: Timestamp::from_micros(created_at),
        updated_at: Timestamp::from_micros(updated_at),
        version,
    }
}

/// The person in a row of PostgreSQL's with [`COLUMNS`].
fn in_pipelined(row: &PipelinedRow) -> Result<PersonRef<'_>, StorageError> {
    Ok(PersonRef {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        email: row.try_get(2)?,
        age: row.try_get(3)?,
        created_at: Timestamp::from_micros(row.try_get(4)?),
        updated_at: Timestamp::from_micros(row.try_get(5)?),
        version: row.try_get(6)?,
    })
}

/// Shows `visit` the person in a row of SQLite's with [`COLUMNS`].
fn in_sqlite<'row>(row: &impl Row<'row, Sqlite>, visit: impl FnOnce(PersonRef<'_>)) -> Result<(), DieselError> {
    let field = |place| row.get(place).ok_or_else(|| missing(place));
    let number = |place| field(place)?.value().map(|mut value| value.read_long()).ok_or_else(|| missing(place));
    let (id, name, email) = (field(0)?, field(1)?, field(2)?);
    let (mut id, mut name, mut email) =
        (id.value().ok_or_else(|| missing(0))?, name.value().ok_or_else(|| missing(1))?, email.value());
    visit(PersonRef {
        id: id.read_text(),
        name: name.read_text(),
        email: email.as_mut().map(SqliteValue::read_text),
        age: field(3)?.value().map(|mut value| value.read_integer()),
        created_at: Timestamp::from_micros(number(4)?),
        updated_at: Timestamp::from_micros(number(5)?),
        version: number(6)?,
    });
    Ok(())
}

fn missing(place: usize) -> DieselError {
    DieselError::DeserializationError(format!("column {place} of a person has no value").into())
}

/// What became of a person who was put.
#[derive(Debug)]
pub(crate) enum Put {
    /// There was none with this id.
    Created(Person),
    /// There was one, and now it is this.
    Replaced(Person),
}

/// The persons. Clones share the database.
#[derive(Clone)]
pub(crate) struct Persons {
    pub(super) database: Database,
    /// One import writes at a time, so that several of them do not take the pool's connections to wait for each other.
    pub(super) importing: Arc<Mutex<()>>,
}

impl Persons {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, importing: Arc::default() }
    }

    /// Shows `visit` the first `rows` persons of a list after a position; fewer at its end, and perhaps a few more than
    /// asked for. No more than 1,000 can be asked for. If it fails, `visit` may have seen some of them.
    pub(crate) async fn page(
        &self,
        list: &List,
        after: Option<&Position>,
        rows: i64,
        mut visit: impl FnMut(PersonRef<'_>),
    ) -> Result<(), Error> {
        if !list.follows_an_index() {
            let found = self.scan(list.clone(), after.cloned(), rows).await?;
            found.iter().map(Person::view).for_each(visit);
            return Ok(());
        }
        let query = PageQuery::new(list, after, rows, None);
        match self.database.backend() {
            Backend::Sqlite => self.database.read_on_worker(|connection| {
                for row in LoadConnection::<DefaultLoadingMode>::load(connection, query)? {
                    in_sqlite(&row?, &mut visit)?;
                }
                Ok(())
            }),
            Backend::Postgres => {
                self.database.read_pipelined(&query, |row| in_pipelined(row).map(&mut visit)).await?;
                Ok(())
            }
        }
    }

    /// The same on one of the database's threads: for pages that take longer.
    pub(crate) async fn scan(&self, list: List, after: Option<Position>, rows: i64) -> Result<Vec<Person>, Error> {
        self.database
            .read(move |db| {
                let pattern = list.search.as_deref().map(like_pattern);
                let query = PageQuery::new(&list, after.as_ref(), rows, pattern.as_deref());
                let found: Vec<PersonRow> = query.load(db)?;
                Ok(found.into_iter().map(from_row).collect())
            })
            .await
    }

    /// The person with an id.
    pub(crate) async fn find(&self, id: &PersonId) -> Result<Option<Person>, Error> {
        let query = persons::table.find(id.as_str()).select(COLUMNS);
        match self.database.backend() {
            Backend::Sqlite => self.database.read_on_worker(|connection| {
                let found: Option<PersonRow> = query.get_result(connection).optional()?;
                Ok(found.map(from_row))
            }),
            Backend::Postgres => {
                let read = |row: &PipelinedRow| in_pipelined(row).map(Person::from);
                Ok(self.database.read_pipelined(&query, read).await?.pop())
            }
        }
    }

    /// Adds a person; [`Error::PersonExists`] if the id is taken.
    pub(crate) async fn create(&self, new: NewPerson, now: Timestamp) -> Result<Person, Error> {
        let person = new.into_person(now);
        self.database
            .write_statement(move |db| if insert(db, &person)? { Ok(person) } else { Err(Error::PersonExists) })
            .await
    }

    /// Creates or replaces a person, if `allow` agrees to the version that there is.
    pub(crate) async fn put(
        &self,
        new: NewPerson,
        now: Timestamp,
        allow: impl Fn(Option<i64>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Put, Error> {
        self.database
            .write(move |db| {
                loop {
                    if let Some(mut person) = find_for_update(db, &new.id)? {
                        allow(Some(person.version))?;
                        if person.change(new.details, now) {
                            update(db, &person)?;
                        }
                        return Ok(Put::Replaced(person));
                    }
                    allow(None)?;
                    let person = new.clone().into_person(now);
                    if insert(db, &person)? {
                        return Ok(Put::Created(person));
                    }
                    // Somebody else created it between the two statements: look again.
                }
            })
            .await
    }

    /// Changes a person, if `change` agrees to the one that there is. Nothing if there is none.
    pub(crate) async fn change(
        &self,
        id: PersonId,
        now: Timestamp,
        change: impl FnOnce(&Person) -> Result<Details, Error> + Send + 'static,
    ) -> Result<Option<Person>, Error> {
        self.database
            .write(move |db| {
                let Some(mut person) = find_for_update(db, &id)? else { return Ok(None) };
                let details = change(&person)?;
                if person.change(details, now) {
                    update(db, &person)?;
                }
                Ok(Some(person))
            })
            .await
    }

    /// Deletes a person, if `allow` agrees to the version that there is. Answers whether there was one.
    pub(crate) async fn delete(
        &self,
        id: PersonId,
        allow: impl FnOnce(i64) -> Result<(), Error> + Send + 'static,
    ) -> Result<bool, Error> {
        self.database
            .write(move |db| {
                let Some(person) = find_for_update(db, &id)? else { return Ok(false) };
                allow(person.version)?;
                diesel::delete(persons::table.find(id.as_str())).execute(db)?;
                Ok(true)
            })
            .await
    }
}

/// The person with an id, held against other writers until the transaction ends.
fn find_for_update(db: &mut Db, id: &PersonId) -> Result<Option<Person>, Error> {
    let query = persons::table.find(id.as_str()).select(COLUMNS);
    let found: Option<PersonRow> = match db {
        Db::Sqlite(connection) => query.get_result(connection),
        Db::Postgres(connection) => query.for_update().get_result(connection),
    }
    .optional()?;
    Ok(found.map(from_row))
}

/// Adds a person; answers whether the id was free.
fn insert(db: &mut Db, person: &Person) -> Result<bool, Error> {
    let details = &person.details;
    let statement = diesel::insert_into(persons::table)
        .values((
            persons::id.eq(person.id.as_str()),
            persons::name.eq(details.name.as_str()),
            persons::email.eq(details.email.as_ref().map(Email::as_str)),
            persons::age.eq(details.age.map(Age::years)),
            persons::search_text.eq(details.search_text()),
            persons::created_at.eq(person.created_at.as_micros()),
            persons::updated_at.eq(person.updated_at.as_micros()),
            persons::version.eq(person.version),
        ))
        .on_conflict_do_nothing();
    let rows = match db {
        Db::Sqlite(connection) => statement.execute(connection)?,
        Db::Postgres(connection) => statement.execute(connection)?,
    };
    Ok(rows == 1)
}

fn update(db: &mut Db, person: &Person) -> Result<(), Error> {
    let details = &person.details;
    let statement = diesel::update(persons::table.find(person.id.as_str())).set((
        persons::name.eq(details.name.as_str()),
        persons::email.eq(details.email.as_ref().map(Email::as_str)),
        persons::age.eq(details.age.map(Age::years)),
        persons::search_text.eq(details.search_text()),
        persons::updated_at.eq(person.updated_at.as_micros()),
        persons::version.eq(person.version),
    ));
    statement.execute(db)?;
    Ok(())
}
