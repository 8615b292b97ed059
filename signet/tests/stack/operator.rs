//! What an operator does beside a stack that runs: log in, manage users, look into tokens, see how it stands.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use actix_web::rt::task::spawn_blocking;
use reqwest::Method;
use serde_json::{Value, json};
use test_support::{Backend, TestDatabase, on_both_databases};

use crate::{
    helpers::{ADMIN_EMAIL, ADMIN_PASSWORD, Client, Databases, PASSWORD, SECRET, TestStack},
    program::{self, Done, Home, run, run_with_input},
};

pub(crate) fn sqlite() -> TestDatabase {
    TestDatabase::create(Backend::Sqlite).unwrap()
}

/// An operator's place beside a stack in this process.
pub(crate) struct Desk {
    pub(crate) home: Home,
    /// What is in the environment of every command.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Desk {
    /// Without any keys.
    pub(crate) fn at(stack: &TestStack) -> Self {
        let url = |address: std::net::SocketAddr| format!("http://{address}");
        let home = Home::sqlite();
        let config = home.directory.path().join("config").to_str().unwrap().to_owned();
        let addresses = stack.addresses;
        let environment = vec![
            ("XDG_CONFIG_HOME", config),
            ("SIGNET_URL", url(addresses.origin)),
            ("SIGNET_AUTH_URL", url(addresses.auth)),
            ("SIGNET_USER_URL", url(addresses.user)),
            ("SIGNET_RESOURCE_URL", url(addresses.resource)),
            ("SIGNET__PASSWORDS__COST", "12".to_owned()),
        ];
        Self { home, environment }
    }

    /// With the stack's common secret.
    pub(crate) fn with_keys(stack: &TestStack) -> Self {
        Self::at(stack).with("SIGNET__TOKENS__SECRET", SECRET)
    }

    /// With another value in the environment.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.home.command(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the program while the stack in this process goes on.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        let command = self.command(arguments);
        spawn_blocking(move || run(command)).await.unwrap()
    }

    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Done {
        let (command, input) = (self.command(arguments), input.to_owned());
        spawn_blocking(move || run_with_input(command, &input)).await.unwrap()
    }

    /// Logs in as the admin.
    pub(crate) async fn log_in(&self) -> Done {
        let arguments = ["login", "--user", ADMIN_EMAIL, "--password-stdin"];
        let done = self.run_with_input(&arguments, &format!("{ADMIN_PASSWORD}\n")).await;
        done.expect(0);
        done
    }

    /// The files of log-ins.
    fn logins(&self) -> Vec<PathBuf> {
        let directory = self.home.directory.path().join("config/signet/logins");
        fs::read_dir(directory).map(|files| files.map(|file| file.unwrap().path()).collect()).unwrap_or_default()
    }
}

