//! Clients: how they are registered, how they prove who they are, and what tokens they get.

use std::sync::Arc;

use auth_service::{
    domain::{NewSession, SessionId, Subject},
    storage::{MIGRATIONS, RevocationStore, SessionStore, Started},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use diesel::{QueryableByName, RunQueryDsl as _, sql_types::Text};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use service_kit::{
    Timestamp,
    audit::Origin,
    db::{Database, DatabaseUrl, Db},
    peer::INTERNAL_SCOPE,
};
use shared_claims::{Claims, KeyRing, Verifier};
use test_support::{TestDatabase, on_both_databases};

use crate::helpers::{Answer, ISSUER, SECRET, TestApp, send, text};

pub struct Registered {
    pub id: String,
    pub secret: String,
}

impl Registered {
    /// Proves who it is, in the way that RFC 6749 prefers.
    pub fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.id, Some(&self.secret))
    }
}

/// Registers a client with these scopes.
pub async fn register(app: &TestApp, scope: &str) -> Registered {
    let answer = create(app, &json!({"name": "nightly import", "scope": scope})).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
    Registered {
        id: text(&answer.body["client_id"]).to_owned(),
        secret: text(&answer.body["client_secret"]).to_owned(),
    }
}

pub async fn delete(app: &TestApp, id: &str) -> Answer {
    let path = format!("/internal/clients/{id}");
    send(app.request(Method::DELETE, &path).bearer_auth(app.service_token())).await
}

/// The answer to the grant `client_credentials`.
pub async fn own_token(app: &TestApp, client: &Registered) -> Answer {
    send(client.authorize(app.post("/auth/token")).form(&[("grant_type", "client_credentials")])).await
}

/// The tokens of a user who logged in through a client.
pub async fn log_in_through(app: &TestApp, client: &Registered, user: &str) -> Value {
    let form = [("grant_type", "password"), ("username", user), ("password", "correct horse")];
    let answer = send(client.authorize(app.post("/auth/token")).form(&form)).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    answer.body
}

pub fn refresh_form(token: &Value) -> [(&'static str, String); 2] {
    [("grant_type", "refresh_token".to_owned()), ("refresh_token", text(token).to_owned())]
}

async fn create(app: &TestApp, body: &Value) -> Answer {
    send(app.post("/internal/clients").bearer_auth(app.service_token()).json(body)).await
}

async fn list(app: &TestApp, query: &str) -> Answer {
    send(app.get(&format!("/internal/clients{query}")).bearer_auth(app.service_token())).await
}

/// The claims of a token as another service has them.
fn claims_of(app: &TestApp, token: &Value, audience: &str) -> Claims {
    let ring = KeyRing::from_secret(SECRET.as_bytes()).unwrap();
    let verifier = Verifier::builder(ring).issuer(ISSUER).audience(audience).build().unwrap();
    verifier.verify_at(text(token), u64::try_from(app.now()).unwrap()).unwrap()
}

fn open(app: &TestApp) -> Database {
    let url = DatabaseUrl::parse(app.database.url()).unwrap();
    Database::open(&url, 1, MIGRATIONS).unwrap()
}

fn is_refused(answer: &Answer) {
    answer.is(401, "invalid_client");
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"auth-service\"");
    assert_eq!(answer.header("cache-control"), "no-store");
    let description = "The client is not known, or has not proved who it is.";
    assert_eq!(answer.body, json!({"error": "invalid_client", "error_description": description}));
}

