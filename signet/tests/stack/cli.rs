//! The commands for a stack that runs.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
};

use serde_json::{Value, json};
use test_support::{TestDatabase, on_both_databases};

use crate::{
    helpers::{ADMIN_EMAIL, Client, PASSWORD, Tokens},
    program::{self, Home, Running, run, run_with_input},
};

/// A command for that stack, with the secrets in the data directory.
fn command(home: &Home, stack: &Running, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.env("SIGNET_URL", &stack.url);
    command
}

fn write(home: &Home, name: &str, text: &str) {
    fs::write(home.directory.path().join(name), text).unwrap();
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.directory.path().join(name)).unwrap()
}

/// With line breaks as on Unix, whichever of the two that CSV files have.
fn unix(csv: &str) -> String {
    csv.replace("\r\n", "\n")
}

const PERSONS: &str = "id,name,email,age\n\
    a-1,\"Delacroix, Étienne\",,63\n\
    a-2,\"Björn \"\"Bear\"\" Håkansson\",bjorn@example.org,51\n\
    a-3,Farid Haddadzadeh,farid@example.com,\n";

on_both_databases! {
    async fn what_is_imported_comes_out_again_and_a_second_import_changes_nothing(db: TestDatabase) {
        let home = Home::on(db);
        let stack = home.up(&[]);
        write(&home, "persons.csv", PERSONS);
        let done = run(command(&home, &stack, &["persons", "import", "persons.csv"]));
        assert_eq!((done.code, done.out.as_str()), (0, "3 inserted, 0 updated, 0 unchanged, 0 rejected\n"));
        assert_eq!(done.complaint, "", "no bar where there is no terminal");
        let done = run(command(&home, &stack, &["persons", "import", "persons.csv"]));
        assert_eq!((done.code, done.out.as_str()), (0, "0 inserted, 0 updated, 3 unchanged, 0 rejected\n"));

        let done = run(command(&home, &stack, &["persons", "export", "out.csv"]));
        assert_eq!((done.code, done.complaint.as_str()), (0, ""));
        assert_eq!(unix(&read(&home, "out.csv")), PERSONS);
        let done = run(command(&home, &stack, &["persons", "export"]));
        assert_eq!((done.code, unix(&done.out).as_str()), (0, PERSONS));

        let done = run(command(&home, &stack, &["persons", "export", "out.ndjson"]));
        assert_eq!(done.code, 0, "{}", done.complaint);
        let lines = read(&home, "out.ndjson");
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["name"], &lines[0]["email"]), (&json!("Delacroix, Étienne"), &Value::Null));
        let done = run(command(&home, &stack, &["persons", "import", "out.ndjson"]));
        assert_eq!((done.code, done.out.as_str()), (0, "0 inserted, 0 updated, 3 unchanged, 0 rejected\n"));
        stack.stop();
    }

    async fn bad_lines_are_listed_and_the_exit_code_says_so(db: TestDatabase) {
        let home = Home::on(db);
        let stack = home.up(&[]);
        let bad = "id,name,age\nb-1,Good,30\nb-2,,31\nb-3,Old,200\n";
        write(&home, "persons.csv", bad);
        let done = run(command(&home, &stack, &["persons", "import", "--atomic", "persons.csv"]));
        assert_eq!(done.code, 1);
        assert!(done.out.contains("line 3: ") && done.out.contains("line 4: "), "{}", done.out);
        assert!(done.complaint.contains("nothing was imported"), "{}", done.complaint);
        let done = run(command(&home, &stack, &["persons", "export"]));
        assert_eq!(unix(&done.out), "id,name,email,age\n");

        let done = run(command(&home, &stack, &["persons", "import", "persons.csv"]));
        assert_eq!(done.code, 1);
        assert!(done.out.starts_with("1 inserted, 0 updated, 0 unchanged, 2 rejected\nline 3: "), "{}", done.out);
        assert!(done.out.lines().nth(2).unwrap().starts_with("line 4: "), "{}", done.out);
        let done = run_with_input(
            command(&home, &stack, &["persons", "import", "-", "--format", "ndjson"]),
            "{\"id\":\"b-1\",\"name\":\"Better\",\"age\":30}\n",
        );
        assert_eq!((done.code, done.out.as_str()), (0, "0 inserted, 1 updated, 0 unchanged, 0 rejected\n"));
        stack.stop();
    }

    async fn a_user_who_was_created_can_log_in(db: TestDatabase) {
        let home = Home::on(db);
        let stack = home.up(&[]);
        let client = Client::new(stack.url.clone());

        let create = |username: &str| {
            let mut command = command(&home, &stack, &["users", "create", "--email", "ed@example.com", "--name", "Ed"]);
            command.args(["--username", username, "--role", "editor", "--password-stdin"]);
            run_with_input(command, &format!("{PASSWORD}\n"))
        };
        let done = create("eddy");
        assert_eq!((done.code, done.complaint.as_str()), (0, ""));
        assert!(done.out.starts_with("created ed@example.com (") && !done.out.contains(PASSWORD), "{}", done.out);
        let tokens = Tokens::of(&client.log_in("ed@example.com", PASSWORD).await.expect(200));
        let claims = client.get("/auth/me", &tokens.access).await.expect(200).json();
        assert_eq!(claims["roles"], json!(["editor"]));

        let done = create("edna");
        assert_eq!(done.code, 1);
        assert!(done.complaint.contains("email_taken") && done.complaint.contains("request id"), "{}", done.complaint);
        assert_eq!(done.complaint.lines().count(), 1, "{}", done.complaint);

        let generated = ["users", "create", "--email", "gen@example.com", "--generate-password"];
        let done = run(command(&home, &stack, &generated));
        assert_eq!(done.code, 0, "{}", done.complaint);
        let password = done.out.lines().find_map(|line| line.strip_prefix("password ")).unwrap().trim().to_owned();
        let tokens = Tokens::of(&client.log_in("gen@example.com", &password).await.expect(200));
        let claims = client.get("/auth/me", &tokens.access).await.expect(200).json();
        assert_eq!(claims["roles"], json!(["user"]));

        let weak = ["users", "create", "--email", "weak@example.com", "--password-stdin"];
        let done = run_with_input(command(&home, &stack, &weak), "password1\n");
        assert_eq!(done.code, 1);
        for said in ["validation_failed", "password"] {
            assert!(done.complaint.contains(said), "{said}: {}", done.complaint);
        }
        assert!(!done.complaint.contains("password1"), "{}", done.complaint);
        let done = run(command(&home, &stack, &["users", "create", "--email", "ask@example.com"]));
        assert_eq!(done.code, 1);
        assert!(done.complaint.contains("--password-stdin"), "{}", done.complaint);
        stack.stop();
    }
}

