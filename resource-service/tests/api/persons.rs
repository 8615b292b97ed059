//! Persons, one by one.

use reqwest::{
    Method, StatusCode,
    header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION},
};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, body, fields, problem};

on_both_databases! {
    async fn a_whole_number_may_be_written_with_a_decimal_point(db: TestDatabase) {
        let app = TestApp::start(&db);
        let person = json!({"id": "ann", "name": "Ann", "age": 36.0});
        let made = body(app.post("/persons").json(&person).send().await.unwrap(), StatusCode::CREATED).await;
        assert_eq!(made["age"], 36);
        let changed = app.patch("/persons/ann").json(&json!({"age": 37.0})).send().await.unwrap();
        assert_eq!(body(changed, StatusCode::OK).await["age"], 37);
    }

    async fn a_person_is_created_read_changed_and_deleted(database: TestDatabase) {
        let app = TestApp::start(&database);
        let new = json!({"id": "A000055", "name": "Zoë \"Z\" O'Neil", "email": "zoe@example.com", "age": 41});
        let response = app.post("/persons").json(&new).send().await.unwrap();
        assert_eq!(response.headers()[LOCATION], "/persons/A000055");
        assert_eq!(response.headers()[ETAG], "\"1\"");
        let created = body(response, StatusCode::CREATED).await;
        let expected = json!({
            "id": "A000055", "name": "Zoë \"Z\" O'Neil", "email": "zoe@example.com", "age": 41,
            "created_at": "2027-01-15T08:00:00.000000Z", "updated_at": "2027-01-15T08:00:00.000000Z", "version": 1,
        });
        assert_eq!(created, expected);

        app.advance_seconds(60);
        let response = app.patch("/persons/A000055").json(&json!({"age": null})).send().await.unwrap();
        assert_eq!(response.headers()[ETAG], "\"2\"");
        let mut expected = expected;
        expected["age"] = Value::Null;
        expected["updated_at"] = json!("2027-01-15T08:01:00.000000Z");
        expected["version"] = json!(2);
        assert_eq!(body(response, StatusCode::OK).await, expected);
        assert_eq!(body(app.get("/persons/A000055").send().await.unwrap(), StatusCode::OK).await, expected);

        let response = app.delete("/persons/A000055").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        problem(app.get("/persons/A000055").send().await.unwrap(), 404, "not_found").await;
        problem(app.delete("/persons/A000055").send().await.unwrap(), 404, "not_found").await;
        problem(app.patch("/persons/A000055").json(&json!({})).send().await.unwrap(), 404, "not_found").await;
    }

    async fn a_person_without_an_id_gets_a_new_one(database: TestDatabase) {
        let app = TestApp::start(&database);
        let mut ids = Vec::new();
        for _ in 0..2 {
            let response = app.post("/persons").json(&json!({"name": "Ann"})).send().await.unwrap();
            let location = response.headers()[LOCATION].to_str().unwrap().to_owned();
            let created = body(response, StatusCode::CREATED).await;
            let id = created["id"].as_str().unwrap().to_owned();
            assert_eq!(location, format!("/persons/{id}"));
            assert_eq!((&created["email"], &created["age"]), (&Value::Null, &Value::Null));
            assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
            ids.push(id);
        }
        assert!(ids[0] < ids[1], "new persons come last");
    }

    async fn a_taken_id_is_refused_and_the_person_who_has_it_is_left_alone(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.post("/persons").json(&json!({"id": "a", "name": "Ann"})).send().await.unwrap();
        let response = app.post("/persons").json(&json!({"id": "a", "name": "Bo"})).send().await.unwrap();
        problem(response, 409, "person_exists").await;
        let people = app.everybody().await;
        assert_eq!((people.len(), &people[0]["name"]), (1, &json!("Ann")));
    }

    async fn put_creates_then_replaces_all_of_a_person(database: TestDatabase) {
        let app = TestApp::start(&database);
        let put = |new: Value| app.put("/persons/a").json(&new).send();
        let response = put(json!({"name": "Ann", "email": "ann@example.com", "age": 1})).await.unwrap();
        assert_eq!(response.headers()[LOCATION], "/persons/a");
        assert_eq!(body(response, StatusCode::CREATED).await["version"], 1);
        app.advance_seconds(1);
        let replaced = body(put(json!({"name": "Ann"})).await.unwrap(), StatusCode::OK).await;
        assert_eq!(replaced["version"], 2);
        assert_eq!((&replaced["email"], &replaced["age"]), (&Value::Null, &Value::Null));
        assert_ne!(replaced["created_at"], replaced["updated_at"]);
    }

    async fn what_changes_nothing_leaves_version_and_time_alone(database: TestDatabase) {
        let app = TestApp::start(&database);
        let person = json!({"name": "Ann", "email": null, "age": 1});
        let before = body(app.put("/persons/a").json(&person).send().await.unwrap(), StatusCode::CREATED).await;
        app.advance_seconds(1);
        for change in [json!({}), json!({"name": "Ann"}), json!({"email": null, "age": 1})] {
            let after = body(app.patch("/persons/a").json(&change).send().await.unwrap(), StatusCode::OK).await;
            assert_eq!(after, before);
        }
        assert_eq!(body(app.put("/persons/a").json(&person).send().await.unwrap(), StatusCode::OK).await, before);
    }

    async fn if_match_guards_every_change(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.put("/persons/a").json(&json!({"name": "Ann"})).send().await.unwrap();
        let call = |method: Method, path: &str, tag: &str| {
            let request = app.request(method.clone(), path).header(IF_MATCH, tag);
            if method == Method::DELETE { request } else { request.json(&json!({"name": "Bo"})) }
        };
        for tag in ["\"2\"", "W/\"1\"", "\"one\"", "1", "\"2\", \"3\""] {
            for method in [Method::PUT, Method::PATCH, Method::DELETE] {
                problem(call(method, "/persons/a", tag).send().await.unwrap(), 412, "precondition_failed").await;
            }
        }
        assert_eq!(app.everybody().await[0]["name"], "Ann");
        problem(call(Method::PUT, "/persons/b", "*").send().await.unwrap(), 412, "precondition_failed").await;
        problem(call(Method::PATCH, "/persons/b", "*").send().await.unwrap(), 404, "not_found").await;
        assert_eq!(app.everybody().await.len(), 1);

        assert_eq!(call(Method::PATCH, "/persons/a", "\"7\", \"1\"").send().await.unwrap().status(), 200);
        assert_eq!(call(Method::PUT, "/persons/a", "*").send().await.unwrap().status(), 200);
        assert_eq!(call(Method::DELETE, "/persons/a", "\"2\"").send().await.unwrap().status(), 204);
    }

    async fn if_none_match_with_a_star_only_creates(database: TestDatabase) {
        let app = TestApp::start(&database);
        let put = |name: &str| app.put("/persons/a").header(IF_NONE_MATCH, "*").json(&json!({"name": name})).send();
        assert_eq!(put("Ann").await.unwrap().status(), 201);
        problem(put("Bo").await.unwrap(), 412, "precondition_failed").await;
        assert_eq!(app.everybody().await[0]["name"], "Ann");
    }

    async fn a_read_that_has_not_changed_is_304(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.put("/persons/a").json(&json!({"name": "Ann"})).send().await.unwrap();
        let get = |tag: &'static str| app.get("/persons/a").header(IF_NONE_MATCH, tag).send();
        for tag in ["\"1\"", "W/\"1\"", "\"9\", \"1\"", "*"] {
            let response = get(tag).await.unwrap();
            assert_eq!((response.status(), &response.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &"\"1\"".parse().unwrap()));
            assert_eq!(response.text().await.unwrap(), "");
        }
        assert_eq!(get("\"2\"").await.unwrap().status(), 200);
    }

    async fn head_has_the_headers_and_no_body(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.put("/persons/a").json(&json!({"name": "Ann"})).send().await.unwrap();
        let response = app.request(Method::HEAD, "/persons/a").send().await.unwrap();
        assert_eq!((response.status(), &response.headers()[ETAG]), (StatusCode::OK, &"\"1\"".parse().unwrap()));
        assert_eq!(response.text().await.unwrap(), "");
    }

    async fn fields_that_cannot_be_taken_are_named_all_at_once(database: TestDatabase) {
        let app = TestApp::start(&database);
        let long = "x".repeat(201);
        for (person, expected) in [
            (json!({"id": "a b", "name": " ", "email": "nobody", "age": 151}),
             vec![("id", "invalid"), ("name", "blank"), ("email", "invalid"), ("age", "out_of_range")]),
            (json!({"id": "import", "name": "Ann"}), vec![("id", "reserved")]),
            (json!({"id": "export", "name": "Ann"}), vec![("id", "reserved")]),
            (json!({"id": "..", "name": "Ann"}), vec![("id", "reserved")]),
            (json!({"id": "x".repeat(65), "name": "Ann"}), vec![("id", "invalid")]),
            (json!({"id": "", "name": "Ann"}), vec![("id", "invalid")]),
            (json!({"id": "a\0", "name": "Ann"}), vec![("id", "invalid")]),
            (json!({"name": long}), vec![("name", "too_long")]),
            (json!({"name": "a\0b"}), vec![("name", "control_character")]),
            (json!({"name": "a\nb"}), vec![("name", "control_character")]),
            (json!({"name": "Ann", "email": "a@b\0"}), vec![("email", "invalid")]),
            (json!({"name": "Ann", "email": format!("{}@b", "x".repeat(253))}), vec![("email", "too_long")]),
            (json!({"name": "Ann", "age": -1}), vec![("age", "out_of_range")]),
            (json!({"name": "Ann", "age": 1.5}), vec![("age", "invalid_type")]),
            (json!({"name": "Ann", "age": 1e300}), vec![("age", "out_of_range")]),
            (json!({"name": "Ann", "age": "1"}), vec![("age", "invalid_type")]),
            (json!({"name": 1}), vec![("name", "invalid_type")]),
            (json!({"name": null}), vec![("name", "invalid_type")]),
            (json!({}), vec![("name", "required")]),
            (json!({"name": "Ann", "phone": "1"}), vec![("phone", "unknown")]),
            (json!(["a", "Ann", null, null]), vec![("", "invalid_type")]),
        ] {
            let response = app.post("/persons").json(&person).send().await.unwrap();
            let problem = problem(response, 422, "validation_failed").await;
            let expected: Vec<_> = expected.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect();
            assert_eq!(fields(&problem), expected, "{person}");
        }
        assert!(app.everybody().await.is_empty());
    }

    async fn a_put_or_patch_is_checked_like_a_post(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.put("/persons/a").json(&json!({"name": "Ann"})).send().await.unwrap();
        for (method, path, person, field) in [
            (Method::PUT, "/persons/a%20b", json!({"name": "Ann"}), "id"),
            (Method::PUT, "/persons/%C3%A9", json!({"name": "Ann"}), "id"),
            (Method::PUT, "/persons/a", json!({"name": "", "age": 1}), "name"),
            (Method::PUT, "/persons/a", json!({"age": 1}), "name"),
            (Method::PUT, "/persons/a", json!({"id": "a", "name": "Ann"}), "id"),
            (Method::PATCH, "/persons/a", json!({"name": null}), "name"),
            (Method::PATCH, "/persons/a", json!({"email": "x"}), "email"),
            (Method::PATCH, "/persons/a", json!({"age": 200}), "age"),
            (Method::PATCH, "/persons/a", json!({"version": 2}), "version"),
        ] {
            let response = app.request(method, path).json(&person).send().await.unwrap();
            let problem = problem(response, 422, "validation_failed").await;
            assert_eq!(fields(&problem)[0].0, field, "{person}");
        }
        assert_eq!(app.everybody().await[0]["version"], 1);
        for path in ["/persons/a%20b", "/persons/%00", "/persons/a/b", "/persons/"] {
            problem(app.get(path).send().await.unwrap(), 404, "not_found").await;
        }
    }

    async fn of_many_who_create_the_same_person_at_once_one_succeeds(database: TestDatabase) {
        let app = TestApp::start(&database);
        let posts = (0..20).map(|_| app.post("/persons").json(&json!({"id": "a", "name": "Ann"})).send());
        let statuses: Vec<u16> = futures_util::future::join_all(posts).await.into_iter().map(|response| response.unwrap().status().as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 201 | 409)), "{statuses:?}");
    }

    async fn of_many_who_put_the_same_person_at_once_one_creates_and_none_is_lost(database: TestDatabase) {
        let app = TestApp::start(&database);
        let puts = (0..20).map(|age| app.put("/persons/a").json(&json!({"name": "Ann", "age": age})).send());
        let statuses: Vec<u16> = futures_util::future::join_all(puts).await.into_iter().map(|response| response.unwrap().status().as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 19, "{statuses:?}");
        assert_eq!(app.everybody().await[0]["version"], 20);
    }

    async fn of_many_who_change_the_same_version_one_succeeds(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.put("/persons/a").json(&json!({"name": "Ann"})).send().await.unwrap();
        let patches = (0..20).map(|age| app.patch("/persons/a").header(IF_MATCH, "\"1\"").json(&json!({"age": age})).send());
        let statuses: Vec<u16> = futures_util::future::join_all(patches).await.into_iter().map(|response| response.unwrap().status().as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19, "{statuses:?}");
        assert_eq!(app.everybody().await[0]["version"], 2);
    }
}
