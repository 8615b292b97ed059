//! Many requests on one connection, sent before the first is answered.

use std::{fmt::Write as _, io::Write as _, net::TcpStream, time::Duration};

use crate::site::{Site, post};

#[test]
fn pipelined_requests_are_answered_in_order_and_know_nothing_of_each_other() {
    const ROUNDS: usize = 60;

    let site = Site::start();
    let mut sent = String::new();
    for round in 0..ROUNDS {
        let id = |kind: &str| format!("x-request-id: {kind}-{round}\r\n");
        // With a token, without, with a wrong one, one with a body, one that there is nothing for.
        write!(sent, "{}", site.me().replace("host: a\r\n", &format!("host: a\r\n{}", id("me")))).unwrap();
        write!(sent, "GET /auth/me HTTP/1.1\r\nhost: a\r\n{}\r\n", id("nobody")).unwrap();
        write!(sent, "GET /auth/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a.b.c\r\n{}\r\n", id("wrong")).unwrap();
        let log_in = post("/auth/login", r#"{"email":"nobody"}"#);
        write!(sent, "{}", log_in.replace("host: a\r\n", &format!("host: a\r\n{}", id("body")))).unwrap();
        write!(
            sent,
            "GET /persons/{round} HTTP/1.1\r\nhost: a\r\nx-access-token: {}\r\n{}\r\n",
            site.token,
            id("none")
        )
        .unwrap();
    }
    let mut connection = site.connect();
    // All of it is more than the server reads ahead, so it is sent while answers come back.
    for piece in sent.as_bytes().chunks(997) {
        connection.send(piece);
    }
    for round in 0..ROUNDS {
        for (kind, status) in [("me", 200), ("nobody", 401), ("wrong", 401), ("body", 422), ("none", 404)] {
            let answer = connection.answer();
            assert_eq!(answer.status, status, "{kind}-{round}: {answer:?}");
            assert_eq!(answer.header("x-request-id"), Some(format!("{kind}-{round}").as_str()));
            if kind == "me" {
                assert!(answer.json()["sub"].is_string());
            } else {
                assert!(!String::from_utf8_lossy(&answer.body).contains("sub"), "{answer:?}");
            }
        }
    }
    site.check();
}

#[test]
fn what_comes_while_many_wait_their_turn_is_answered_as_well() {
    const WAITING: usize = 40;

    // So that a log-in takes longer than it takes to send the rest.
    let site = Site::start_with(&[("SIGNET__PASSWORDS__COST", "9")]);
    let ask = |round: usize| format!("GET /auth/me HTTP/1.1\r\nhost: a\r\nx-request-id: ask-{round}\r\n\r\n");
    for further in [1, 3] {
        let mut connection = site.connect();
        let log_in = post("/auth/login", r#"{"email":"nobody@example.com","password":"correct horse battery staple"}"#);
        connection.send((log_in + &(0..WAITING).map(ask).collect::<String>()).as_bytes());
        connection.listen(Duration::from_millis(8));
        connection.send((WAITING..WAITING + further).map(ask).collect::<String>().as_bytes());
        assert_eq!(connection.answer().status, 401);
        for round in 0..WAITING + further {
            let answer = connection.answer();
            assert_eq!(answer.status, 401, "{answer:?}");
            assert_eq!(answer.header("x-request-id"), Some(format!("ask-{round}").as_str()));
        }
    }
    site.check();
}

#[test]
fn a_client_that_sends_and_does_not_listen_keeps_nobody_busy() {
    let site = Site::start();
    let mut deaf = TcpStream::connect(site.address()).unwrap();
    deaf.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // Everybody may ask for this, and it is much larger than what asks for it.
    let requests = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000);
    while deaf.write_all(requests.as_bytes()).is_ok() {}
    let before = site.cpu_seconds();
    site.connect().listen(Duration::from_secs(2));
    let busy = site.cpu_seconds() - before;
    assert!(busy < 0.5, "{busy} of 2 seconds");
    site.check();
}

#[test]
fn a_client_that_asks_and_does_not_listen_is_not_answered_into_memory() {
    let site = Site::start();
    let before = site.megabytes();
    // Some 40 MB of answers, if they were all made.
    let request =
        format!("GET /persons/openapi.json HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", site.token);
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = site.connect();
            connection.send(request.repeat(50).as_bytes());
            connection
        })
        .collect();
    site.serves();
    let grown = site.megabytes().saturating_sub(before);
    assert!(grown < 64, "{grown} MB more");
    drop(deaf);
    site.check();
}
