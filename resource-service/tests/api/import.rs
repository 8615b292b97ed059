//! Imports.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use actix_web::rt::task::spawn_blocking;
use futures_util::stream;
use reqwest::{Body, StatusCode};
use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{TestApp, body, fields, problem};

/// A report without errors.
fn report(inserted: u64, updated: u64, unchanged: u64) -> Value {
    json!({"inserted": inserted, "updated": updated, "unchanged": unchanged, "rejected": 0, "errors": []})
}

fn lines(report: &Value) -> Vec<(u64, &str)> {
    let errors = report["errors"].as_array().unwrap();
    errors.iter().map(|error| (error["line"].as_u64().unwrap(), error["code"].as_str().unwrap())).collect()
}

const NAMES: [&str; 5] = ["Zoë O'Neil", "Robert \"Bob\" B., Jr.", "日本 太郎", "Ann", " padded "];

/// A CSV file of so many persons, ids ascending, all kinds of names.
fn csv_file(persons: usize) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["id", "name", "email", "age"]).unwrap();
    for number in 0..persons {
        let email = if number % 3 == 0 { String::new() } else { format!("p{number}@example.com") };
        let age = if number % 4 == 0 { String::new() } else { (number % 151).to_string() };
        writer.write_record([&format!("p{number:06}"), NAMES[number % 5], &email, &age]).unwrap();
    }
    writer.into_inner().unwrap()
}

/// A file as a chunked body, in pieces that care for no line.
fn streamed(file: &[u8], piece: usize) -> Body {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = file.chunks(piece).map(|bytes| Ok(bytes.to_vec())).collect();
    Body::wrap_stream(stream::iter(pieces))
}

