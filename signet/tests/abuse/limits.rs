//! What is too much, too little, or too slow.

use std::time::{Duration, Instant};

use crate::site::{Site, assert_problem, post};

const POST: &str = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

#[test]
fn a_head_that_is_too_large_is_refused() {
    let site = Site::start();
    let header = |length: usize| format!("GET /auth/me HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(length));
    let headers = |count: usize| format!("GET /auth/me HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: a\r\n".repeat(count));
    for (request, status) in [
        (header(60_000), 401),
        (headers(90), 401),
        (headers(97), 431),
        (headers(5_000), 431),
        (header(200_000), 431),
        (header(5_000_000), 431),
        (format!("GET /auth/me?{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(60_000)), 401),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000)), 400),
        (format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "A".repeat(200_000)), 431),
        (format!("GET /auth/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", "a".repeat(50_000)), 401),
        (format!("GET /auth/me HTTP/1.1\r\nhost: a\r\ncookie: {}\r\n\r\n", "a=b; ".repeat(10_000)), 401),
    ] {
        let mut connection = site.connect();
        connection.send(request.as_bytes());
        // A connection that is reset while it is being written to may lose its answer.
        let (answers, closed) = connection.all();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        let start = &request[..40];
        assert!(statuses == [status] || (status == 431 && statuses.is_empty()), "{statuses:?} for {start:?}");
        assert_eq!(closed, matches!(status, 400 | 431), "{start:?}");
        if status == 401 {
            assert_problem(&answers[0], 401);
        }
    }
    site.check();
}

#[test]
fn a_body_that_is_shorter_or_longer_than_it_says_is_refused() {
    let site = Site::start();
    // It breaks off.
    for start in [
        "content-length: 100\r\n\r\n{}".to_owned(),
        "content-length: 1\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\n\r\n64\r\n{}".to_owned(),
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n".to_owned(),
    ] {
        let mut connection = site.connect();
        connection.send(format!("{POST}{start}").as_bytes());
        connection.finish();
        let answers = connection.until_closed();
        assert!(answers.len() < 2, "{start:?}: {answers:?}");
        for answer in &answers {
            assert_problem(answer, 400);
        }
    }
    // What is too long is the next request, and no good one.
    let (answers, closed) = site.answers_to(format!("{}{{}}\r\n\r\n", post("/auth/login", "{}")).as_bytes());
    assert_eq!((answers.len(), closed), (2, true), "{answers:?}");
    assert_problem(&answers[0], 422);
    assert_eq!(answers[1].status, 400);
    site.check();
}

#[test]
fn a_body_that_is_too_large_is_refused_and_not_kept() {
    let site = Site::start();
    let megabyte = "a".repeat(1_000_000);
    for round in 0..20 {
        let pieces = format!("10000\r\n{}\r\n", "a".repeat(65_536)).repeat(16);
        for request in [
            post("/auth/login", &megabyte),
            post("/auth/token", &megabyte),
            format!("{POST}transfer-encoding: chunked\r\n\r\n{pieces}0\r\n\r\n"),
            format!("{POST}content-length: 18446744073709551615\r\n\r\n{megabyte}"),
        ] {
            let mut connection = site.connect();
            connection.send(request.as_bytes());
            let (answers, _) = connection.all();
            // A connection that is closed while it is being written to may lose its answer.
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert!(statuses.is_empty() || statuses == [413] || statuses == [400], "{round}: {statuses:?}");
        }
    }
    site.check();
}

#[test]
fn a_body_that_nobody_reads_and_that_has_no_end_does_not_hold_its_connection() {
    let site = Site::start();
    for body in ["transfer-encoding: chunked\r\n\r\n64\r\n{", "content-length: 100\r\n\r\n{"] {
        let mut connection = site.connect();
        connection.send(format!("POST /nowhere HTTP/1.1\r\nhost: a\r\n{body}").as_bytes());
        let answers = connection.until_closed();
        assert_eq!(answers.len(), 1, "{body:?}: {answers:?}");
        assert_problem(&answers[0], 404);
    }
    site.check();
}

#[test]
fn slow_clients_are_given_up_and_keep_nobody_waiting() {
    const CLIENTS: usize = 200;

    let site = Site::start_with(&[
        ("SIGNET__SERVER__HEADER_TIMEOUT_SECONDS", "3"),
        ("SIGNET__SERVER__BODY_TIMEOUT_SECONDS", "3"),
    ]);
    let began = Instant::now();
    let mut heads: Vec<_> = (0..CLIENTS).map(|_| site.connect()).collect();
    let mut bodies: Vec<_> = (0..CLIENTS).map(|_| site.connect()).collect();
    let (head, body) = ("GET /auth/me HTTP/1.1\r\nhost: a\r\nx: ", format!("{POST}content-length: 1000\r\n\r\n{{"));
    for (slow, fast) in heads.iter_mut().zip(&mut bodies) {
        slow.send(head.as_bytes());
        fast.send(body.as_bytes());
    }
    // A byte from each now and then, and in between somebody who is in a hurry.
    while began.elapsed() < Duration::from_secs(2) {
        for connection in heads.iter_mut().chain(&mut bodies) {
            connection.send(b"a");
        }
        let asked = Instant::now();
        site.serves();
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    for connection in heads {
        let answers = connection.until_closed();
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [408]);
    }
    for connection in bodies {
        let answers = connection.until_closed();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_problem(&answers[0], 400);
    }
    site.check();
}
