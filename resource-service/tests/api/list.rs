//! Lists of persons: order, filters, pages.

use std::cmp::Ordering;

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, body, problem};

/// A person as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    id: String,
    name: String,
    email: Option<String>,
    age: Option<i64>,
    created_at: String,
}

impl Known {
    fn of(person: &Value) -> Self {
        Self {
            id: person["id"].as_str().unwrap().to_owned(),
            name: person["name"].as_str().unwrap().to_owned(),
            email: person["email"].as_str().map(str::to_owned),
            age: person["age"].as_i64(),
            created_at: person["created_at"].as_str().unwrap().to_owned(),
        }
    }

    /// The order that both databases must keep: by code point, those without an age first, ties by id.
    fn compare(&self, other: &Self, sort: &str) -> Ordering {
        let key = match sort.trim_start_matches('-') {
            "id" => Ordering::Equal,
            "name" => self.name.cmp(&other.name),
            "age" => self.age.unwrap_or(-1).cmp(&other.age.unwrap_or(-1)),
            "created_at" => self.created_at.cmp(&other.created_at),
            other => panic!("{other}"),
        };
        let ascending = key.then_with(|| self.id.cmp(&other.id));
        if sort.starts_with('-') { ascending.reverse() } else { ascending }
    }

    fn matches(&self, filter: &Filter) -> bool {
        let text = format!("{} {}", self.name, self.email.as_deref().unwrap_or_default()).to_lowercase();
        filter.q.as_ref().is_none_or(|q| text.contains(&q.to_lowercase()))
            && filter.min_age.is_none_or(|min| self.age.is_some_and(|age| age >= min))
            && filter.max_age.is_none_or(|max| self.age.is_some_and(|age| age <= max))
    }
}

#[derive(Clone, Debug)]
struct Filter {
    q: Option<String>,
    min_age: Option<i64>,
    max_age: Option<i64>,
}

const SORTS: [&str; 8] = ["id", "-id", "name", "-name", "age", "-age", "created_at", "-created_at"];

fn a_person() -> impl Strategy<Value = (String, String, Option<String>, Option<i64>)> {
    let name = prop::sample::select(vec![
        "Ann",
        "ann",
        "Anna",
        "Ängström",
        "Zoë",
        "zoe",
        "Émile",
        "emile",
        "O'Neil",
        "50%",
        "a_b",
        "a\\b",
        "ß",
        "İ",
        "日本",
        "Ann Z",
        " Ann",
        "🙂",
    ]);
    (
        "[A-Za-z0-9._-]{1,6}x",
        name.prop_map(str::to_owned),
        prop::option::of("[a-zA-Z]{1,3}@[a-z]{1,2}"),
        prop::option::of(prop::sample::select(vec![0i64, 1, 2, 30, 31, 150])),
    )
}

fn a_filter() -> impl Strategy<Value = Filter> {
    let q =
        prop::sample::select(vec!["an", "AN", "%", "_", "\\", "ä", "Ë", "n z", " ", "é", "@", "日", "nothing like it"]);
    let age = || prop::option::weighted(0.3, prop::sample::select(vec![0i64, 1, 2, 30, 150]));
    (prop::option::weighted(0.3, q.prop_map(str::to_owned)), age(), age()).prop_map(|(q, min_age, max_age)| Filter {
        q,
        min_age,
        max_age,
    })
}

