//! The statements that insert or update one person.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    connection::LoadConnection,
    query_builder::{AstPass, QueryFragment, QueryId},
    query_dsl::methods::ExecuteDsl,
    serialize::ToSql,
    sql_types::{BigInt, Integer, Nullable, Text},
};
use service_kit::import::Counts;

use crate::{
    domain::{Age, Email, NewPerson},
    error::Error,
};

/// Merges persons one after the other.
pub(super) fn one_by_one<'p, C>(
    connection: &mut C,
    persons: impl Iterator<Item = &'p NewPerson>,
    now: i64,
) -> Result<Counts, Error>
where
    C: LoadConnection,
    for<'a> Insert<'a>: ExecuteDsl<C>,
    for<'a> Update<'a>: ExecuteDsl<C>,
{
    let mut counts = Counts::default();
    // What was true of the line before is tried first: it is mostly true of the next one.
    let mut is_there = false;
    for person in persons {
        let search_text = person.details.search_text();
        let row = Row {
            id: person.id.as_str(),
            name: person.details.name.as_str(),
            email: person.details.email.as_ref().map(Email::as_str),
            age: person.details.age.map(Age::years),
            search_text: &search_text,
            now,
        };
        if !is_there && Insert(row).execute(connection)? == 1 {
            counts.inserted += 1;
            continue;
        }
        let tried = is_there;
        is_there = true;
        if Update(row).execute(connection)? == 1 {
            counts.updated += 1;
        } else if tried && Insert(row).execute(connection)? == 1 {
            is_there = false;
            counts.inserted += 1;
        } else {
            counts.unchanged += 1;
        }
    }
    Ok(counts)
}

/// A person as the table has it in its first version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    id: &'a str,
    name: &'a str,
    email: Option<&'a str>,
    age: Option<i32>,
    search_text: &'a str,
    now: i64,
}

pub(super) const INSERT: &str =
    "INSERT INTO persons (id, name, email, age, search_text, created_at, updated_at, version) ";

/// Inserts one person, if there is none with this id.
///
/// This and [`Update`] are nodes of diesel's own query tree, because their text never changes: a statement is found
/// again by its type, without building that text for each line. Two plain statements take SQLite less time than one
/// with RETURNING, for which it makes a table of its own each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Insert<'a>(Row<'a>);

/// Updates one person, if that changes anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update<'a>(Row<'a>);

impl<Connection> RunQueryDsl<Connection> for Insert<'_> {}
impl<Connection> RunQueryDsl<Connection> for Update<'_> {}

impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryId for Update<'_> {
    type QueryId = Update<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<DB> QueryFragment<DB> for Insert<'_>
where
    DB: Backend,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
    for<'a> Option<&'a str>: ToSql<Nullable<Text>, DB>,
    Option<i32>: ToSql<Nullable<Integer>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let Self(row) = self;
        out.push_sql(INSERT);
        out.push_sql("VALUES (");
        out.push_bind_param::<Text, str>(row.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, str>(row.name)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, Option<&str>>(&row.email)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Integer>, Option<i32>>(&row.age)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, str>(row.search_text)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, i64>(&row.now)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, i64>(&row.now)?;
        out.push_sql(", 1) ON CONFLICT (id) DO NOTHING");
        Ok(())
    }
}

impl<DB> QueryFragment<DB> for Update<'_>
where
    DB: Backend,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
    for<'a> Option<&'a str>: ToSql<Nullable<Text>, DB>,
    Option<i32>: ToSql<Nullable<Integer>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let Self(row) = self;
        out.push_sql("UPDATE persons SET name = ");
        out.push_bind_param::<Text, str>(row.name)?;
        out.push_sql(", email = ");
        out.push_bind_param::<Nullable<Text>, Option<&str>>(&row.email)?;
        out.push_sql(", age = ");
        out.push_bind_param::<Nullable<Integer>, Option<i32>>(&row.age)?;
        out.push_sql(", search_text = ");
        out.push_bind_param::<Text, str>(row.search_text)?;
        out.push_sql(", updated_at = ");
        out.push_bind_param::<BigInt, i64>(&row.now)?;
        out.push_sql(", version = version + 1 WHERE id = ");
        out.push_bind_param::<Text, str>(row.id)?;
        out.push_sql(" AND (name <> ");
        out.push_bind_param::<Text, str>(row.name)?;
        out.push_sql(" OR email IS DISTINCT FROM ");
        out.push_bind_param::<Nullable<Text>, Option<&str>>(&row.email)?;
        out.push_sql(" OR age IS DISTINCT FROM ");
        out.push_bind_param::<Nullable<Integer>, Option<i32>>(&row.age)?;
        out.push_sql(")");
        Ok(())
    }
}
