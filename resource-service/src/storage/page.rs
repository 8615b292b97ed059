//! The query for one page of a list.

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    serialize::ToSql,
    sql_types::{BigInt, Integer, Nullable, Text},
};

use crate::domain::{KeyValue, List, Position, SortKey};

/// One page: the rows of a list that come after a position.
///
/// Written as a node of diesel's own query tree, because the row-value comparison `(key, id) > (x, y)` has no word in
/// its DSL and an SQL literal would keep the statement from being prepared only once. It serves both databases alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageQuery<'a> {
    list: &'a List,
    after: Option<&'a Position>,
    rows: Rows,
    min_years: i32,
    max_years: i32,
    /// `list.search` as a pattern for LIKE.
    pattern: Option<&'a str>,
}

impl<'a> PageQuery<'a> {
    /// `rows` rows, or a few more, after a position or from the beginning. `pattern` is what [`like_pattern`] makes of the
    /// list's search.
    pub(super) fn new(list: &'a List, after: Option<&'a Position>, rows: i64, pattern: Option<&'a str>) -> Self {
        Self {
            list,
            after,
            rows: Rows::at_least(rows),
            min_years: list.min_years(),
            max_years: list.max_years(),
            pattern,
        }
    }
}

/// How many rows a statement gives, rounded up to one of a few numbers that stand in its text.
///
/// A bound number would have PostgreSQL plan the query anew each time, because it cannot know that so few rows are asked
/// for; any number in the text would make as many statements to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    Eleven,
    TwentyOne,
    FiftyOne,
    HundredOne,
    TwoHundredOne,
    Thousand,
}

impl Rows {
    /// The fewest that are no fewer; 1,000 at most.
    fn at_least(rows: i64) -> Self {
        match rows {
            ..=11 => Self::Eleven,
            12..=21 => Self::TwentyOne,
            22..=51 => Self::FiftyOne,
            52..=101 => Self::HundredOne,
            102..=201 => Self::TwoHundredOne,
            202.. => Self::Thousand,
        }
    }

    fn as_sql(self) -> &'static str {
        match self {
            Self::Eleven => "11",
            Self::TwentyOne => "21",
            Self::FiftyOne => "51",
            Self::HundredOne => "101",
            Self::TwoHundredOne => "201",
            Self::Thousand => "1000",
        }
    }
}

/// The pattern that finds a text anywhere.
pub(super) fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

impl Query for PageQuery<'_> {
    type SqlType = (Text, Text, Nullable<Text>, Nullable<Integer>, BigInt, BigInt, BigInt);
}

impl<Connection> RunQueryDsl<Connection> for PageQuery<'_> {}

// The text depends on the list: statements are told apart by it.
impl QueryId for PageQuery<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB> QueryFragment<DB> for PageQuery<'_>
where
    DB: Backend,
    str: ToSql<Text, DB>,
    i32: ToSql<Integer, DB>,
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let sort = self.list.sort;
        let key = match sort.key {
            SortKey::Id => None,
            SortKey::Name => Some("name"),
            SortKey::Age => Some("age_key"),
            SortKey::CreatedAt => Some("created_at"),
        };
        out.push_sql("SELECT id, name, email, age, created_at, updated_at, version FROM persons");

        let mut and = Conjunction(" WHERE ");
        if let Some(after) = self.after {
            and.push(&mut out);
            let comparison = if sort.descending { " < (" } else { " > (" };
            match key {
                None => out.push_sql("(id)"),
                Some(key) => {
                    out.push_sql("(");
                    out.push_sql(key);
                    out.push_sql(", id)");
                }
            }
            out.push_sql(comparison);
            match &after.key {
                KeyValue::Id => {}
                KeyValue::Name(name) => out.push_bind_param::<Text, str>(name)?,
                KeyValue::Age(age) => out.push_bind_param::<Integer, i32>(age)?,
                KeyValue::CreatedAt(micros) => out.push_bind_param::<BigInt, i64>(micros)?,
            }
            if key.is_some() {
                out.push_sql(", ");
            }
            out.push_bind_param::<Text, str>(&after.id)?;
            out.push_sql(")");
        }
        if self.list.filters_age() {
            // `age_key` is for a bound that the walk along its index begins or ends with. Where the position is the
            // beginning, and in any other order, the bound must not lure the planner away from the index in use:
            // `age` has none.
            let by_age = sort.key == SortKey::Age;
            let begins_at_bound = self.after.is_none();
            let bound = |is_the_end: bool| if by_age && (begins_at_bound || is_the_end) { "age_key" } else { "age" };
            and.push(&mut out);
            out.push_sql(bound(sort.descending));
            out.push_sql(" >= ");
            out.push_bind_param::<Integer, i32>(&self.min_years)?;
            and.push(&mut out);
            out.push_sql(bound(!sort.descending));
            out.push_sql(" <= ");
            out.push_bind_param::<Integer, i32>(&self.max_years)?;
        }
        if let Some(pattern) = self.pattern {
            and.push(&mut out);
            out.push_sql("search_text LIKE ");
            out.push_bind_param::<Text, str>(pattern)?;
            out.push_sql(" ESCAPE '\\'");
        }

        out.push_sql(" ORDER BY ");
        let direction = if sort.descending { " DESC" } else { "" };
        if let Some(key) = key {
            out.push_sql(key);
            out.push_sql(direction);
            out.push_sql(", ");
        }
        out.push_sql("id");
        out.push_sql(direction);
        out.push_sql(" LIMIT ");
        out.push_sql(self.rows.as_sql());
        Ok(())
    }
}

