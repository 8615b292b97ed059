//! Where one request ends and the next begins: what two servers in a row could see in two ways (RFC 9112, 11.2).

use crate::site::{Site, assert_problem};

/// The head of a request with a body, less the lines that say how long it is.
const POST: &str = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

#[test]
fn a_request_that_could_be_read_in_two_ways_is_refused_and_so_is_what_follows_it() {
    let site = Site::start();
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        "content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "content-length: 2, 2\r\n\r\n{}",
        "content-length: +2\r\n\r\n{}",
        "content-length: -2\r\n\r\n{}",
        "content-length: 0x2\r\n\r\n{}",
        "content-length: 2.0\r\n\r\n{}",
        "content-length: 2 2\r\n\r\n{}",
        "content-length: \r\n\r\n{}",
        "content-length: 18446744073709551618\r\n\r\n{}",
        "content-length : 2\r\n\r\n{}",
        "content-length\t: 2\r\n\r\n{}",
        "content-length: \u{b}2\r\n\r\n{}",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "transfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding\n: chunked\r\n\r\n0\r\n\r\n",
        "x: a\r\n content-length: 2\r\n\r\n{}",
        "x: a\r\n\tb\r\ncontent-length: 2\r\n\r\n{}",
        "x: a\rcontent-length: 2\r\n\r\n{}",
        "x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
        "x\0: a\r\ncontent-length: 2\r\n\r\n{}",
        ": a\r\ncontent-length: 2\r\n\r\n{}",
        "no colon\r\ncontent-length: 2\r\n\r\n{}",
        "host: b\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let (answers, closed) = site.answers_to(format!("{POST}{lines}{}", site.me()).as_bytes());
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!((statuses.as_slice(), closed), ([400].as_slice(), true), "{lines:?}");
    }
    for (first, status) in [
        ("POST /auth/login HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET /auth/me HTTP/1.1\r\n\r\n", 400),
        ("GET /auth/me HTTP/1.1\r\n host: a\r\n\r\n", 400),
        ("GET /auth/me HTTP/1.1\rhost: a\r\r", 400),
        ("GET  /auth/me HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET /auth/me HTTP/1.1 \r\nhost: a\r\n\r\n", 400),
        ("GET /auth/me\r\n\r\n", 400),
        ("GET /auth/me HTTP/1.2\r\nhost: a\r\n\r\n", 400),
        ("GET /auth/me HTTP/2.0\r\nhost: a\r\n\r\n", 400),
        ("GET /auth/me http/1.1\r\nhost: a\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n", 400),
    ] {
        let (answers, closed) = site.answers_to(format!("{first}{}", site.me()).as_bytes());
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!((statuses.as_slice(), closed), ([status].as_slice(), true), "{first:?}");
    }
    site.check();
}

#[test]
fn a_body_in_pieces_that_are_cut_wrongly_is_refused_and_so_is_what_follows_it() {
    let site = Site::start();
    for pieces in [
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2;\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "g\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}XX0\r\n\r\n",
        "2\r\n{}\r\n0\rX\n\r\n",
        "11111111111111111\r\n{}\r\n0\r\n\r\n",
    ] {
        let (answers, closed) =
            site.answers_to(format!("{POST}transfer-encoding: chunked\r\n\r\n{pieces}{}", site.me()).as_bytes());
        assert_eq!((answers.len(), closed), (1, true), "{pieces:?}: {answers:?}");
        assert_problem(&answers[0], 400);
    }
    site.check();
}

#[test]
fn what_may_be_written_in_several_ways_is_read_and_the_next_request_as_well() {
    let site = Site::start();
    for lines in [
        "content-length: 2\r\n\r\n{}",
        "Content-Length:2  \r\n\r\n{}",
        "CONTENT-LENGTH: 02\r\n\r\n{}",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "transfer-encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "transfer-encoding:\tchunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0002\r\n{}\r\n000\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n2;name=value\r\n{}\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: a\r\nauthorization: Bearer b\r\n\r\n",
        "connection: keep-alive\r\ncontent-length: 2\r\n\r\n{}",
        "expect: nothing\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let (answers, closed) = site.answers_to(format!("{POST}{lines}{}", site.me()).as_bytes());
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!((statuses.as_slice(), closed), ([422, 200].as_slice(), false), "{lines:?}");
        assert_problem(&answers[0], 422);
    }
    // Line breaks without their first half (RFC 9112, 2.2).
    let (answers, _) = site.answers_to(b"GET /auth/me HTTP/1.1\nhost: a\n\n");
    assert_problem(&answers[0], 401);
    site.check();
}

#[test]
fn the_body_of_a_request_that_has_no_use_for_one_is_not_taken_for_the_next_request() {
    let site = Site::start();
    let hidden = "DELETE /users/me HTTP/1.1\r\nhost: a\r\n\r\n";
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "NONSENSE"] {
        let length = hidden.len();
        let request = format!("{method} /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{hidden}");
        let mut connection = site.connect();
        connection.send(request.as_bytes());
        connection.finish();
        // An answer to HEAD has no body, whatever its head says.
        if method != "HEAD" {
            let answers = connection.until_closed();
            assert_eq!(answers.len(), 1, "{method}: {answers:?}");
            assert_problem(&answers[0], 404);
        }
    }
    site.check();
}

#[test]
fn another_protocol_is_not_spoken() {
    let site = Site::start();
    for upgrade in [
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    ] {
        let (answers, _) = site.answers_to(format!("GET /auth/me HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n").as_bytes());
        assert_eq!(answers.len(), 1, "{upgrade:?}: {answers:?}");
        assert_problem(&answers[0], 401);
    }
    let (answers, _) = site.answers_to(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_problem(&answers[0], 404);
    site.check();
}