/// Sends a request as raw bytes and gives what comes back until the connection ends.
async fn raw(app: &TestApp, request: Vec<u8>) -> String {
    let address = app.base.strip_prefix("http://").unwrap().to_owned();
    spawn_blocking(move || {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(&request).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A connection that is reset has said all that it will.
        let _ = connection.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .unwrap()
}

on_both_databases! {
    async fn a_file_is_inserted_then_unchanged_then_updated_where_it_differs(database: TestDatabase) {
        let app = TestApp::start(&database);
        let file = csv_file(500);
        assert_eq!(app.import("text/csv", file.clone()).await, report(500, 0, 0));
        app.advance_seconds(1);
        assert_eq!(app.import("text/csv; charset=utf-8", file).await, report(0, 0, 500));
        let before = app.everybody().await;
        assert_eq!(before.len(), 500);
        assert_eq!(before[1]["name"], "Robert \"Bob\" B., Jr.");
        assert!(before.iter().all(|person| person["version"] == 1 && person["created_at"] == person["updated_at"]));

        let changes = "age,name,id\r\n7,Zoë O'Neil,p000000\r\n1,New,q\r\n1,\"Robert \"\"Bob\"\" B., Jr.\",p000001\r\n";
        // The last of them loses its email address, for the file has no such column.
        assert_eq!(app.import("text/csv", changes).await, report(1, 2, 0));
        let after = app.everybody().await;
        assert_eq!((&after[0]["age"], &after[0]["version"], &after[0]["email"]), (&json!(7), &json!(2), &Value::Null));
        assert_eq!((&after[1]["email"], &after[1]["version"]), (&Value::Null, &json!(2)));
        assert_ne!(after[0]["updated_at"], after[0]["created_at"]);
        assert_eq!(after[2..500], before[2..]);
    }

    async fn ndjson_is_taken_like_csv(database: TestDatabase) {
        let app = TestApp::start(&database);
        let file = "\u{feff}{\"id\":\"a\",\"name\":\"Zoë\",\"email\":\"z@b\",\"age\":3}\r\n\n{\"name\":\"New\",\"age\":null}\n{\"id\":\"b\",\"name\":\"Bo\"}";
        assert_eq!(app.import("application/x-ndjson", file).await, report(3, 0, 0));
        assert_eq!(app.import("application/x-ndjson", file).await, report(1, 0, 2), "who has no id is new each time");
        let people = app.everybody().await;
        assert_eq!(people.len(), 4);
        assert!(people.iter().any(|person| person["id"] == "a" && person["name"] == "Zoë" && person["age"] == 3));
    }

    async fn bad_lines_are_listed_and_the_good_ones_kept(database: TestDatabase) {
        let app = TestApp::start(&database);
        let mut file = b"id,name,email,age\n\
            a,Ann,,\n\
            b,,,\n\
            c,Cy,nobody,\n\
            d,Di,,old\n\
            e,Ed,,151\n\
            a b,Al,,\n\
            import,Al,,\n\
            f,Flo\n\
            g,Gus,,,\n\
            h,\"Hal\nHal\",,\n\
            i,I\xff,,\n\
            j,J\0,,\n\
            \"k\"k,Kim,,\n\
            l,Lou,l@example.com,44\n\n\
            m,Max,,-1\n"
            .to_vec();
        file.extend_from_slice(format!("n,{},,\n", "x".repeat(70_000)).as_bytes());
        file.extend_from_slice(b"o,Oz,,1\np,\"Pat,,");
        let report = app.import("text/csv", streamed(&file, 1000)).await;
        assert_eq!(
            lines(&report),
            [
                (3, "blank"), (4, "invalid"), (5, "invalid"), (6, "out_of_range"), (7, "invalid"), (8, "reserved"),
                (9, "field_count"), (10, "field_count"), (11, "control_character"), (13, "invalid_utf8"),
                (14, "control_character"), (15, "malformed"), (18, "invalid"), (19, "too_long"),
                (21, "unterminated_quote"),
            ]
        );
        assert_eq!((&report["inserted"], &report["rejected"]), (&json!(3), &json!(15)));
        assert!(report["errors"][1]["message"].as_str().unwrap().starts_with("email: "), "{report}");
        let ids: Vec<Value> = app.everybody().await.into_iter().map(|mut person| person["id"].take()).collect();
        assert_eq!(ids, ["a", "l", "o"]);
    }

    async fn the_first_hundred_bad_lines_are_listed_and_all_are_counted(database: TestDatabase) {
        let app = TestApp::start(&database);
        let file = format!("name\n{}Ann\n", "a\u{1}\n".repeat(150));
        let report = app.import("text/csv", file.clone()).await;
        assert_eq!((&report["inserted"], &report["rejected"]), (&json!(1), &json!(150)));
        assert_eq!(lines(&report).last(), Some(&(101, "control_character")));

        let request = app.post("/persons/import?atomic=true").header("content-type", "text/csv").body(file);
        let problem = problem(request.send().await.unwrap(), 422, "validation_failed").await;
        assert_eq!(fields(&problem).len(), 100);
    }

    async fn an_atomic_import_writes_all_or_nothing(database: TestDatabase) {
        let app = TestApp::start(&database);
        app.import("text/csv", "id,name\np000000,Before\n").await;
        let atomic = async |media_type: &str, file: Vec<u8>| {
            let request = app.post("/persons/import?atomic=true").header("content-type", media_type);
            request.body(streamed(&file, 100_000)).send().await.unwrap()
        };
        let mut bad = csv_file(12_000);
        bad.extend_from_slice(b"x,X,,999\n");
        let problem = problem(atomic("text/csv", bad).await, 422, "validation_failed").await;
        assert_eq!(fields(&problem), [("line 12002".to_owned(), "out_of_range".to_owned())]);
        let people = app.everybody().await;
        assert_eq!((people.len(), &people[0]["name"]), (1, &json!("Before")));

        let answer = body(atomic("text/csv", csv_file(12_000)).await, StatusCode::OK).await;
        assert_eq!(answer, report(11_999, 1, 0));
        let answer = body(atomic("text/csv", csv_file(12_000)).await, StatusCode::OK).await;
        assert_eq!(answer, report(0, 0, 12_000));
        let answer = body(atomic("application/x-ndjson", Vec::new()).await, StatusCode::OK).await;
        assert_eq!(answer, report(0, 0, 0));
        assert_eq!(app.everybody().await.len(), 12_000);
    }

    async fn of_lines_with_the_same_id_the_later_one_wins(database: TestDatabase) {
        for atomic in ["", "?atomic=true"] {
            let app = TestApp::start(&database);
            let import = async |file: &'static str| {
                let request = app.post(&format!("/persons/import{atomic}")).header("content-type", "text/csv");
                body(request.body(file).send().await.unwrap(), StatusCode::OK).await
            };
            let answer = import("id,name\na,One\nb,Bo\na,Two\na,Two\na,Three\n").await;
            assert_eq!(answer, report(2, 2, 1));
            let answer = import("id,name\na,Four\nb,Bo\na,Three\n").await;
            assert_eq!(answer, report(0, 2, 1));
            let people = app.everybody().await;
            assert_eq!((&people[0]["name"], &people[0]["version"]), (&json!("Three"), &json!(5)));
            assert_eq!((&people[1]["name"], &people[1]["version"]), (&json!("Bo"), &json!(1)));
            for id in ["a", "b"] {
                app.delete(&format!("/persons/{id}")).send().await.unwrap();
            }
        }
    }

    async fn a_large_file_is_taken_in_pieces(database: TestDatabase) {
        let app = TestApp::start(&database);
        assert_eq!(app.import("text/csv", streamed(&csv_file(50_000), 7_777)).await, report(50_000, 0, 0));
        assert_eq!(app.import("text/csv", streamed(&csv_file(50_000), 65_536)).await, report(0, 0, 50_000));
        let page = body(app.get("/persons?sort=-id&limit=1").send().await.unwrap(), StatusCode::OK).await;
        assert_eq!(page["items"][0]["id"], "p049999");
    }

    async fn a_large_import_leaves_the_schema_as_it_was(database: TestDatabase) {
        let app = TestApp::start(&database);
        let before = database.schema();
        assert!(before.iter().any(|line| line.contains("persons_by_name")), "{before:?}");
        assert_eq!(app.import("text/csv", csv_file(30_000)).await, report(30_000, 0, 0));
        assert_eq!(database.schema(), before);
        let atomic = app.post("/persons/import?atomic=true").header("content-type", "text/csv").body(csv_file(40_000));
        assert_eq!(body(atomic.send().await.unwrap(), StatusCode::OK).await, report(10_000, 0, 30_000));
        assert_eq!(database.schema(), before);
    }

    async fn lines_of_all_kinds_in_any_order_are_counted_as_what_they_are(database: TestDatabase) {
        let app = TestApp::start(&database);
        let file = |from: usize, version: &dyn Fn(usize) -> usize| {
            let mut file = b"id,name\n".to_vec();
            for number in (from..6_000).step_by(2) {
                file.extend(format!("p{number},{}\n", version(number)).bytes());
            }
            file
        };
        // The even ones are there, and a third of them is to change; of the odd ones each comes twice.
        assert_eq!(app.import("text/csv", file(0, &|_| 0)).await, report(3_000, 0, 0));
        let mut lines: Vec<String> = Vec::new();
        for number in 0..6_000_usize {
            lines.push(format!("p{number},{}", usize::from(number % 2 == 0 && number % 3 == 0)));
            if number % 2 == 1 {
                lines.push(format!("p{number},{}", usize::from(number % 4 == 1)));
            }
        }
        let mixed = format!("id,name\n{}\n", lines.join("\n"));
        assert_eq!(app.import("text/csv", mixed).await, report(3_000, 1_000 + 1_500, 2_000 + 1_500));
        for (id, name) in [("p0", "1"), ("p2", "0"), ("p1", "1"), ("p3", "0"), ("p6", "1")] {
            let person = body(app.get(&format!("/persons/{id}")).send().await.unwrap(), StatusCode::OK).await;
            assert_eq!(person["name"], name, "{id}");
        }
    }

    async fn who_writes_while_a_large_import_is_merged_is_served(database: TestDatabase) {
        let app = TestApp::start(&database);
        let file = csv_file(60_000);
        let import = app.import("text/csv", streamed(&file, 65_536));
        let writes = async {
            for number in 0..40 {
                let put = app.put(&format!("/persons/w{number}")).json(&json!({"name": "Ann"}));
                assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED);
            }
        };
        let (imported, ()) = tokio::join!(import, writes);
        assert_eq!(imported, report(60_000, 0, 0));
        assert_eq!(app.everybody().await.len(), 60_040);
    }

    async fn a_body_that_breaks_off_leaves_its_last_line_out(database: TestDatabase) {
        let app = TestApp::start(&database);
        let head = format!(
            "POST /persons/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n",
            app.editor()
        );
        let length = format!("{head}Content-Length: 1000\r\n\r\nid,name\na,Ann\nb,Bobby");
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n15\r\nid,name\na,Ann\nb,Bobby\r\n");
        let half_a_chunk = format!("{head}Transfer-Encoding: chunked\r\n\r\n100\r\nid,name\na,Ann\nb,Bobby");
        for request in [length, chunked, half_a_chunk] {
            let answer = raw(&app, request.into_bytes()).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
            assert!(app.get("/persons/b").send().await.unwrap().status() == StatusCode::NOT_FOUND);
        }
        // The same, whole, is taken: what is missing above is the end and nothing else.
        let whole = format!("{head}Connection: close\r\nContent-Length: 21\r\n\r\nid,name\na,Ann\nb,Bobby");
        let answer = raw(&app, whole.into_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(app.everybody().await.len(), 2);
    }

    async fn a_slow_import_keeps_nobody_waiting(database: TestDatabase) {
        let app = TestApp::start(&database);
        let address = app.base.strip_prefix("http://").unwrap().to_owned();
        let head = format!(
            "POST /persons/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n\
             Connection: close\r\nTransfer-Encoding: chunked\r\n\r\ne\r\nid,name\ns,Slow\r\n",
            app.editor()
        );
        let mut slow: Vec<TcpStream> = (0..10).map(|_| {
            let mut connection = TcpStream::connect(&address).unwrap();
            connection.write_all(head.as_bytes()).unwrap();
            connection
        }).collect();
        for number in 0..20 {
            let response = app.put(&format!("/persons/p{number}")).json(&json!({"name": "Ann"})).send().await.unwrap();
            assert_eq!(response.status(), 201);
        }
        assert_eq!(app.import("text/csv", csv_file(10)).await, report(10, 0, 0));
        let mut connection = slow.pop().unwrap();
        let answer = spawn_blocking(move || {
            connection.write_all(b"1\r\n\n\r\n0\r\n\r\n").unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer
        }).await.unwrap();
        assert!(answer.contains("\"inserted\":1,"), "{answer}");
    }

    async fn imports_at_the_same_time_do_not_harm_each_other(database: TestDatabase) {
        let app = TestApp::start(&database);
        let reversed: Vec<u8> = {
            let file = String::from_utf8(csv_file(2_000)).unwrap();
            let (header, rows) = file.split_once('\n').unwrap();
            let mut rows: Vec<&str> = rows.lines().collect();
            rows.reverse();
            format!("{header}\n{}\n", rows.join("\n")).into_bytes()
        };
        let (one, other, third) = tokio::join!(
            app.import("text/csv", csv_file(2_000)),
            app.import("text/csv", reversed.clone()),
            app.import("text/csv", reversed),
        );
        let sum = |key: &str| [&one, &other, &third].iter().map(|report| report[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("inserted"), sum("updated"), sum("unchanged"), sum("rejected")), (2_000, 0, 4_000, 0));
    }

    async fn a_file_without_a_usable_header_or_media_type_is_refused(database: TestDatabase) {
        let app = TestApp::start(&database);
        for (file, field, code) in [
            ("", "name", "required"),
            ("id,email\na,b@c\n", "name", "required"),
            ("id,name,phone\na,Ann,1\n", "line 1", "unknown"),
            ("id,name,id\na,Ann,b\n", "id", "duplicate"),
            ("\"name\nAnn\n", "line 1", "unterminated_quote"),
        ] {
            let response = app.post("/persons/import").header("content-type", "text/csv").body(file).send().await.unwrap();
            let problem = problem(response, 422, "validation_failed").await;
            assert_eq!(fields(&problem), [(field.to_owned(), code.to_owned())], "{file}");
        }
        for media_type in ["application/json", "text/plain", "multipart/form-data", "application/octet-stream"] {
            let request = app.post("/persons/import").header("content-type", media_type).body("name\nAnn\n");
            problem(request.send().await.unwrap(), 415, "unsupported_media_type").await;
        }
        let request = app.post("/persons/import").header("content-type", "text/csv").header("content-encoding", "gzip");
        problem(request.body("name\nAnn\n").send().await.unwrap(), 415, "unsupported_media_type").await;
        let request = app.post("/persons/import?atomic=perhaps").header("content-type", "text/csv");
        problem(request.body("name\nAnn\n").send().await.unwrap(), 422, "validation_failed").await;
        assert!(app.everybody().await.is_empty());
    }

    async fn a_spool_directory_that_is_gone_fails_the_atomic_import_and_writes_nothing(database: TestDatabase) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let app = TestApp::start_with(&database, &[("persons.spool_directory", &path)]);
        let import = || app.post("/persons/import?atomic=true").header("content-type", "text/csv").body("id,name\na,Ann\n").send();
        assert_eq!(body(import().await.unwrap(), StatusCode::OK).await, report(1, 0, 0));
        drop(directory);
        let problem = problem(import().await.unwrap(), 500, "internal").await;
        assert!(!problem.to_string().contains(&path), "{problem}");
    }
}
