//! The first start, the second one, and the end of the real program.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use test_support::{TestDatabase, on_both_databases};

use crate::{
    helpers::{ADMIN_EMAIL, Client, LASTING_ISSUER, Tokens},
    program::{Home, Running},
};

/// The lines of the first screen that are to be pasted into a shell.
fn lines_to_paste(running: &Running) -> Vec<String> {
    running.screen.lines().map(str::trim).filter(|line| line.contains("curl ")).map(str::to_owned).collect()
}

fn has_curl() -> bool {
    Command::new("bash")
        .args(["-c", "command -v curl"])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Pastes the lines into bash: what they print, line by line.
fn paste(lines: &[String]) -> Vec<String> {
    let pasted = Command::new("bash").args(["-c", &lines.join("\n")]).output().unwrap();
    assert!(pasted.status.success(), "{pasted:?}");
    assert!(pasted.stderr.is_empty(), "{pasted:?}");
    String::from_utf8(pasted.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Without curl: the same requests, taken from the lines.
async fn send(lines: &[String]) -> Vec<String> {
    let between = |line: &str, before: &str, after: &str| {
        let rest = line.split_once(before).unwrap_or_else(|| panic!("{before} in {line}")).1;
        rest.split_once(after).unwrap_or_else(|| panic!("{after} in {line}")).0.to_owned()
    };
    let client = Client::new(String::new());
    let login = format!("http{}", between(&lines[0], "http", " "));
    let body: Value = serde_json::from_str(&between(&lines[0], "-d '", "'")).unwrap();
    let token = Tokens::of(&client.post(&login, body).await.expect(200)).access;
    let mut printed = Vec::new();
    for line in &lines[1..] {
        let url = format!("http{}", line.split_once("http").unwrap().1.trim_end_matches('\''));
        printed.push(client.get(&url, &token).await.text);
    }
    printed
}

on_both_databases! {
    async fn the_first_start_shows_lines_that_work_and_the_second_finds_everything(db: TestDatabase) {
        let home = Home::on(db);
        let first = home.up(&["--demo"]);
        let lines = lines_to_paste(&first);
        assert_eq!(lines.len(), 3, "{}", first.screen);
        let printed = if has_curl() {
            paste(&lines)
        } else {
            eprintln!("curl was not run: it is not installed");
            send(&lines).await
        };
        let [me, persons] = &printed[..] else { panic!("{printed:?}") };
        let me: Value = serde_json::from_str(me).unwrap();
        assert_eq!(me["roles"], serde_json::json!(["admin"]));
        let persons: Value = serde_json::from_str(persons).unwrap();
        assert_eq!(persons["items"].as_array().unwrap().len(), 5);
        assert!(first.screen.contains("40 sample persons are loaded"), "{}", first.screen);
        assert_eq!(first.shown("admin "), Some(ADMIN_EMAIL));

        let password = first.admin_password().to_owned();
        let (out, log) = first.stop();
        assert_eq!(out.matches(&password).count(), 2, "in its line and in the line for curl");
        assert!(!log.contains(&password), "{log}");

        let second = home.up(&["--demo"]);
        assert!(second.screen.contains("The admin was made before"), "{}", second.screen);
        assert_eq!(second.shown("password "), None, "{}", second.screen);
        assert!(second.screen.contains("The 40 sample persons were there already"), "{}", second.screen);
        let client = Client::new(second.url.clone());
        let admin = Tokens::of(&client.log_in(ADMIN_EMAIL, &password).await.expect(200));
        let persons = client.get("/persons?limit=200", &admin.access).await.expect(200).json();
        let persons = persons["items"].as_array().unwrap();
        assert_eq!(persons.len(), 40);
        assert!(persons.iter().any(|person| person["name"] == "Björn \"Bear\" Håkansson"));
        assert!(persons.iter().any(|person| person["email"].is_null() && person["age"].is_null()));
        second.stop();
    }
}

#[actix_web::test]
async fn what_the_stack_keeps_is_for_its_owner_alone() {
    let home = Home::sqlite();
    let running = home.up(&[]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.data_dir()), 0o700);
    for entry in fs::read_dir(home.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert!(home.data_dir().join("secrets.toml").is_file());
    running.stop();
}

#[actix_web::test]
async fn a_second_stack_on_the_same_data_is_refused_and_the_first_goes_on() {
    let home = Home::sqlite();
    let first = home.up(&[]);
    let second = home.command(&["up", "--bind", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.contains("another `signet up` is using data"), "{complaint}");
    assert!(second.stdout.is_empty());
    let client = Client::new(first.url.clone());
    client.log_in(ADMIN_EMAIL, first.admin_password()).await.expect(200);
    first.stop();
}

#[actix_web::test]
async fn lost_secrets_are_not_replaced_by_new_ones() {
    let home = Home::sqlite();
    home.up(&[]).stop();
    let secrets = home.data_dir().join("secrets.toml");
    fs::rename(&secrets, home.directory.path().join("elsewhere")).unwrap();
    let refused = home.command(&["--bind", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("secrets.toml is missing") && complaint.lines().count() == 1, "{complaint}");
    assert!(!secrets.exists());
}

/// Starts a stack with all secrets configured, and runs a command against it with the same configuration.
fn check_configured(home: &Home, tokens: (&str, &str)) {
    let configured = [
        tokens,
        ("SIGNET__REFRESH__SECRET", "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ"),
        ("SIGNET__PASSWORDS__PEPPER", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE"),
    ];
    let running = home.up_with(&["--demo"], &configured);
    assert!(!home.data_dir().join("secrets.toml").exists(), "there was nothing to make");
    let export = |environment: &[(&str, &str)]| {
        let mut command = home.command(&["persons", "export", "--url", &running.url]);
        command.envs(environment.iter().copied()).output().unwrap()
    };
    let done = export(&configured);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().count(), 41);
    assert_eq!(export(&[]).status.code(), Some(1));
    running.stop();
}

#[actix_web::test]
async fn secrets_that_are_configured_are_used_and_none_are_made() {
    let home = Home::sqlite();
    let file = home.directory.path().join("tokens");
    fs::write(&file, "KS3xQm0fT7vVw1nZc9yJp4rLd8hBg2aU6eXoYiNtWkM\n").unwrap();
    check_configured(&home, ("SIGNET__TOKENS__SECRET_FILE", file.to_str().unwrap()));
}

#[actix_web::test]
async fn a_key_ring_in_a_file_serves_the_stack_and_the_commands() {
    let home = Home::sqlite();
    let file = home.directory.path().join("ring.json");
    let ring = serde_json::json!({ "keys": [
        { "kty": "oct", "alg": "HS256", "kid": "b", "k": "S1MzeFFtMGZUN3ZWdzFuWmM5eUpwNHJMZDhoQmcyYVU2ZVhvWWlOdFdrTQ" },
        { "kty": "oct", "alg": "HS256", "kid": "a", "k": "cEU1dVJ6OGNIdzJ5TnE3ZEZrNHRMbTF2Qmo5eEdzM2FWbzZpVGVVY1hmUQ" },
    ] });
    fs::write(&file, ring.to_string()).unwrap();
    check_configured(&home, ("SIGNET__TOKENS__JWKS_FILE", file.to_str().unwrap()));
}

#[actix_web::test]
async fn a_secret_that_was_configured_at_the_first_start_is_missed_at_the_second() {
    let home = Home::sqlite();
    let pepper = ("SIGNET__PASSWORDS__PEPPER", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE");
    home.up_with(&[], &[pepper]).stop();
    let refused = home.command(&["--bind", "127.0.0.1:0"]).output().unwrap();
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{complaint}");
    assert!(complaint.contains("passwords.pepper") && complaint.lines().count() == 1, "{complaint}");
}

/// Sends the head of an import, and gives back the connection once a handler waits for the body.
fn begin_import(url: &str, token: &str, length: usize) -> (TcpStream, BufReader<TcpStream>) {
    let address = url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "POST /persons/import HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: text/csv\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    // The server asks for the body once the handler has begun to read it.
    let mut answer = BufReader::new(connection.try_clone().unwrap());
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    (connection, answer)
}

#[actix_web::test]
async fn asked_twice_to_stop_it_waits_for_nobody() {
    let home = Home::sqlite();
    let mut running = home.up(&[]);
    let client = Client::new(running.url.clone());
    let token = Tokens::of(&client.log_in(ADMIN_EMAIL, running.admin_password()).await.expect(200)).access;
    let in_flight = begin_import(&running.url, &token, 1000);
    let started = Instant::now();
    running.signal("INT");
    running.wait_for_line("requests in flight are finished first");
    running.signal("INT");
    let (status, _, log) = running.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(in_flight);
}

#[actix_web::test]
async fn asked_to_stop_it_finishes_the_request_in_flight_and_exits_with_0() {
    for signal in ["TERM", "INT"] {
        let home = Home::sqlite();
        let mut running = home.up_with(&[], &[LASTING_ISSUER]);
        let client = Client::new(running.url.clone());
        let token = Tokens::of(&client.log_in(ADMIN_EMAIL, running.admin_password()).await.expect(200)).access;

        let body = "id,name\np-1,Amara\np-2,Bogdan\n";
        let (mut connection, mut answer) = begin_import(&running.url, &token, body.len());
        let started = Instant::now();
        let address = running.url.strip_prefix("http://").unwrap().to_owned();
        running.signal(signal);
        running.wait_for_line("requests in flight are finished first");
        connection.write_all(body.as_bytes()).unwrap();
        let mut rest = String::new();
        answer.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("HTTP/1.1 200 OK") && rest.contains("\"inserted\":2"), "{rest}");
        let (status, _, log) = running.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(TcpStream::connect(&address).is_err());

        let again = home.up_with(&[], &[LASTING_ISSUER]);
        let client = Client::new(again.url.clone());
        client.get("/persons/p-2", &token).await.expect(200);
        again.stop();
    }
}