/// Writes `WHERE` before the first condition and `AND` before the others.
struct Conjunction(&'static str);

impl Conjunction {
    fn push<DB: Backend>(&mut self, out: &mut AstPass<'_, '_, DB>) {
        out.push_sql(self.0);
        self.0 = " AND ";
    }
}

#[cfg(test)]
mod tests {
    use diesel::{
        Connection as _, QueryableByName, SqliteConnection, connection::SimpleConnection as _, sql_query,
        sqlite::Sqlite,
    };

    use super::*;
    use crate::domain::{Age, Sort};

    #[derive(QueryableByName)]
    struct PlanRow {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    #[test]
    fn a_pattern_takes_nothing_for_a_wildcard() {
        assert_eq!(like_pattern(r"50%_\é"), r"%50\%\_\\é%");
    }

    #[test]
    fn rows_are_rounded_up() {
        for rows in [1, 11, 12, 21, 22, 51, 52, 101, 102, 201, 202, 1_000] {
            let given: i64 = Rows::at_least(rows).as_sql().parse().unwrap();
            assert!(given >= rows, "{rows}");
        }
        for rows in [11, 21, 51, 101, 201, 1_000] {
            assert_eq!(Rows::at_least(rows).as_sql(), rows.to_string(), "a usual limit reads no row too many");
        }
    }

    #[test]
    fn a_page_deep_in_any_list_that_follows_an_index_is_sought_and_not_walked_to() {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let schema = include_str!("../../migrations/sqlite/2026-11-23-000000_create_persons/up.sql");
        connection.batch_execute(schema).unwrap();
        let age = Some(Age::parse(30).unwrap());
        for (sort, key, index, column) in [
            ("id", KeyValue::Id, "PRIMARY KEY", "id"),
            ("name", KeyValue::Name("Ann".to_owned()), "INDEX persons_by_name", "(name,id)"),
            ("age", KeyValue::Age(30), "INDEX persons_by_age", "(age_key,id)"),
            ("created_at", KeyValue::CreatedAt(1), "INDEX persons_by_created_at", "(created_at,id)"),
        ] {
            for (descending, min_age, max_age) in [
                ("", None, None),
                ("-", None, None),
                ("", age, age),
                ("-", age, age),
                ("", age, None),
                ("-", None, age),
            ] {
                let sort = Sort::parse(&format!("{descending}{sort}")).unwrap();
                let list = List { sort, min_age, max_age, search: None };
                let after = Position { key: key.clone(), id: "a".to_owned() };
                let query = PageQuery::new(&list, Some(&after), 21, None);
                let sql = diesel::debug_query::<Sqlite, _>(&query).to_string();
                let plan: Vec<PlanRow> = sql_query(format!("EXPLAIN QUERY PLAN {sql}")).load(&mut connection).unwrap();
                let plan: Vec<&str> = plan.iter().map(|row| row.detail.as_str()).collect();
                let comparison = if sort.descending { "<" } else { ">" };
                let (search, sought) = (format!("SEARCH persons USING {index} ("), format!("{column}{comparison}"));
                assert!(
                    plan.len() == 1 && plan[0].starts_with(&search) && plan[0].contains(&sought),
                    "{sql}: {plan:?}, not {search}{sought}"
                );
            }
        }
    }
}