#[actix_web::test]
async fn a_log_in_is_kept_privately_refreshes_by_itself_and_ends() {
    // So short that each command has to refresh.
    let ttl = ("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "20");
    let stack = TestStack::start_with(Databases::next_to(sqlite()), &[ttl]);
    let desk = Desk::at(&stack);
    let done = desk.run(&["users", "list"]).await;
    assert!(done.code == 1 && done.complaint.contains("signet login"), "{done:?}");

    let done = desk.log_in().await;
    assert!(done.out.contains(ADMIN_EMAIL) && !done.out.contains(ADMIN_PASSWORD), "{done:?}");
    let [file] = &desk.logins()[..] else { panic!("{:?}", desk.logins()) };
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = || serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap();
    let first = kept();
    for _ in 0..3 {
        assert!(desk.run(&["users", "list"]).await.expect(0).contains(ADMIN_EMAIL));
    }
    assert_ne!(kept()["refresh_token"], first["refresh_token"]);

    // Another log-in ends the session of the first, and log-out that of the second.
    let former = kept()["refresh_token"].as_str().unwrap().to_owned();
    desk.log_in().await;
    stack.client.refresh(&former).await.expect(400);
    let last = kept()["refresh_token"].as_str().unwrap().to_owned();
    desk.run(&["logout"]).await.expect(0);
    assert!(desk.logins().is_empty());
    stack.client.refresh(&last).await.expect(400);
    let done = desk.run(&["logout"]).await;
    assert!(done.code == 1 && done.complaint.contains("signet login"), "{done:?}");
    stack.stop().await;
}

#[actix_web::test]
async fn a_log_in_that_was_ended_elsewhere_says_what_to_do() {
    let ttl = ("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "20");
    let stack = TestStack::start_with(Databases::next_to(sqlite()), &[ttl]);
    let desk = Desk::at(&stack);
    desk.log_in().await;
    let admin = stack.client.admin().await;
    stack.client.call(Method::POST, "/auth/logout?all=true", &admin.access, None).await.expect(204);
    let done = desk.run(&["users", "list"]).await;
    assert!(done.code == 1 && done.complaint.contains("run `signet login"), "{done:?}");

    let wrong = desk.run_with_input(&["login", "--user", ADMIN_EMAIL, "--password-stdin"], "nonsense\n").await;
    assert!(wrong.code == 1 && wrong.complaint.contains("invalid_credentials"), "{wrong:?}");
    let clear = ["login", "--url", "http://id.example", "--user", "ada", "--password-stdin"];
    let clear = desk.run_with_input(&clear, "nonsense\n").await;
    assert!(clear.code == 1 && clear.complaint.contains("--insecure"), "{clear:?}");
    stack.stop().await;
}

on_both_databases! {
    async fn users_are_listed_found_by_name_and_changed(db: TestDatabase) {
        let stack = TestStack::start(db);
        let desk = Desk::with_keys(&stack);
        for (email, username) in [("ada@example.com", "ada"), ("grace@example.com", "grace")] {
            let body = json!({ "email": email, "username": username, "password": PASSWORD });
            stack.client.post("/auth/register", body).await.expect(201);
        }
        let listed = desk.run(&["users", "list", "--output", "json"]).await;
        listed.expect(0);
        let emails: Vec<_> = listed.json().as_array().unwrap().iter().map(|user| user["email"].clone()).collect();
        assert_eq!(emails, [ADMIN_EMAIL, "ada@example.com", "grace@example.com"]);
        let table = desk.run(&["users", "list", "--search", "GRACE"]).await;
        assert_eq!(table.expect(0).lines().count(), 2);

        desk.run(&["users", "set-roles", "ADA", "--role", "editor", "--role", "user"]).await.expect(0);
        let editors = desk.run(&["users", "list", "--role", "editor", "--output", "json"]).await.json();
        assert_eq!((&editors[0]["username"], &editors[0]["roles"]), (&json!("ada"), &json!(["editor", "user"])));
        let id = editors[0]["id"].as_str().unwrap();

        desk.run(&["users", "disable", "ada@example.com"]).await.expect(0);
        stack.client.log_in("ada@example.com", PASSWORD).await.expect_problem(403, "account_disabled");
        assert!(desk.run(&["users", "list"]).await.expect(0).contains("disabled"));
        desk.run(&["users", "enable", id]).await.expect(0);
        stack.client.log_in("ada@example.com", PASSWORD).await.expect(200);
        for nobody in ["ad", "00000000-0000-7000-8000-000000000000"] {
            let done = desk.run(&["users", "disable", nobody]).await;
            assert!(done.code == 1 && done.complaint.contains("signet users list"), "{done:?}");
        }
        stack.stop().await;
    }
}

#[actix_web::test]
async fn status_tells_how_each_service_stands() {
    let stack = TestStack::start(sqlite());
    let desk = Desk::at(&stack);
    let done = desk.run(&["status", "--output", "json"]).await;
    done.expect(0);
    let status = done.json();
    assert_eq!(status["issuer"], format!("http://{}", stack.addresses.origin));
    for service in status["services"].as_array().unwrap() {
        assert_eq!((&service["state"], &service["version"]), (&json!("ready"), &json!(env!("CARGO_PKG_VERSION"))));
        assert!(service["feed_age_seconds"].is_u64(), "{service}");
    }
    let human = desk.run(&["status"]).await;
    assert!(human.expect(0).contains("resource-service  0.1.0    ready"), "{}", human.out);

    stack.databases.user.execute("DELETE FROM __diesel_schema_migrations");
    let done = desk.run(&["status"]).await;
    assert!(done.expect(1).contains("user-service: Migrations are missing"), "{}", done.out);
    let gone = desk.with("SIGNET_RESOURCE_URL", "http://127.0.0.1:9");
    let done = gone.run(&["status", "--output", "json"]).await;
    done.expect(1);
    assert_eq!(done.json()["services"][2]["state"], "unreachable");
    stack.stop().await;
}

/// The verdicts on a token, as `by code`.
fn verdicts(done: &Done) -> Vec<String> {
    let report = done.json();
    let verdicts = report["verdicts"].as_array().unwrap().iter();
    verdicts
        .map(|verdict| {
            let code = if verdict["taken"] == true { "taken" } else { verdict["code"].as_str().unwrap() };
            format!("{} {code}", verdict["by"].as_str().unwrap())
        })
        .collect()
}

#[actix_web::test]
async fn a_token_is_inspected_by_those_who_would_take_it() {
    let stack = TestStack::start(sqlite());
    let desk = Desk::with_keys(&stack);
    let inspect = async |token: &str| desk.run_with_input(&["token", "inspect", "--output", "json"], token).await;
    let mint = async |arguments: &[&str]| {
        let all = [&["token", "mint", "--subject", "robot", "--client", "robot"], arguments].concat();
        desk.run(&all).await.expect(0).trim().to_owned()
    };
    let everywhere =
        |code: &str| ["auth-service", "user-service", "resource-service"].map(|name| format!("{name} {code}")).to_vec();

    let good = inspect(&mint(&["--scope", "persons:read"]).await).await;
    good.expect(0);
    assert_eq!(verdicts(&good), [everywhere("taken"), vec!["introspection taken".to_owned()]].concat());

    let one = inspect(&mint(&["--audience", "resource-service"]).await).await;
    one.expect(1);
    assert_eq!(
        verdicts(&one)[..3],
        ["auth-service token_invalid", "user-service token_invalid", "resource-service taken"]
    );
    assert!(one.out.contains("tokens.audience"), "{}", one.out);

    let foreign = inspect(&mint(&["--issuer", "https://other.example"]).await).await;
    assert_eq!(verdicts(&foreign)[..3], everywhere("token_invalid"));
    assert!(foreign.out.contains("https://other.example: tokens.issuer"), "{}", foreign.out);

    let token = mint(&[]).await;
    stack.clock.advance_seconds(2_000);
    let old = inspect(&token).await;
    assert_eq!(verdicts(&old)[..3], everywhere("token_expired"));
    stack.clock.advance_seconds(-2_000);

    let elsewhere = Desk::at(&stack).with("SIGNET__TOKENS__SECRET", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE");
    let forged = elsewhere.run(&["token", "mint", "--subject", "eve"]).await;
    let forged = inspect(forged.expect(0)).await;
    assert_eq!(verdicts(&forged)[..3], everywhere("token_invalid"));
    assert!(forged.out.contains("signed elsewhere"), "{}", forged.out);

    let admin = stack.client.admin().await;
    stack.client.call(Method::POST, "/auth/logout", &admin.access, None).await.expect(204);
    let ended = inspect(&admin.access).await;
    ended.expect(1);
    assert_eq!(verdicts(&ended)[0], "auth-service token_revoked");
    assert!(ended.out.contains("its session has ended"), "{}", ended.out);
    let human = desk.run_with_input(&["token", "inspect"], &admin.access).await;
    assert!(human.expect(1).contains("auth-service       refuses it (token_revoked)"), "{}", human.out);

    let refresh = inspect(&admin.refresh).await;
    assert!(refresh.code == 1 && refresh.complaint.contains("refresh token"), "{refresh:?}");
    stack.stop().await;
}

#[actix_web::test]
async fn a_token_is_inspected_without_a_stack_by_the_keys_at_hand() {
    let stack = TestStack::start(sqlite());
    let desk = Desk::with_keys(&stack).with("SIGNET__TOKENS__ISSUER", "https://id.example");
    let token = desk.run(&["token", "mint", "--subject", "ada", "--ttl", "60"]).await.expect(0).to_owned();
    stack.stop().await;
    let inspect = ["token", "inspect", "--audience", "order-service", "--output", "json"];
    let done = desk.run_with_input(&inspect, &token).await;
    done.expect(1);
    let expected =
        ["auth-service taken", "user-service taken", "resource-service taken", "order-service token_invalid"];
    assert_eq!(verdicts(&done), expected);
    assert!(done.out.contains("add \\\"order-service\\\" to tokens.audience"), "{}", done.out);
    assert!(done.out.contains("not known whether it is revoked"), "{}", done.out);
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = program::output(&["completions", shell]);
        assert!(script.contains("doctor") && script.contains("signet"), "{shell}");
    }
}

#[actix_web::test]
async fn the_issuer_of_a_stack_is_where_it_listens_unless_told() {
    let home = Home::sqlite();
    let stack = home.up(&[]);
    let issuer = async |url: &str| {
        let client = Client::new(url.to_owned());
        let metadata = client.get_without_token("/.well-known/oauth-authorization-server").await.expect(200);
        metadata.json()["issuer"].as_str().unwrap().to_owned()
    };
    assert_eq!(issuer(&stack.url).await, stack.url);
    // What the program signs for itself names it, too.
    let mut export = home.command(&["persons", "export"]);
    export.env("SIGNET_URL", &stack.url);
    run(export).expect(0);
    stack.stop();

    let stack = home.up_with(&[], &[("SIGNET__TOKENS__ISSUER", "https://id.example")]);
    assert_eq!(issuer(&stack.url).await, "https://id.example");
    stack.stop();
}