#[actix_web::test]
async fn the_token_of_the_operator_is_used_and_its_scope_counts() {
    let home = Home::sqlite();
    let stack = home.up(&[]);
    let client = Client::new(stack.url.clone());
    let admin = Tokens::of(&client.log_in(ADMIN_EMAIL, stack.admin_password()).await.expect(200));
    let user = Tokens::of(&client.register("ada@example.com").await.expect(201));
    write(&home, "persons.csv", PERSONS);
    let import = |token: &str| {
        let mut command = command(&home, &stack, &["persons", "import", "persons.csv", "--data-dir", "elsewhere"]);
        command.env("SIGNET_TOKEN", token);
        run(command)
    };
    let done = import(&user.access);
    assert!(done.code == 1 && done.complaint.contains("insufficient_scope"), "{}", done.complaint);
    let done = import("nonsense");
    assert!(done.code == 1 && done.complaint.contains("token_invalid"), "{}", done.complaint);
    assert!(done.complaint.contains("log in again") && done.complaint.lines().count() == 1, "{}", done.complaint);
    let done = import(&admin.access);
    assert_eq!((done.code, done.out.as_str()), (0, "3 inserted, 0 updated, 0 unchanged, 0 rejected\n"));
    stack.stop();
}

#[actix_web::test]
async fn what_is_in_the_way_is_said_with_what_to_do() {
    let home = Home::sqlite();
    write(&home, "persons.csv", PERSONS);
    write(&home, "persons.txt", PERSONS);
    let complaint = |arguments: &[&str]| {
        let done = run(home.command(arguments));
        assert_eq!(done.code, 1, "{arguments:?}: {}", done.complaint);
        assert_eq!(done.complaint.lines().count(), 1, "{arguments:?}: {}", done.complaint);
        done.complaint
    };
    let said = complaint(&["persons", "import", "persons.csv", "--url", "https://id.example"]);
    assert!(said.contains("SIGNET_TOKEN") && said.contains("https://id.example"), "{said}");
    let said = complaint(&["persons", "import", "persons.csv"]);
    assert!(said.contains("--data-dir") && said.contains("SIGNET_TOKEN"), "{said}");
    let said = complaint(&["persons", "import", "missing.csv"]);
    assert!(said.contains("missing.csv"), "{said}");
    let said = complaint(&["persons", "import", "persons.txt"]);
    assert!(said.contains("--format"), "{said}");

    // With secrets, but without a stack.
    home.up(&[]).stop();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = complaint(&["persons", "import", "persons.csv", "--url", &format!("http://127.0.0.1:{port}")]);
    assert!(said.contains("signet up") && said.contains("--url"), "{said}");

    // A stack that was started with other secrets.
    let other = Home::sqlite();
    let stack = other.up(&[]);
    let said = complaint(&["persons", "import", "persons.csv", "--url", &stack.url]);
    assert!(said.contains("token_invalid") && said.contains("other secrets"), "{said}");
    stack.stop();
}

