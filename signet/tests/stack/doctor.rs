//! `signet doctor` beside stacks that are broken, each in one of the ways that are usual.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use signet::StackConfig;
use test_support::{TestDatabase, on_both_databases};

use crate::{
    helpers::{Databases, TestStack},
    operator::{Desk, sqlite},
    program::{Done, Home, run},
    relay::Proxy,
};

/// What doctor reports, by the names of its checks, of what it calls wrong.
#[track_caller]
fn wrong(done: &Done) -> Vec<Value> {
    let report = done.json();
    let findings = report["findings"].as_array().unwrap().clone();
    let wrong: Vec<Value> = findings.into_iter().filter(|finding| finding["level"] == "wrong").collect();
    assert_eq!(report["wrong"], wrong.len());
    assert_eq!(done.code, i32::from(!wrong.is_empty()), "{done:?}");
    wrong
}

async fn examine(desk: &Desk) -> Done {
    let done = desk.run(&["doctor", "--output", "json"]).await;
    // Whatever it finds, it shows no secret.
    for (name, value) in &desk.environment {
        let secret = ["SECRET", "PEPPER"].iter().any(|word| name.ends_with(word));
        assert!(!secret || !done.out.contains(value.as_str()), "{name}: {}", done.out);
    }
    done
}

/// That doctor finds this, says all of that of it, and which line to change.
#[track_caller]
fn assert_found(done: &Done, check: &str, said: &[&str], change: &str) {
    let wrong = wrong(done);
    let matches = |finding: &Value| {
        let found = finding["found"].as_str().unwrap();
        finding["check"] == check
            && said.iter().all(|part| found.contains(part))
            && finding["change"].as_str().unwrap().contains(change)
    };
    assert!(wrong.iter().any(matches), "no {check} with {said:?} and {change:?} in {wrong:#?}");
}

/// The checks that found something wrong, each once.
fn checks(done: &Done) -> Vec<String> {
    let mut checks: Vec<String> =
        wrong(done).iter().map(|finding| finding["check"].as_str().unwrap().to_owned()).collect();
    checks.dedup();
    checks
}

on_both_databases! {
    async fn a_sound_stack_has_nothing_wrong(db: TestDatabase) {
        let stack = TestStack::start(db);
        let desk = Desk::with_keys(&stack);
        desk.log_in().await;
        let done = examine(&desk).await;
        assert_eq!(wrong(&done), Vec::<Value>::new());
        let report = done.json();
        let odd: Vec<_> = report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "ok").collect();
        assert!(odd.is_empty(), "{odd:#?}");
        let human = desk.run(&["doctor"]).await;
        assert!(human.expect(0).ends_with("\n\nNothing is wrong.\n"), "{}", human.out);
        stack.stop().await;
    }

    async fn pending_migrations_are_found(db: TestDatabase) {
        let stack = TestStack::start(db);
        stack.databases.user.execute("DELETE FROM __diesel_schema_migrations");
        let done = examine(&Desk::with_keys(&stack)).await;
        assert_found(&done, "migrations", &["user-service", "Migrations are missing"], "database.migrate = true");
        assert_eq!(checks(&done), ["migrations"]);
        stack.stop().await;
    }

    async fn an_outbox_that_nobody_empties_is_found_and_a_feed_that_cannot_be_read(db: TestDatabase) {
        // Nobody is there any more.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let stack = TestStack::start_changed(Databases::next_to(db), &[], |config| {
            config.user.services.auth_url = format!("http://{gone}");
        });
        let admin = stack.client.admin().await;
        let registered = stack.client.register("ada@example.com").await.expect(201).json();
        let path = format!("/users/{}", registered["user"]["id"].as_str().unwrap());
        stack.client.call(Method::PATCH, &path, &admin.access, Some(json!({ "disabled": true }))).await.expect(200);
        let user = crate::helpers::Client::new(format!("http://{}", stack.addresses.user));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !user.get_without_token("/metrics").await.text.contains("signet_outbox_events 1.0\n") {
            assert!(std::time::Instant::now() < deadline, "user-service has not seen that its event waits");
            actix_web::rt::task::yield_now().await;
        }
        stack.clock.advance_seconds(60);
        let done = examine(&Desk::with_keys(&stack)).await;
        assert_found(&done, "outbox", &["1 changes of users wait", "for 6"], "services.auth_url = ");
        assert_found(&done, "feed", &["user-service"], "services.auth_url = ");
        assert_eq!(checks(&done), ["feed", "outbox"]);
        stack.stop().await;
    }
}

const OTHER_SECRET: &str = "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ";

