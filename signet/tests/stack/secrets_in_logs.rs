//! No secret, token, password or hash in any line that the program logs, however much it is asked to log.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

use reqwest::Method;
use serde_json::json;
use test_support::{TestDatabase, on_both_databases};

use crate::{
    helpers::{ADMIN_EMAIL, Client, Tokens},
    program::{Home, run},
};

const PASSWORD: &str = "marmalade-typewriter-on-the-roof";
const WRONG_PASSWORD: &str = "gramophone-behind-the-curtain";
const NEW_PASSWORD: &str = "periscope-above-the-orchard";
const HALF_SENT: &str = "carousel-without-its-horses";
/// All levels everywhere, and once more by name for modules that write what they are given.
const EVERYTHING: &str = "trace,actix_http::h1=trace,actix_web::types=trace,actix_web::middleware=trace,\
    actix_server::worker=trace,hyper_util::client=trace,hyper::proto=trace,reqwest::connect=trace,\
    reqwest::async_impl=trace,rustls::client=trace,h2::codec=trace,mio::poll=trace,tokio_postgres::query=trace,\
    tokio_postgres::prepare=trace,tokio_postgres::connection=trace,r2d2::event=trace,config::env=trace";
const LEGACY_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuN9Wd1ZK2cXv7g0m3bq5hYtRrJ8sUeLi";

/// Everything that a client may send or get that nobody else may see.
async fn drive(client: &Client, admin_password: &str) -> Vec<String> {
    let mut secrets: Vec<String> =
        [PASSWORD, WRONG_PASSWORD, NEW_PASSWORD, HALF_SENT, LEGACY_HASH, admin_password].map(str::to_owned).into();
    let mut note = |tokens: &Tokens| secrets.extend([tokens.access.clone(), tokens.refresh.clone()]);

    let admin = Tokens::of(&client.log_in(ADMIN_EMAIL, admin_password).await.expect(200));
    note(&admin);
    let registration = json!({ "email": "ada@example.com", "username": "ada", "password": PASSWORD });
    let first = Tokens::of(&client.post("/auth/register", registration.clone()).await.expect(201));
    note(&first);
    client.post("/auth/register", registration).await.expect(409);
    client.log_in("ada@example.com", WRONG_PASSWORD).await.expect(401);
    client.log_in("nobody@example.com", WRONG_PASSWORD).await.expect(401);
    let form = [("grant_type", "password"), ("username", "ada"), ("password", PASSWORD)];
    let session = Tokens::of(&client.send(client.request(Method::POST, "/auth/token").form(&form)).await.expect(200));
    note(&session);

    let second = Tokens::of(&client.refresh(&session.refresh).await.expect(200));
    note(&second);
    let third = Tokens::of(&client.refresh(&second.refresh).await.expect(200));
    note(&third);
    client.refresh(&session.refresh).await.expect(400);
    client.refresh(&third.refresh).await.expect(400);
    client.refresh(&format!("{}x", third.refresh)).await.expect(400);

    client.get_without_token(&format!("/auth/me?access_token={}", first.access)).await.expect(200);
    client.get_without_token(&format!("/persons?access_token={}x", first.access)).await.expect(401);
    let in_form = [("access_token", first.access.as_str())];
    client.send(client.request(Method::POST, "/auth/me").form(&in_form)).await.expect(200);
    client.send(client.request(Method::GET, "/persons").header("x-access-token", &first.access)).await.expect(200);
    client.send(client.request(Method::GET, "/persons").basic_auth("ada", Some(PASSWORD))).await.expect(401);
    client.get(&format!("/persons/{}?q={PASSWORD}", first.refresh), "nonsense").await.expect(401);

    for (media_type, body) in [
        ("application/json", format!("{{\"email\":\"ada@example.com\",\"password\":\"{HALF_SENT}")),
        ("application/json", format!("{{\"email\":\"ada@example.com\",\"password\":[\"{HALF_SENT}\"]}}")),
        ("application/json", format!("{{\"email\":\"ada@example.com\",\"{HALF_SENT}\":1}}")),
        ("application/json", format!("\"{HALF_SENT}\"")),
        ("application/x-www-form-urlencoded", format!("email=ada%40example.com&password={HALF_SENT}&password=%ff")),
        ("text/plain", HALF_SENT.to_owned()),
    ] {
        for path in ["/auth/login", "/auth/register", "/auth/token"] {
            let request = client.request(Method::POST, path).header("content-type", media_type).body(body.clone());
            let status = client.send(request).await.status;
            assert!(status.is_client_error(), "{path} {body}: {status}");
        }
    }

    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    client.call(Method::PUT, "/users/me/password", &first.access, Some(change)).await.expect(204);
    let legacy = json!({ "email": "old@example.com", "password_hash": LEGACY_HASH });
    client.call(Method::POST, "/users", &admin.access, Some(legacy)).await.expect(201);
    client.log_in("old@example.com", WRONG_PASSWORD).await.expect(401);
    let csv = format!("id,name\np-1,Amara\np-2,{}\n\"p-3,{HALF_SENT}\n", "x".repeat(300));
    let import = client.request(Method::POST, "/persons/import").bearer_auth(&admin.access);
    client.send(import.header("content-type", "text/csv").body(csv)).await.expect(200);
    let renewed = Tokens::of(&client.log_in("ada@example.com", NEW_PASSWORD).await.expect(200));
    secrets.extend([renewed.access.clone(), renewed.refresh.clone()]);
    client.call(Method::POST, "/auth/logout?all=true", &renewed.access, None).await.expect(204);
    secrets
}