on_both_databases! {
    async fn a_client_is_registered_shown_and_deleted(db: TestDatabase) {
        let app = TestApp::start(db);
        let answer = create(&app, &json!({"name": " nightly import ", "scope": "persons:write persons:read"})).await;
        assert_eq!(answer.status.as_u16(), 201);
        assert_eq!(answer.header("cache-control"), "no-store");
        let (id, secret) = (text(&answer.body["client_id"]), text(&answer.body["client_secret"]));
        assert!(id.starts_with("cli_") && id.len() == 26, "{id}");
        assert!(secret.starts_with("scs_") && secret.len() == 47);
        let expected = json!({"client_id": id, "client_secret": secret, "name": "nightly import",
            "scope": "persons:read persons:write", "created_at": "2027-01-15T08:00:00.000000Z"});
        assert_eq!(answer.body, expected);

        let listed = list(&app, "").await;
        assert_eq!(listed.header("cache-control"), "no-store");
        let expected = json!({"items": [{"client_id": id, "name": "nightly import",
            "scope": "persons:read persons:write", "created_at": "2027-01-15T08:00:00.000000Z",
            "last_used_at": null}], "next_cursor": null});
        assert_eq!(listed.body, expected);

        assert_eq!(delete(&app, id).await.status.as_u16(), 204);
        delete(&app, id).await.is(404, "not_found");
        delete(&app, "nonsense").await.is(404, "not_found");
        assert_eq!(list(&app, "").await.body, json!({"items": [], "next_cursor": null}));
        app.stop().await;
    }

    async fn two_clients_never_share_an_id_or_a_secret(db: TestDatabase) {
        let app = TestApp::start(db);
        let (one, other) = (register(&app, "").await, register(&app, "").await);
        assert_ne!(one.id, other.id);
        assert_ne!(one.secret, other.secret);
        app.stop().await;
    }

    async fn a_registration_that_cannot_be_taken_names_each_field(db: TestDatabase) {
        let app = TestApp::start(db);
        let long = "x".repeat(101);
        let scopes = "a ".repeat(501);
        for (body, field, code) in [
            (json!({}), "name", "required"),
            (json!({"name": "  "}), "name", "required"),
            (json!({"name": long}), "name", "too_long"),
            (json!({"name": "a\u{0}b"}), "name", "invalid"),
            (json!({"name": "a\nb"}), "name", "invalid"),
            (json!({"name": 7}), "name", "invalid_type"),
            (json!({"name": "a", "scope": "a\"b"}), "scope", "invalid"),
            (json!({"name": "a", "scope": "a\u{0}b"}), "scope", "invalid"),
            (json!({"name": "a", "scope": scopes}), "scope", "too_long"),
            (json!({"name": "a", "client_secret": "mine"}), "client_secret", "unknown"),
        ] {
            let answer = create(&app, &body).await;
            answer.is(422, "validation_failed");
            assert_eq!(answer.body["errors"][0]["field"], field, "{body}");
            assert_eq!(answer.body["errors"][0]["code"], code, "{body}");
        }
        let both = create(&app, &json!({"name": "", "scope": "\\"})).await;
        assert_eq!(both.body["errors"].as_array().unwrap().len(), 2);
        assert_eq!(list(&app, "").await.body["items"], json!([]));
        app.stop().await;
    }

    async fn the_list_comes_in_pages(db: TestDatabase) {
        let app = TestApp::start(db);
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(register(&app, "").await.id);
        }
        ids.sort();
        let mut seen = Vec::new();
        let mut query = "?limit=2".to_owned();
        loop {
            let page = list(&app, &query).await;
            let items = page.body["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| text(&item["client_id"]).to_owned()));
            match page.body["next_cursor"].as_str() {
                Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, ids);
        list(&app, "?cursor=made-up").await.is(400, "invalid_request");
        list(&app, "?limit=0").await.is(422, "validation_failed");
        app.stop().await;
    }

    async fn the_database_holds_a_hash_and_no_secret(db: TestDatabase) {
        #[derive(QueryableByName)]
        struct Stored {
            #[diesel(sql_type = Text)]
            secret_hash: String,
        }

        let app = TestApp::start(db);
        let client = register(&app, "").await;
        let database = open(&app);
        let stored = database
            .blocking(|db| {
                let query = diesel::sql_query("SELECT secret_hash FROM clients");
                Ok::<_, service_kit::Error>(match db {
                    Db::Sqlite(connection) => query.get_result::<Stored>(connection)?,
                    Db::Postgres(connection) => query.get_result::<Stored>(connection)?,
                })
            })
            .unwrap()
            .secret_hash;
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client.secret.as_bytes());
        let expected = hash.as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(stored, expected);
        drop(database);
        app.stop().await;
    }

    async fn a_client_gets_a_token_of_its_own(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read persons:write").await;
        let answer = own_token(&app, &client).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        let mut members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"], "no refresh token (RFC 6749, 4.4.3)");
        assert_eq!(answer.body["token_type"], "Bearer");
        assert_eq!(answer.body["expires_in"], 900);
        assert_eq!(answer.body["scope"], "persons:read persons:write");
        let now = u64::try_from(app.now()).unwrap();
        let mut claims = claims_of(&app, &answer.body["access_token"], "resource-service");
        assert!(!std::mem::take(&mut claims.jti).is_empty());
        let expected = Claims {
            iss: ISSUER.into(),
            sub: client.id.clone(),
            client_id: Some(client.id.clone()),
            aud: ["auth-service", "user-service", "resource-service"].map(String::from).to_vec(),
            iat: now,
            exp: now + 900,
            scope: "persons:read persons:write".into(),
            ver: Some(1),
            ..Claims::default()
        };
        assert_eq!(claims, expected);
        let me = send(app.get("/auth/me").bearer_auth(text(&answer.body["access_token"]))).await;
        assert_eq!(me.body["client_id"], json!(client.id));
        app.stop().await;
    }

    async fn a_client_may_ask_for_less_than_it_was_registered_with_and_not_for_more(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read persons:write").await;
        let ask = |client: &Registered, scope: &str| {
            let form = [("grant_type", "client_credentials"), ("scope", scope)];
            client.authorize(app.post("/auth/token")).form(&form)
        };
        assert_eq!(send(ask(&client, "persons:write")).await.body["scope"], "persons:write");
        assert_eq!(send(ask(&client, "")).await.body["scope"], "persons:read persons:write");
        for more in ["users:write", "persons:read users:read", INTERNAL_SCOPE, "a\"b"] {
            send(ask(&client, more)).await.is(400, "invalid_scope");
        }
        let none = register(&app, "").await;
        let answer = own_token(&app, &none).await;
        assert_eq!((answer.status.as_u16(), &answer.body["scope"]), (200, &json!("")));
        app.stop().await;
    }

    async fn only_a_client_that_was_registered_for_it_reaches_the_internal_routes(db: TestDatabase) {
        let app = TestApp::start(db);
        let verifier = register(&app, INTERNAL_SCOPE).await;
        let other = register(&app, "persons:read").await;
        for (client, status) in [(&verifier, 200), (&other, 403)] {
            let token = own_token(&app, client).await;
            let answer = send(app.get("/internal/clients").bearer_auth(text(&token.body["access_token"]))).await;
            assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        }
        app.stop().await;
    }

    async fn a_client_proves_who_it_is_by_header_or_by_body(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read").await;
        let (id, secret) = (client.id.as_str(), client.secret.as_str());
        let grant = ("grant_type", "client_credentials");
        let encoded = |text: &str| text.bytes().fold(String::new(), |hex, byte| format!("{hex}%{byte:02X}"));
        let header = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        for request in [
            client.authorize(app.post("/auth/token")).form(&[grant]),
            client.authorize(app.post("/auth/token")).form(&[grant, ("client_id", id), ("client_secret", "")]),
            app.post("/auth/token").header("authorization", format!("bAsIc  {header}")).form(&[grant]),
            app.post("/auth/token").form(&[grant, ("client_id", id), ("client_secret", secret)]),
            app.post("/auth/token").json(&json!({"grant_type": grant.1, "client_id": id, "client_secret": secret})),
        ] {
            let answer = send(request).await;
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        }
        app.stop().await;
    }

    async fn a_client_that_does_not_prove_who_it_is_is_refused_without_a_reason(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read").await;
        let other = register(&app, "persons:read").await;
        let (id, secret) = (client.id.as_str(), client.secret.as_str());
        let grant = ("grant_type", "client_credentials");
        let post = || app.post("/auth/token");
        let unknown = format!("cli_{}", "A".repeat(22));
        let longer = format!("{secret}A");
        let upper = secret.to_uppercase();
        for request in [
            post().form(&[grant]),
            post().form(&[grant, ("client_id", id)]),
            post().form(&[grant, ("client_id", id), ("client_secret", "")]),
            post().form(&[grant, ("client_id", id), ("client_secret", "wrong")]),
            post().form(&[grant, ("client_id", id), ("client_secret", &other.secret)]),
            post().form(&[grant, ("client_id", id), ("client_secret", &longer)]),
            post().form(&[grant, ("client_id", id), ("client_secret", &upper)]),
            post().form(&[grant, ("client_id", id), ("client_secret", id)]),
            post().form(&[grant, ("client_id", &unknown), ("client_secret", secret)]),
            post().form(&[grant, ("client_id", "nobody"), ("client_secret", secret)]),
            post().form(&[grant, ("client_id", "a\0b"), ("client_secret", "a\0b")]),
            post().form(&[grant, ("client_id", "my-spa")]),
            post().basic_auth(id, Some(&other.secret)).form(&[grant]),
            post().basic_auth(id, None::<&str>).form(&[grant]),
            post().basic_auth(&unknown, Some(secret)).form(&[grant]),
            post().basic_auth("", Some("")).form(&[grant]),
            post().header("authorization", "Basic !!!").form(&[grant]),
            post().header("authorization", format!("Basic {}", STANDARD.encode(id))).form(&[grant]),
            post().bearer_auth(app.service_token()).form(&[grant]),
        ] {
            is_refused(&send(request).await);
        }
        // A client that tries and fails is refused whatever it asks for.
        let form = [("grant_type", "password"), ("username", "ada"), ("password", "correct horse")];
        is_refused(&send(post().basic_auth(id, Some("wrong")).form(&form)).await);
        is_refused(&send(post().basic_auth(id, Some("wrong")).form(&[("grant_type", "implicit")])).await);
        app.stop().await;
    }

    async fn two_ways_to_prove_who_one_is_are_one_too_many(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read").await;
        let other = register(&app, "persons:read").await;
        let (id, secret) = (client.id.as_str(), client.secret.as_str());
        let grant = ("grant_type", "client_credentials");
        let post = || app.post("/auth/token");
        for request in [
            client.authorize(post()).form(&[grant, ("client_id", id), ("client_secret", secret)]),
            client.authorize(post()).form(&[grant, ("client_secret", secret)]),
            client.authorize(post()).form(&[grant, ("client_id", &other.id)]),
            client.authorize(client.authorize(post())).form(&[grant]),
            post().header("authorization", "Basic !!!").form(&[grant, ("client_id", id), ("client_secret", secret)]),
            post().form(&[grant, ("client_secret", secret)]),
            post().form(&[grant, ("client_id", id), ("client_id", id), ("client_secret", secret)]),
        ] {
            let answer = send(request).await;
            answer.is(400, "invalid_request");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        app.stop().await;
    }

    async fn a_client_without_a_secret_may_call_itself_anything_but_what_another_is_called(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let registered = register(&app, "persons:read").await;
        let unknown = format!("cli_{}", "A".repeat(22));
        let log_in = |id: &str| {
            let form =
                [("grant_type", "password"), ("username", "ada"), ("password", "correct horse"), ("client_id", id)];
            app.post("/auth/token").form(&form)
        };
        for id in ["my-spa", "", &unknown] {
            let answer = send(log_in(id)).await;
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
            let [grant, token] = refresh_form(&answer.body["refresh_token"]);
            let form = [grant, token, ("client_id", id.to_owned())];
            assert_eq!(send(app.post("/auth/token").form(&form)).await.status.as_u16(), 200);
        }
        is_refused(&send(log_in(&registered.id)).await);
        // Headers of other schemes prove nothing about a client, and browsers send them along.
        let tokens = app.log_in("ada").await;
        let request = app.post("/auth/token").bearer_auth(text(&tokens["access_token"]));
        let answer = send(request.form(&refresh_form(&tokens["refresh_token"]))).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        app.stop().await;
    }

    async fn a_session_that_was_begun_with_a_client_is_refreshed_by_that_client_alone(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = register(&app, "persons:read").await;
        let other = register(&app, "persons:read").await;
        let tokens = log_in_through(&app, &client, "ada").await;
        let form = refresh_form(&tokens["refresh_token"]);
        let scoped = [form[0].clone(), form[1].clone(), ("scope", "persons:read".to_owned())];
        for form in [&form[..], &scoped[..]] {
            is_refused(&send(app.post("/auth/token").form(form)).await);
            let answer = send(other.authorize(app.post("/auth/token")).form(form)).await;
            answer.is(400, "invalid_grant");
            assert_eq!(answer.body["error_description"], "The refresh token was issued to another client.");
        }
        // None of that has moved the line on or ended the session.
        let first = send(client.authorize(app.post("/auth/token")).form(&form)).await;
        assert_eq!(first.status.as_u16(), 200, "{}", first.body);
        let replayed = send(client.authorize(app.post("/auth/token")).form(&form)).await;
        assert_eq!(replayed.body["refresh_token"], first.body["refresh_token"]);
        is_refused(&send(app.post("/auth/token").form(&form)).await);
        // A copy that comes back without the client's secret does no harm either; with it, it ends the session.
        let second = send(client.authorize(app.post("/auth/token")).form(&refresh_form(&first.body["refresh_token"]))).await;
        is_refused(&send(app.post("/auth/token").form(&form)).await);
        let form = refresh_form(&second.body["refresh_token"]);
        assert_eq!(send(client.authorize(app.post("/auth/token")).form(&form)).await.status.as_u16(), 200);
        send(client.authorize(app.post("/auth/token")).form(&refresh_form(&tokens["refresh_token"])))
            .await
            .is(400, "invalid_grant");
        send(client.authorize(app.post("/auth/token")).form(&form)).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn a_session_that_no_client_was_named_for_is_whoever_s_that_holds_its_tokens(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = register(&app, "persons:read").await;
        let form = refresh_form(&tokens["refresh_token"]);
        let answer = send(client.authorize(app.post("/auth/token")).form(&form)).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        assert_eq!(app.refresh(text(&answer.body["refresh_token"])).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn a_user_s_token_that_a_client_obtained_is_the_user_s(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = register(&app, "persons:read").await;
        let tokens = log_in_through(&app, &client, "ada").await;
        let claims = claims_of(&app, &tokens["access_token"], "resource-service");
        assert_eq!((claims.sub.as_str(), claims.client_id), ("user-1", None));
        assert!(claims.sid.is_some());
        assert_eq!(claims.roles, ["user"]);
        let sessions = send(app.get("/auth/sessions").bearer_auth(text(&tokens["access_token"]))).await;
        assert_eq!(sessions.body["items"].as_array().unwrap().len(), 2, "{}", sessions.body);
        app.stop().await;
    }

    async fn on_a_user_s_behalf_a_client_does_no_more_than_it_was_registered_for(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        app.users.change("user-1", |user| user["user"]["roles"] = json!(["admin"]));
        let client = register(&app, "persons:read persons:write orders:read").await;
        let tokens = log_in_through(&app, &client, "ada").await;
        assert_eq!(tokens["scope"], "persons:read persons:write");
        let refresh = |scope: &str| {
            let [grant, token] = refresh_form(&tokens["refresh_token"]);
            client.authorize(app.post("/auth/token")).form(&[grant, token, ("scope", scope.to_owned())])
        };
        send(refresh("users:read")).await.is(400, "invalid_scope");
        assert_eq!(send(refresh("persons:write")).await.body["scope"], "persons:write");
        let form = [
            ("grant_type", "password"), ("username", "ada"), ("password", "correct horse"),
            ("scope", "persons:write users:write"),
        ];
        let answer = send(client.authorize(app.post("/auth/token")).form(&form)).await;
        assert_eq!(answer.body["scope"], "persons:write");
        app.stop().await;
    }

    async fn a_deleted_client_s_tokens_and_sessions_die_with_it(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = register(&app, "persons:read").await;
        let other = register(&app, "persons:read").await;
        let own = own_token(&app, &client).await;
        let own = text(&own.body["access_token"]);
        let user = log_in_through(&app, &client, "ada").await;
        let others = own_token(&app, &other).await;
        let others = text(&others.body["access_token"]);
        let others_user = log_in_through(&app, &other, "ada").await;
        assert_eq!(delete(&app, &client.id).await.status.as_u16(), 204);
        for dead in [own, text(&user["access_token"])] {
            send(app.get("/auth/me").bearer_auth(dead)).await.is(401, "token_revoked");
        }
        for alive in [others, text(&others_user["access_token"])] {
            assert_eq!(send(app.get("/auth/me").bearer_auth(alive)).await.status.as_u16(), 200);
        }
        is_refused(&own_token(&app, &client).await);
        is_refused(&send(client.authorize(app.post("/auth/token")).form(&refresh_form(&user["refresh_token"]))).await);
        app.refresh(text(&user["refresh_token"])).await.is(400, "invalid_grant");
        let form = refresh_form(&others_user["refresh_token"]);
        assert_eq!(send(other.authorize(app.post("/auth/token")).form(&form)).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn a_log_in_through_a_client_that_was_deleted_meanwhile_begins_no_session(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = register(&app, "persons:read").await;
        let database = open(&app);
        let sessions = SessionStore::new(database.clone(), RevocationStore::new(database, Arc::new(|_| {})));
        let start = async |id: u8| {
            let session = NewSession {
                id: SessionId::from_bytes([id; 16]),
                subject: Subject { user_id: "user-1".into(), authorization_version: 1, roles: vec!["user".into()] },
                scope_limit: None,
                amr: "pwd",
                origin: Origin::default(),
                client_id: Some(client.id.clone()),
                created_at: Timestamp::from_seconds(app.now()),
                expires_at: Timestamp::from_seconds(app.now() + 900),
            };
            sessions.start(session, false).await.unwrap()
        };
        assert_eq!(start(1).await, Started::Yes);
        delete(&app, &client.id).await;
        assert_eq!(start(2).await, Started::Stale);
        app.stop().await;
    }

    async fn the_list_tells_when_a_client_was_last_seen_to_the_hour(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read").await;
        let seen = async || list(&app, "").await.body["items"][0]["last_used_at"].clone();
        let form = [("grant_type", "client_credentials"), ("client_id", &client.id), ("client_secret", "wrong")];
        is_refused(&send(app.post("/auth/token").form(&form)).await);
        assert_eq!(seen().await, Value::Null);
        own_token(&app, &client).await;
        assert_eq!(seen().await, "2027-01-15T08:00:00.000000Z");
        app.advance(3599);
        own_token(&app, &client).await;
        assert_eq!(seen().await, "2027-01-15T08:00:00.000000Z");
        app.advance(1);
        own_token(&app, &client).await;
        assert_eq!(seen().await, "2027-01-15T09:00:00.000000Z");
        app.stop().await;
    }

    async fn a_client_s_token_goes_into_no_cookie(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = register(&app, "persons:read").await;
        let request = client.authorize(app.post("/auth/token")).header("x-session", "cookie");
        let answer = send(request.form(&[("grant_type", "client_credentials")])).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.header("set-cookie"), "");
        app.stop().await;
    }

    async fn the_grants_that_there_are_are_named_to_those_who_ask_for_another(db: TestDatabase) {
        let app = TestApp::start(db);
        let answer = send(app.post("/auth/token").form(&[("grant_type", "authorization_code")])).await;
        answer.is(400, "unsupported_grant_type");
        let description = "This server takes the grant types password, refresh_token and client_credentials.";
        assert_eq!(answer.body["error_description"], description);
        app.stop().await;
    }
}