#[actix_web::test]
async fn secrets_that_differ_between_services_are_found() {
    let stack = TestStack::start_changed(Databases::next_to(sqlite()), &[], |config| {
        config.resource.tokens.secret = Some(OTHER_SECRET.to_owned().into());
    });
    let done = examine(&Desk::with_keys(&stack)).await;
    assert_found(
        &done,
        "secrets",
        &["resource-service refuses a token signed with the keys at hand"],
        "tokens.secret = ",
    );
    // It cannot sign what auth-service takes, either.
    assert_found(&done, "feed", &["resource-service"], "services.auth_url = ");
    assert!(!done.out.contains(OTHER_SECRET));
    assert!(!done.out.contains("user-service refuses"), "{}", done.out);

    // Without keys, with a log-in alone.
    let desk = Desk::at(&stack);
    desk.log_in().await;
    let done = examine(&desk).await;
    assert_found(&done, "secrets", &["resource-service refuses a token that auth-service issued"], "tokens.secret = ");
    stack.stop().await;
}

#[actix_web::test]
async fn a_key_that_a_service_lacks_is_found() {
    let home = Home::sqlite();
    let in_home = |name: &str| home.directory.path().join(name);
    run(home.command(&["keys", "generate", "--file", "old.json"])).expect(0);
    fs::copy(in_home("old.json"), in_home("new.json")).unwrap();
    run(home.command(&["keys", "rotate", "--no-wait", "--file", "new.json"])).expect(0);
    // The new key signs before everybody knows it.
    let mut ring: Value = serde_json::from_slice(&fs::read(in_home("new.json")).unwrap()).unwrap();
    ring["keys"].as_array_mut().unwrap().reverse();
    let signing = ring["keys"][0]["kid"].as_str().unwrap().to_owned();
    fs::write(in_home("new.json"), ring.to_string()).unwrap();
    let new = in_home("new.json").to_str().unwrap().to_owned();
    let keys = [("SIGNET__TOKENS__SECRET", ""), ("SIGNET__TOKENS__JWKS_FILE", &new)];
    let stack = TestStack::start_changed(Databases::next_to(sqlite()), &keys, |config| {
        config.resource.tokens.jwks_file = Some(in_home("old.json"));
    });
    let done = examine(&Desk::at(&stack).with("SIGNET__TOKENS__JWKS_FILE", &new)).await;
    assert_found(&done, "keys", &["resource-service/", &signing], "tokens.jwks_file = ");
    assert_found(&done, "secrets", &["resource-service refuses"], "tokens.jwks_file");
    stack.stop().await;
}

#[actix_web::test]
async fn weak_shared_and_exposed_secrets_are_found() {
    let stack = TestStack::start(sqlite());
    let weak = "changemechangemechangemechangeme";
    let done = examine(&Desk::with_keys(&stack).with("SIGNET__PASSWORDS__PEPPER", weak)).await;
    assert_found(&done, "secrets", &["passwords.pepper is weak"], "passwords.pepper = ");
    let done = examine(&Desk::with_keys(&stack).with("SIGNET__TOKENS__SECRET", weak)).await;
    assert_found(&done, "secrets", &["tokens.secret"], "signet secret generate");
    let done = examine(&Desk::with_keys(&stack).with("SIGNET__REFRESH__SECRET", crate::helpers::SECRET)).await;
    assert_found(&done, "secrets", &["refresh.secret is the same as tokens.secret"], "refresh.secret = ");

    let desk = Desk::at(&stack);
    run(desk.home.command(&["keys", "generate", "--file", "keys.json"])).expect(0);
    fs::create_dir(desk.home.data_dir()).unwrap();
    let keys = desk.home.data_dir().join("keys.json");
    fs::copy(desk.home.directory.path().join("keys.json"), &keys).unwrap();
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let done = examine(&desk).await;
    assert_found(&done, "secrets", &["keys.json may be read by others"], "chmod 600");
    stack.stop().await;
}

#[actix_web::test]
async fn a_service_with_another_issuer_and_one_with_another_audience_are_found() {
    let stack = TestStack::start_changed(Databases::next_to(sqlite()), &[], |config| {
        config.resource.tokens.issuer = "https://other.example".to_owned();
        config.user.tokens.audience = "users".to_owned();
    });
    let issuer = format!("tokens.issuer = \"http://{}\"", stack.addresses.origin);
    let done = examine(&Desk::with_keys(&stack)).await;
    assert_found(&done, "issuer", &["resource-service refuses", "another issuer"], &issuer);
    assert_found(
        &done,
        "audience",
        &["user-service refuses", "another audience"],
        "tokens.audience = \"user-service\"",
    );
    stack.stop().await;
}

#[actix_web::test]
async fn an_issuer_that_is_not_where_clients_go_and_one_without_tls_are_found() {
    let elsewhere = [("SIGNET__TOKENS__ISSUER", "http://127.0.0.1:9")];
    let stack = TestStack::start_with(Databases::next_to(sqlite()), &elsewhere);
    let right = format!("tokens.issuer = \"http://{}\"", stack.addresses.origin);
    let done = examine(&Desk::with_keys(&stack)).await;
    assert_found(&done, "issuer", &["http://127.0.0.1:9"], &right);
    assert_eq!(checks(&done), ["issuer"]);
    stack.stop().await;

    let clear = [("SIGNET__TOKENS__ISSUER", "http://id.example")];
    let stack = TestStack::start_with(Databases::next_to(sqlite()), &clear);
    let done = examine(&Desk::with_keys(&stack)).await;
    assert_found(&done, "tls", &["http://id.example", "in the clear"], "tokens.issuer = \"https://id.example\"");
    assert_eq!(checks(&done), ["tls"]);
    stack.stop().await;
}