/// The first of four ports in a row that are free now, and that the system gives nobody by itself.
fn four_ports() -> u16 {
    /// Tests beside this one look elsewhere.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 2_000).unwrap() * 4;
    let first = first + TAKEN.fetch_add(100, Ordering::Relaxed);
    let is_free = |port: &u16| (0..4).all(|offset| TcpListener::bind(("127.0.0.1", port + offset)).is_ok());
    (first..30_000).step_by(4).find(is_free).expect("four free ports")
}

/// A token that opens `/internal`.
fn mint(mut command: std::process::Command) -> String {
    command.args([
        "--client",
        "tests",
        "--subject",
        "tests",
        "--scope",
        "signet:internal",
        "--audience",
        "auth-service",
    ]);
    run(command).expect(0).trim().to_owned()
}

/// A client's secret, shown in each of the ways in which it may be.
async fn drive_as_client(client: &Client, auth: &Client, service_token: &str, access: &str) -> Vec<String> {
    let body = json!({ "name": "reports", "scope": "persons:read" });
    let made = auth.call(Method::POST, "/internal/clients", service_token, Some(body)).await.expect(201).json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (id, secret) = (text("client_id"), text("client_secret"));
    let post = |path: &str| client.request(Method::POST, path);
    let grant = ("grant_type", "client_credentials");
    let in_header = post("/auth/token").basic_auth(&id, Some(&secret)).form(&[grant]);
    let token = client.send(in_header).await.expect(200).json()["access_token"].as_str().unwrap().to_owned();
    let in_body = [grant, ("client_id", &*id), ("client_secret", &*secret)];
    client.send(post("/auth/token").form(&in_body)).await.expect(200);
    let twice = post("/auth/token").basic_auth(&id, Some(&secret)).form(&in_body);
    client.send(twice).await.expect(400);
    let without_id = post("/auth/token").form(&[grant, ("client_secret", &*secret)]);
    client.send(without_id).await.expect(400);
    let wrong = post("/auth/token").basic_auth(&id, Some(format!("{secret}x"))).form(&[grant]);
    client.send(wrong).await.expect(401);
    for path in ["/auth/introspect", "/auth/revoke"] {
        client.send(post(path).basic_auth(&id, Some(&secret)).form(&[("token", access)])).await;
    }
    let encoded = reqwest::Client::new().get("http://a").basic_auth(&id, Some(&secret)).build().unwrap();
    let encoded = encoded.headers()["authorization"].to_str().unwrap().trim_start_matches("Basic ").to_owned();
    vec![secret, encoded, token]
}