on_both_databases! {
    async fn walking_the_pages_gives_exactly_the_sorted_and_filtered_persons(database: TestDatabase) {
        let app = TestApp::start(&database);
        let mut runner = TestRunner::deterministic();
        let mut made = |count| prop::collection::vec(a_person(), count).new_tree(&mut runner).unwrap().current();
        // In several goes, so that many share the time of their creation and many do not.
        for count in [1, 40, 40, 40] {
            let mut file = String::new();
            for (id, name, email, age) in made(count) {
                file.push_str(&json!({"id": id, "name": name, "email": email, "age": age}).to_string());
                file.push('\n');
            }
            let report = app.import("application/x-ndjson", file).await;
            assert_eq!(report["rejected"], 0, "{report}");
            app.advance_seconds(1);
        }
        let mut everybody: Vec<Known> = app.everybody().await.iter().map(Known::of).collect();
        assert!(everybody.len() > 100);

        let mut runner = TestRunner::deterministic();
        for round in 0..64 {
            let (filter, limit) = (a_filter(), 1usize..30).new_tree(&mut runner).unwrap().current();
            let sort = SORTS[round % SORTS.len()];
            let mut query = format!("&sort={sort}");
            if let Some(q) = &filter.q {
                let encoded: String = q.bytes().map(|byte| format!("%{byte:02X}")).collect();
                query.push_str(&format!("&q={encoded}"));
            }
            if let Some(min) = filter.min_age {
                query.push_str(&format!("&min_age={min}"));
            }
            if let Some(max) = filter.max_age {
                query.push_str(&format!("&max_age={max}"));
            }
            everybody.sort_by(|one, other| one.compare(other, sort));
            let expected: Vec<&Known> = everybody.iter().filter(|person| person.matches(&filter)).collect();
            let walked = app.walk(&query, limit).await;
            let found: Vec<Known> = walked.iter().map(Known::of).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query} by {limit}");
        }
    }

    async fn a_page_has_50_persons_unless_told(database: TestDatabase) {
        let app = TestApp::start(&database);
        let file: String = (0..51).map(|number| format!("{{\"id\":\"p{number:02}\",\"name\":\"Ann\"}}\n")).collect();
        app.import("application/x-ndjson", file).await;
        let page = body(app.get("/persons").send().await.unwrap(), StatusCode::OK).await;
        assert_eq!(page["items"].as_array().unwrap().len(), 50);
        let next = page["next_cursor"].as_str().unwrap();
        let last = body(app.get(&format!("/persons?cursor={next}")).send().await.unwrap(), StatusCode::OK).await;
        assert_eq!((last["items"].as_array().unwrap().len(), &last["next_cursor"]), (1, &Value::Null));
        let whole = body(app.get("/persons?limit=51").send().await.unwrap(), StatusCode::OK).await;
        assert_eq!((whole["items"].as_array().unwrap().len(), &whole["next_cursor"]), (51, &Value::Null));
    }

    async fn a_cursor_goes_on_after_its_person_is_gone_and_sees_who_came_behind_it(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.import("text/csv", "id,name\na,Ann\nb,Bo\nd,Di\n").await;
        let page = body(app.get("/persons?limit=2").send().await.unwrap(), StatusCode::OK).await;
        let next = page["next_cursor"].as_str().unwrap();
        app.delete("/persons/b").send().await.unwrap();
        app.import("text/csv", "id,name\naa,Al\nc,Cy\n").await;
        let page = body(app.get(&format!("/persons?limit=2&cursor={next}")).send().await.unwrap(), StatusCode::OK).await;
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|person| person["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["c", "d"]);
    }

    async fn a_cursor_that_is_made_up_or_of_another_list_is_refused(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.import("text/csv", "id,name,age\na,Ann,1\nb,Bo,2\n").await;
        let page = body(app.get("/persons?limit=1&sort=name").send().await.unwrap(), StatusCode::OK).await;
        let cursor = page["next_cursor"].as_str().unwrap();
        assert_eq!(app.get(&format!("/persons?sort=name&cursor={cursor}")).send().await.unwrap().status(), 200);
        let mut bent = cursor.to_owned();
        bent.replace_range(14..15, if &cursor[14..15] == "A" { "B" } else { "A" });
        for query in [
            format!("cursor={cursor}"),
            format!("sort=-name&cursor={cursor}"),
            format!("sort=name&min_age=1&cursor={cursor}"),
            format!("sort=name&max_age=9&cursor={cursor}"),
            format!("sort=name&q=a&cursor={cursor}"),
            format!("sort=name&cursor={bent}"),
            format!("sort=name&cursor={cursor}A"),
            "cursor=".to_owned(),
            "cursor=b".to_owned(),
            "cursor=%00".to_owned(),
            "cursor=AAAAAAAAAAAAWyJhIl0".to_owned(),
        ] {
            problem(app.get(&format!("/persons?{query}")).send().await.unwrap(), 400, "invalid_request").await;
        }
    }

    async fn an_empty_search_and_an_empty_range_are_lists_too(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.import("text/csv", "id,name,age\na,Ann,1\nb,Bo,\n").await;
        assert_eq!(app.walk("&q=", 10).await.len(), 2);
        assert_eq!(app.walk("&min_age=5&max_age=1", 10).await.len(), 0);
        assert_eq!(app.walk("&min_age=0", 10).await.len(), 1, "a person without an age is of no age");
    }
}
