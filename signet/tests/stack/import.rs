//! Users who come over from elsewhere: `signet users import`.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::{
    helpers::{ADMIN_EMAIL, Client, PASSWORD, Tokens},
    program::{Done, Home, Running, run},
};

/// PASSWORD at cost 4, by libxcrypt's crypt(3).
const HASH: &str = "$2b$04$NuZABrRV2xBW8I2qId6HH.Luw5a4GBYyVBCQ2v7Dx6IjG9kpdJEWG";

/// How many users to bring over; 100,000 in full. It is more than the stack writes at a time.
#[allow(clippy::disallowed_methods, reason = "the long form of a test is asked for in the environment")]
fn users() -> usize {
    env::var("SIGNET_IMPORTED_USERS").map_or(50_000, |number| number.parse().unwrap())
}

/// For whoever runs the long form.
#[allow(clippy::print_stdout, reason = "this is where a test tells")]
fn tell(line: &str) {
    println!("{line}");
}

fn file(users: usize) -> String {
    let mut file = "email,username,name,roles,password_hash\n".to_owned();
    for number in 0..users {
        writeln!(file, "user-{number}@example.com,user-{number},\"Person, {number}\",user,{HASH}").unwrap();
    }
    file
}

fn import(home: &Home, stack: &Running, arguments: &[&str]) -> Done {
    let mut command = home.command(&[&["users", "import"], arguments].concat());
    command.env("SIGNET_URL", &stack.url);
    run(command)
}

fn write(home: &Home, name: &str, text: &str) {
    fs::write(home.directory.path().join(name), text).unwrap();
}

on_both_databases! {
    async fn users_come_over_with_their_passwords_after_a_dry_run(db: TestDatabase) {
        let home = Home::on(db);
        let stack = home.up(&[]);
        let bad = format!("bad@example.com,,,,plain\nuser-2@example.com,again,,,{HASH}\n");
        write(&home, "users.csv", &(file(3) + &bad));
        let dry = import(&home, &stack, &["--dry-run", "users.csv"]);
        assert!(dry.expect(1).starts_with("3 inserted, 0 updated, 1 unchanged, 1 rejected\nline 5: password_hash: "), "{dry:?}");
        assert!(dry.out.ends_with("This was a dry run: nothing has changed.\n"), "{dry:?}");
        let client = Client::new(stack.url.clone());
        client.log_in("user-1@example.com", PASSWORD).await.expect(401);

        let done = import(&home, &stack, &["users.csv", "--output", "json"]);
        done.expect(1);
        assert_eq!(done.json()["inserted"], 3);
        client.log_in("user-1@example.com", PASSWORD).await.expect(200);
        client.log_in("user-1@example.com", PASSWORD).await.expect(200);

        write(&home, "users.ndjson", &format!("{{\"email\":\"user-1@example.com\",\"roles\":[\"editor\"],\"password_hash\":\"{HASH}\"}}\n"));
        let done = import(&home, &stack, &["users.ndjson"]);
        assert_eq!(done.expect(0), "0 inserted, 0 updated, 1 unchanged, 0 rejected\n");
        let done = import(&home, &stack, &["--existing", "update", "users.ndjson"]);
        assert_eq!(done.expect(0), "0 inserted, 1 updated, 0 unchanged, 0 rejected\n");
        client.log_in("user-1@example.com", PASSWORD).await.expect(200);
        stack.stop();
    }

    async fn an_import_that_is_killed_half_way_ends_with_every_user_once_when_it_is_run_again(db: TestDatabase) {
        let home = Home::on(db);
        let stack = home.up(&[]);
        let users = users();
        let file = file(users);
        let most = file[..file.len() / 10 * 9].rfind('\n').unwrap() + 1;
        let client = Client::new(stack.url.clone());
        let admin = Tokens::of(&client.log_in(ADMIN_EMAIL, stack.admin_password()).await.expect(200)).access;
        let begin = |url: &str| {
            let mut command = home.command(&["users", "import", "-", "--format", "csv"]);
            command.env("SIGNET_URL", url).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut importing = command.spawn().unwrap();
            let mut input = importing.stdin.take().unwrap();
            input.write_all(&file.as_bytes()[..most]).unwrap();
            (importing, input)
        };

        // The program dies when the first users are there, and most of the file has been sent.
        let (mut importing, input) = begin(&stack.url);
        let deadline = Instant::now() + Duration::from_mins(1);
        while client.get("/users?limit=1&role=user", &admin).await.expect(200).json()["items"] == json!([]) {
            assert!(Instant::now() < deadline, "nobody was imported");
        }
        importing.kill().unwrap();
        importing.wait().unwrap();
        drop(input);
        // Then the stack does.
        let (importing, input) = begin(&stack.url);
        stack.signal("KILL");
        stack.wait();
        drop(input);
        let broken = importing.wait_with_output().unwrap();
        assert_eq!(broken.status.code(), Some(1));
        let complaint = String::from_utf8(broken.stderr).unwrap();
        assert!(complaint.contains("run the command again to go on"), "{complaint}");

        let stack = home.up(&[]);
        write(&home, "users.csv", &file);
        let began = Instant::now();
        let done = import(&home, &stack, &["users.csv", "--output", "json"]);
        let took = began.elapsed();
        done.expect(0);
        let report = done.json();
        let count = |name: &str| report[name].as_u64().unwrap();
        tell(&format!("{users} users: {} inserted, {} were there, {took:?}", count("inserted"), count("unchanged")));
        assert_eq!(count("inserted") + count("unchanged"), users as u64);
        assert!(count("inserted") > 0 && count("unchanged") > 0, "{report}");
        let again = import(&home, &stack, &["users.csv"]);
        assert_eq!(again.expect(0), format!("0 inserted, 0 updated, {users} unchanged, 0 rejected\n"));
        let mut list = home.command(&["users", "list", "--role", "user", "--output", "json"]);
        list.env("SIGNET_URL", &stack.url);
        assert_eq!(run(list).json().as_array().unwrap().len(), users);
        assert!(took.as_secs() < 60, "{took:?}");
        stack.stop();
    }
}