/// A server that answers one request with the beginning of an export. Then it does what the test says.
fn begins_an_export(then: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n\
                      12\r\nid,name,email,age\n\r\n";
        connection.write_all(answer.as_bytes()).unwrap();
        then(&mut connection);
    });
    (url, serving)
}

#[track_caller]
fn assert_only_file(home: &Home, name: &str, text: &str) {
    assert_eq!(read(home, name), text);
    let left: Vec<_> = fs::read_dir(home.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [name]);
}

#[actix_web::test]
async fn an_export_that_is_interrupted_leaves_what_was_there_before() {
    let home = Home::sqlite();
    write(&home, "persons.csv", "what was there before");
    let (begun, has_begun) = mpsc::channel();
    let (url, serving) = begins_an_export(move |connection| {
        begun.send(()).unwrap();
        // The other side hangs up, and nothing more was sent to it.
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
    });
    let mut command = home.command(&["persons", "export", "persons.csv", "--url", &url]);
    let exporting = command.env("SIGNET_TOKEN", "any").stderr(Stdio::piped()).spawn().unwrap();
    has_begun.recv().unwrap();
    program::signal("INT", exporting.id());
    let done = exporting.wait_with_output().unwrap();
    serving.join().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8(done.stderr).unwrap(), "signet: interrupted\n");
    assert_only_file(&home, "persons.csv", "what was there before");
}

#[actix_web::test]
async fn an_export_that_breaks_off_leaves_what_was_there_before() {
    let home = Home::sqlite();
    write(&home, "persons.csv", "what was there before");
    let (url, serving) = begins_an_export(|_| ());
    let mut command = home.command(&["persons", "export", "persons.csv", "--url", &url]);
    command.env("SIGNET_TOKEN", "any");
    let done = run(command);
    serving.join().unwrap();
    assert_eq!(done.code, 1);
    assert!(done.complaint.contains("broke off"), "{}", done.complaint);
    assert_only_file(&home, "persons.csv", "what was there before");
}

#[actix_web::test]
async fn something_else_at_the_address_is_called_so() {
    let home = Home::sqlite();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(connection.read(&mut request).unwrap() > 0);
        connection.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
    });
    let mut command = home.command(&["persons", "export", "--url", &url]);
    command.env("SIGNET_TOKEN", "any");
    let done = run(command);
    serving.join().unwrap();
    assert_eq!(done.code, 1);
    assert!(done.complaint.contains("404") && done.complaint.contains("is the address right"), "{}", done.complaint);
}

#[test]
fn secrets_differ_and_a_short_one_is_refused() {
    let first = program::output(&["secret", "generate"]);
    let second = program::output(&["secret", "generate"]);
    assert_ne!(first, second);
    assert_eq!(first.trim().len(), 43);
    assert_eq!(program::output(&["secret", "generate", "--bytes", "64"]).trim().len(), 86);
    let done = run(program::command(&["secret", "generate", "--bytes", "31"]));
    assert_eq!(done.code, 2);
    assert!(done.complaint.contains("--bytes"), "{}", done.complaint);
}

#[test]
fn help_is_there_for_every_command() {
    for arguments in [
        &["--help"][..],
        &["up", "--help"],
        &["persons", "import", "--help"],
        &["persons", "export", "--help"],
        &["users", "create", "--help"],
        &["users", "import", "--help"],
        &["doctor", "--help"],
        &["token", "inspect", "--help"],
        &["secret", "generate", "--help"],
    ] {
        assert!(program::output(arguments).contains("Usage: signet"), "{arguments:?}");
    }
    assert!(program::output(&["--version"]).starts_with("signet "));
    assert!(!Path::new("data").exists(), "help starts nothing");
}