on_both_databases! {
    async fn nothing_secret_is_logged_at_any_level_in_any_format(db: TestDatabase) {
        let home = Home::on(db);
        for (round, format) in ["text", "json"].into_iter().enumerate() {
            // A data directory of its own makes secrets and an admin of its own; on PostgreSQL the admin is given.
            let admin_password = "clockwork-nightingale-at-the-window";
            let data_dir = format!("data-{round}");
            let port = four_ports();
            let mut running = home.up_at(
                port,
                &["--data-dir", &data_dir, "--demo"],
                &[
                    ("RUST_LOG", EVERYTHING),
                    ("SIGNET__LOG__FORMAT", format),
                    ("SIGNET__TOKENS__SOURCES", "header,x-access-token,query,form"),
                    ("SIGNET__BOOTSTRAP__ADMIN_PASSWORD", admin_password),
                    // Both rounds have the same hashes before them.
                    ("SIGNET__PASSWORDS__PEPPER", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE"),
                ],
            );
            let client = Client::new(running.url.clone());
            if round == 1 && home.database_url().is_some() {
                let admin = Tokens::of(&client.log_in(ADMIN_EMAIL, admin_password).await.expect(200));
                let users = client.get("/users", &admin.access).await.expect(200).json();
                for user in users["items"].as_array().unwrap().iter().filter(|user| user["email"] != ADMIN_EMAIL) {
                    let path = format!("/users/{}", user["id"].as_str().unwrap());
                    client.call(Method::DELETE, &path, &admin.access, None).await.expect(204);
                }
            }
            let mut secrets = drive(&client, admin_password).await;
            let service_token = home.command(&["token", "mint", "--data-dir", &data_dir, "--issuer", &running.url]);
            let service_token = mint(service_token);
            let access = secrets[secrets.len() - 2].clone();
            let auth = Client::new(format!("http://127.0.0.1:{}", port + 1));
            secrets.extend(drive_as_client(&client, &auth, &service_token, &access).await);
            secrets.push(service_token);
            running.wait_for_line("/auth/logout");
            let (out, log) = running.stop();

            let stored = std::fs::read_to_string(home.directory.path().join(&data_dir).join("secrets.toml")).unwrap();
            let stored: Vec<String> = stored.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            assert_eq!(stored.len(), 1, "the key of refresh tokens");
            secrets.extend(stored);
            let ring = std::fs::read(home.directory.path().join(&data_dir).join("keys.json")).unwrap();
            let ring: serde_json::Value = serde_json::from_slice(&ring).unwrap();
            secrets.push(ring["keys"][0]["k"].as_str().unwrap().to_owned());
            secrets.push("Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE".to_owned());
            if let Some(url) = home.database_url() {
                let url: reqwest::Url = url.parse().unwrap();
                // A short one may be a word that stands in the log for other reasons.
                secrets.extend(url.password().filter(|password| password.len() >= 12).map(str::to_owned));
            }
            // A token without its signature tells as much, and a signature alone is what makes one.
            let parts: Vec<&str> = secrets.iter().flat_map(|secret| secret.split('.')).collect();
            let parts: Vec<String> = parts.into_iter().filter(|part| part.len() >= 20).map(str::to_owned).collect();
            secrets.extend(parts);
            // The header is the same for all tokens, and says nothing.
            secrets.retain(|secret| !secret.starts_with("eyJhbGciOi") || secret.contains('.'));
            secrets.extend(["$2b$".to_owned(), "bcrypt-hmac".to_owned(), "Bearer ey".to_owned()]);

            let lines = log.lines().count();
            assert!(lines > 50, "{lines} lines are no trace: {log}");
            assert!(log.contains("access") && log.contains("/auth/login"), "{log}");
            for detail in ["actix_http::h1", "hyper_util::client", "tokio_postgres::"] {
                assert!(!log.contains(detail), "{detail} writes what it is given");
            }
            if format == "json" {
                for line in log.lines() {
                    serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                }
            }
            for secret in &secrets {
                let found = log.lines().chain(out.lines()).find(|line| line.contains(secret.as_str()));
                assert_eq!(found, None, "{secret} is in the log");
            }
        }
    }
}