#[actix_web::test]
async fn clocks_that_differ_are_found() {
    let stack = TestStack::start(sqlite());
    let desk = Desk::with_keys(&stack);
    for (ahead, said) in [(-120, "issued in the future"), (120, "expired")] {
        stack.clock.advance_seconds(ahead);
        let done = examine(&desk).await;
        assert_found(&done, "clock", &["auth-service", said], "chrony");
        stack.clock.advance_seconds(-ahead);
    }
    let user = format!("http://{}", stack.addresses.user);
    for (off, said) in [(90, "s ahead of"), (-90, "s behind")] {
        let behind_a_proxy = Proxy::with_date_off(&user, off).start();
        let done = examine(&Desk::with_keys(&stack).with("SIGNET_USER_URL", &behind_a_proxy)).await;
        assert_found(&done, "clock", &["user-service's clock is", said], "tokens.leeway_seconds");
        assert_eq!(checks(&done), ["clock"]);
    }
    stack.stop().await;
}

#[actix_web::test]
async fn a_proxy_that_is_not_trusted_is_found_and_one_that_is_not_complained_of() {
    for trusted in [false, true] {
        let proxies = ("SIGNET__SERVER__TRUSTED_PROXIES", if trusted { "127.0.0.9" } else { "" });
        let stack = TestStack::start_with(Databases::next_to(sqlite()), &[proxies]);
        let proxy = Proxy::calling_from("127.0.0.9", &format!("http://{}", stack.addresses.origin)).start();
        let desk = Desk::with_keys(&stack).with("SIGNET_URL", &proxy);
        desk.log_in().await;
        let done = examine(&desk).await;
        if trusted {
            // That the issuer is the stack's own address and not the proxy's, is true.
            assert_eq!(checks(&done), ["issuer"]);
        } else {
            let said = ["as 127.0.0.9, and it is 127.0.0.1"];
            assert_found(&done, "proxies", &said, "server.trusted_proxies = [\"127.0.0.9\"]");
        }
        stack.stop().await;
    }
}

#[actix_web::test]
async fn a_hash_that_costs_more_than_the_cpu_has_is_found() {
    // Without an admin, whose password would take as long at the start.
    let without_admin = |config: &mut StackConfig| {
        config.user.bootstrap.admin_email.clear();
        config.user.bootstrap.admin_password = None;
    };
    let patient = ("SIGNET__SERVICES__TIMEOUT_MS", "60000");
    let deadline = ("SIGNET__PASSWORDS__QUEUE_DEADLINE_MS", "60000");
    let slow = [patient, deadline, ("SIGNET__PASSWORDS__COST", "16")];
    let stack = TestStack::start_changed(Databases::next_to(sqlite()), &slow, without_admin);
    let done = examine(&Desk::with_keys(&stack).with("SIGNET__PASSWORDS__COST", "16")).await;
    assert_found(&done, "hashing", &["s to hash"], "passwords.cost = 1");
    assert_eq!(checks(&done), ["hashing"]);
    stack.stop().await;

    // user-service takes longer than auth-service waits.
    let impatient = [("SIGNET__PASSWORDS__COST", "14"), ("SIGNET__SERVICES__TIMEOUT_MS", "100")];
    let stack = TestStack::start_changed(Databases::next_to(sqlite()), &impatient, without_admin);
    let done = examine(&Desk::with_keys(&stack)).await;
    assert_found(&done, "hashing", &["answered with 503"], "passwords.cost = ");
    stack.stop().await;

    let stack = TestStack::start(sqlite());
    let done = examine(&Desk::with_keys(&stack).with("SIGNET__PASSWORDS__PERMITS", "4000")).await;
    assert_found(&done, "hashing", &["4000 threads hash passwords"], "passwords.permits = 0");
    stack.stop().await;
}

#[actix_web::test]
async fn what_does_not_answer_is_found_and_what_cannot_be_looked_at_is_said() {
    let stack = TestStack::start(sqlite());
    let done = examine(&Desk::with_keys(&stack).with("SIGNET_RESOURCE_URL", "http://127.0.0.1:9")).await;
    assert_found(&done, "service", &["resource-service", "nothing answers"], "--resource-url");
    let done =
        examine(&Desk::with_keys(&stack).with("SIGNET_RESOURCE_URL", &format!("http://{}", stack.addresses.origin)))
            .await;
    assert_found(&done, "service", &["is not a service's own port"], "--resource-url");
    let done = examine(&Desk::at(&stack)).await;
    let report = done.json();
    let skipped: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "skipped").collect();
    assert!(skipped.iter().any(|finding| finding["found"].as_str().unwrap().contains("signet login")), "{skipped:#?}");
    let desk = Desk::with_keys(&stack);
    stack.stop().await;
    let done = examine(&desk).await;
    assert_found(&done, "stack", &["nothing answers"], "--url");
}
