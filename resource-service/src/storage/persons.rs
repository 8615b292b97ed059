//! Reads and writes of persons, one by one and page by page.

use std::sync::Arc;

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable};
use service_kit::{
    Timestamp,
    db::{Backend, Database, Db},
};
use tokio::sync::Mutex;

use super::{
    page::{PageQuery, like_pattern},
    schema::persons,
};
use crate::{
    domain::{Age, Details, Email, List, Name, NewPerson, Person, PersonId, Position},
    error::Error,
};

/// A person as the table has it.
#[derive(Debug, Queryable)]
struct PersonRow {
    id: String,
    name: String,
    email: Option<String>,
    age: Option<i32>,
    created_at: i64,
    updated_at: i64,
    version: i64,
}

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

impl From<PersonRow> for Person {
    fn from(row: PersonRow) -> Self {
        Self {
            id: PersonId::from_stored(row.id),
            details: Details {
                name: Name::from_stored(row.name),
                email: row.email.map(Email::from_stored),
                age: row.age.map(Age::from_stored),
            },
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
            version: row.version,
        }
    }
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

    /// The first `rows` persons of a list after a position; fewer at its end, and perhaps a few more than asked for.
    /// No more than 1,000 can be asked for.
    pub(crate) async fn page(&self, list: &List, after: Option<&Position>, rows: i64) -> Result<Vec<Person>, Error> {
        let found: Vec<PersonRow> = if list.follows_an_index() {
            let query = PageQuery::new(list, after, rows, None);
            match self.database.backend() {
                Backend::Sqlite => self
                    .database
                    .read_on_worker(|connection| Ok::<_, Error>(diesel::RunQueryDsl::load(query, connection)?))?,
                Backend::Postgres => {
                    self.database
                        .read_pipelined(async |connection| {
                            diesel_async::RunQueryDsl::load(query, &mut &*connection).await
                        })
                        .await?
                }
            }
        } else {
            return self.scan(list.clone(), after.cloned(), rows).await;
        };
        Ok(found.into_iter().map(Person::from).collect())
    }

    /// The same on the blocking pool: for pages that take longer.
    pub(crate) async fn scan(&self, list: List, after: Option<Position>, rows: i64) -> Result<Vec<Person>, Error> {
        self.database
            .read(move |db| {
                let pattern = list.search.as_deref().map(like_pattern);
                let query = PageQuery::new(&list, after.as_ref(), rows, pattern.as_deref());
                let found: Vec<PersonRow> = diesel::RunQueryDsl::load(query, db)?;
                Ok(found.into_iter().map(Person::from).collect())
            })
            .await
    }

    /// The person with an id.
    pub(crate) async fn find(&self, id: &PersonId) -> Result<Option<Person>, Error> {
        let id = id.as_str();
        let found: Option<PersonRow> = match self.database.backend() {
            Backend::Sqlite => self.database.read_on_worker(|connection| {
                let query = persons::table.find(id).select(COLUMNS);
                Ok::<_, Error>(diesel::RunQueryDsl::get_result(query, connection).optional()?)
            })?,
            Backend::Postgres => {
                self.database
                    .read_pipelined(async |connection| {
                        let query = persons::table.find(id).select(COLUMNS);
                        diesel_async::RunQueryDsl::get_result(query, &mut &*connection).await.optional()
                    })
                    .await?
            }
        };
        Ok(found.map(Person::from))
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
                diesel::RunQueryDsl::execute(diesel::delete(persons::table.find(id.as_str())), db)?;
                Ok(true)
            })
            .await
    }
}

/// The person with an id, held against other writers until the transaction ends.
fn find_for_update(db: &mut Db, id: &PersonId) -> Result<Option<Person>, Error> {
    let query = persons::table.find(id.as_str()).select(COLUMNS);
    let found: Option<PersonRow> = match db {
        Db::Sqlite(connection) => diesel::RunQueryDsl::get_result(query, connection),
        Db::Postgres(connection) => diesel::RunQueryDsl::get_result(query.for_update(), connection),
    }
    .optional()?;
    Ok(found.map(Person::from))
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
        Db::Sqlite(connection) => diesel::RunQueryDsl::execute(statement, connection)?,
        Db::Postgres(connection) => diesel::RunQueryDsl::execute(statement, connection)?,
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
    diesel::RunQueryDsl::execute(statement, db)?;
    Ok(())
}
