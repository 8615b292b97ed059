//! What deployments ask of the services' programs beside running: `--migrate` before, `--health` meanwhile.

use std::{fs, process::Output, thread};

use crate::site::{Service, Site, Stack, beside_others};

/// One line and the exit code.
#[track_caller]
fn said(output: &Output) -> (i32, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    let line = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    (output.status.code().unwrap(), line)
}

#[track_caller]
fn is_healthy(service: &Service) {
    let (code, line) = said(&service.run("--health", &[]));
    assert_eq!(code, 0, "{line}");
    assert!(line.ends_with(": ready\n"), "{line}");
}

#[track_caller]
fn is_not_healthy(service: &Service, why: &str) {
    let (code, line) = said(&service.run("--health", &[]));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains(why), "{line}");
}

#[actix_web::test]
async fn a_schema_is_made_beforehand_and_health_follows_what_keeps_a_replica_from_working() {
    let _beside = beside_others().await;
    let Some(site) = Site::new("HS256") else { return };
    let apart = [("SIGNET__DATABASE__MIGRATE", "false")];
    let (auth, user, resource) =
        (site.start_auth(0, &apart), site.start_user(0, &apart), site.start_resource(0, &apart));
    let mut stack = Stack { auth: vec![auth], user, resource, site };

    // Nobody made the schema, and nobody was allowed to.
    for service in stack.services() {
        assert_eq!(service.exit_code(), Some(78));
        assert!(service.log().contains("--migrate"), "{}", service.log());
        is_not_healthy(service, "nothing answers at 127.0.0.1:");
    }
    // Several replicas do so at the same time, and what else is configured is of no concern.
    let elsewhere = [("SIGNET__TOKENS__JWKS_FILE", "/nowhere/at/all"), ("SIGNET__SERVER__BIND", "nonsense")];
    for service in stack.services() {
        let service = &*service;
        let outputs: Vec<Output> = thread::scope(|scope| {
            let running: Vec<_> = (0..4).map(|_| scope.spawn(|| service.run("--migrate", &elsewhere))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let texts: Vec<_> = outputs.iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect();
        assert!(outputs.iter().all(|output| output.status.success()), "{texts:?}");
        assert_eq!(texts.iter().filter(|text| text.contains("migrations applied")).count(), 1, "{texts:?}");
    }
    stack.services().for_each(Service::start);
    stack.ready().await;
    stack.services().for_each(|service| is_healthy(service));

    // What all replicas have in common is no reason to take one of them away.
    fs::write(stack.site.ring(), "no ring").unwrap();
    stack.auth[0].kill();
    is_not_healthy(&stack.auth[0], "nothing answers");
    is_healthy(&stack.user);
    is_healthy(&stack.resource);

    stack.site.forget_migrations_of_resource();
    is_not_healthy(&stack.resource, "not ready, 503: Migrations are missing");
    is_healthy(&stack.user);
}

#[actix_web::test]
async fn a_database_that_is_not_there_is_named() {
    let Some(site) = Site::new("HS256") else { return };
    let nowhere = [("SIGNET__DATABASE__URL", "postgres://signet@127.0.0.1:1/nothing")];
    let mut service = site.start_resource(0, &nowhere);
    assert_eq!(service.exit_code(), Some(1));
    let (code, line) = said(&service.run("--migrate", &[]));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("database.url"), "{line}");
}
