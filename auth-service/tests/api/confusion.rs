//! Tokens and secrets in the place of others: each is good for one thing and refused for everything else.

use std::net::TcpListener;

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::peer::INTERNAL_SCOPE;
use test_support::{TestDatabase, on_both_databases};

use crate::{
    clients::{self, log_in_through, own_token},
    helpers::{ISSUER, TestApp, send, text},
    metadata::{common_secret, ed25519, start_with_keys},
};

/// The claims of a token that a service with the right key would take.
fn payload(app: &TestApp) -> Value {
    json!({"iss": ISSUER, "sub": "user-1", "aud": ["auth-service"], "iat": app.now(), "exp": app.now() + 900,
        "jti": "1", "scope": "persons:read users:write", "ver": 1})
}

/// A token with any header, signed by whatever `sign` does.
fn forge(header: &Value, payload: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(header), encoded(payload));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn with_hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// The public part of a pair, under the id `rsa`.
fn public_rsa(pair: &RsaKeyPair) -> Value {
    let public = pair.public_key();
    json!({"kty": "RSA", "alg": "RS256", "kid": "rsa",
        "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
        "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero())})
}

fn with_rsa(pair: &RsaKeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

async fn is_taken(app: &TestApp, token: &str) -> bool {
    let answer = send(app.get("/auth/me").bearer_auth(token)).await;
    if answer.status.as_u16() == 200 {
        return true;
    }
    answer.is(401, "token_invalid");
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    false
}

on_both_databases! {
    async fn a_public_key_is_no_common_secret(db: TestDatabase) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (public, edwards) = (pair.public_key(), ed25519("edwards"));
        let (app, _directory) = start_with_keys(db, &[edwards.clone(), public_rsa(&pair)], &[]);
        let payload = payload(&app);
        let rs256 = json!({"alg": "RS256", "typ": "at+jwt", "kid": "rsa"});
        assert!(is_taken(&app, &forge(&rs256, &payload, |message| with_rsa(&pair, message))).await, "the key is known");

        let published = send(app.get("/.well-known/jwks.json")).await.body;
        let spki: PublicKeyX509Der<'_> = public.as_der().unwrap();
        let base64 = STANDARD.encode(spki.as_ref());
        let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
        let x = URL_SAFE_NO_PAD.decode(text(&edwards["x"])).unwrap();
        for (kid, secret) in [
            ("rsa", pem.as_bytes()),
            ("rsa", format!("{pem}\n").as_bytes()),
            ("rsa", spki.as_ref()),
            ("rsa", public.as_ref()),
            ("rsa", public.modulus().big_endian_without_leading_zero()),
            ("rsa", text(&published["keys"][1]["n"]).as_bytes()),
            ("rsa", published.to_string().as_bytes()),
            ("rsa", published["keys"][1].to_string().as_bytes()),
            ("edwards", &x),
            ("edwards", text(&edwards["x"]).as_bytes()),
            ("edwards", published["keys"][0].to_string().as_bytes()),
        ] {
            let hs256 = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid});
            assert!(!is_taken(&app, &forge(&hs256, &payload, |message| with_hmac(secret, message))).await, "{kid}");
        }
        app.stop().await;
    }

    async fn a_key_signs_with_its_own_algorithm_alone(db: TestDatabase) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (app, _directory) = start_with_keys(db, &[ed25519("edwards"), public_rsa(&pair)], &[]);
        let payload = payload(&app);
        let header = |alg: &str, kid: &str| json!({"alg": alg, "typ": "at+jwt", "kid": kid});
        let own = Ed25519KeyPair::generate().unwrap();
        let edwards = |message: &[u8]| own.sign(message).as_ref().to_vec();
        let rsa = |message: &[u8]| with_rsa(&pair, message);
        assert!(is_taken(&app, &forge(&header("RS256", "rsa"), &payload, rsa)).await, "the others differ from this");
        for token in [
            forge(&header("EdDSA", "rsa"), &payload, edwards),
            forge(&header("RS256", "rsa"), &payload, edwards),
            forge(&header("EdDSA", "edwards"), &payload, edwards),
            forge(&header("RS256", "edwards"), &payload, rsa),
            forge(&header("EdDSA", "edwards"), &payload, rsa),
            forge(&header("HS256", "rsa"), &payload, rsa),
            forge(&header("PS256", "rsa"), &payload, rsa),
            forge(&header("RS512", "rsa"), &payload, rsa),
            forge(&header("none", "rsa"), &payload, |_| Vec::new()),
            forge(&header("rs256", "rsa"), &payload, rsa),
            forge(&header("RS256", "other"), &payload, rsa),
            forge(&json!({"alg": "RS256", "typ": "at+jwt"}), &payload, rsa),
        ] {
            assert!(!is_taken(&app, &token).await, "{token}");
        }
        app.stop().await;
    }

    async fn a_key_that_a_token_brings_along_is_neither_believed_nor_fetched(db: TestDatabase) {
        let trap = TcpListener::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        let url = format!("http://{}/jwks.json", trap.local_addr().unwrap());
        let app = TestApp::start(db);
        let payload = payload(&app);
        let own = Ed25519KeyPair::generate().unwrap();
        let sign = |message: &[u8]| own.sign(message).as_ref().to_vec();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "mine",
            "x": URL_SAFE_NO_PAD.encode(own.public_key())});
        let oct = json!({"kty": "oct", "alg": "HS256", "kid": "mine", "k": URL_SAFE_NO_PAD.encode([7; 32])});
        let known = text(&common_secret()["kid"]).to_owned();
        for kid in ["mine", &known] {
            for (name, value) in [
                ("jwk", jwk.clone()),
                ("jku", json!(url)),
                ("x5u", json!(url)),
                ("x5c", json!([STANDARD.encode(own.public_key())])),
            ] {
                let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid, name: value});
                assert!(!is_taken(&app, &forge(&header, &payload, sign)).await, "{header}");
            }
            let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid, "jwk": oct});
            let token = forge(&header, &payload, |message| with_hmac(&[7; 32], message));
            assert!(!is_taken(&app, &token).await, "{header}");
        }
        // Beside a good signature such a member means nothing.
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": known, "jku": url, "x5u": url, "jwk": jwk});
        let secret = crate::helpers::SECRET.as_bytes();
        assert!(is_taken(&app, &forge(&header, &payload, |message| with_hmac(secret, message))).await);
        app.stop().await;
        let nobody = trap.accept().unwrap_err();
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "nothing was fetched");
    }

    async fn a_token_for_another_audience_is_good_for_nothing_here(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let client = clients::register(&app, "").await;
        let sid = send(app.get("/auth/me").bearer_auth(text(&tokens["access_token"]))).await.body["sid"].clone();
        let token = app.mint(|claims| {
            claims.aud = vec!["resource-service".into()];
            claims.sid = sid.as_str().map(str::to_owned);
        });
        assert!(!is_taken(&app, &token).await);
        send(app.post("/auth/logout").bearer_auth(&token)).await.is(401, "token_invalid");
        send(app.get("/auth/verify").bearer_auth(&token)).await.is(401, "token_invalid");
        let service = app.mint(|claims| {
            claims.aud = vec!["user-service".into()];
            claims.client_id = Some("auth-service".into());
            claims.scope = INTERNAL_SCOPE.into();
        });
        send(app.get("/internal/clients").bearer_auth(&service)).await.is(401, "token_invalid");
        let asked = client.authorize(app.post("/auth/introspect")).form(&[("token", &token)]);
        assert_eq!(send(asked).await.body, json!({"active": false}));
        assert_eq!(app.refresh(text(&tokens["refresh_token"])).await.status.as_u16(), 200, "nobody was logged out");
        app.stop().await;
    }

    async fn a_refresh_token_is_no_access_token_and_the_other_way_round(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let (access, refresh) = (text(&tokens["access_token"]), text(&tokens["refresh_token"]));
        assert!(!is_taken(&app, refresh).await);
        send(app.get("/auth/me").header("x-access-token", refresh)).await.is(401, "token_invalid");
        send(app.get("/auth/sessions").bearer_auth(refresh)).await.is(401, "token_invalid");
        send(app.get("/auth/verify").bearer_auth(refresh)).await.is(401, "token_invalid");
        send(app.get("/internal/clients").bearer_auth(refresh)).await.is(401, "token_invalid");
        app.refresh(access).await.is(400, "invalid_grant");
        send(app.post("/auth/logout").json(&json!({"refresh_token": access}))).await.is(401, "token_missing");
        let client = clients::register(&app, "").await;
        let own = own_token(&app, &client).await;
        app.refresh(text(&own.body["access_token"])).await.is(400, "invalid_grant");
        assert_eq!(app.refresh(refresh).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn a_token_with_no_user_behind_it_does_not_act_for_one(db: TestDatabase) {
        let app = TestApp::start(db);
        let user = app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let own = own_token(&app, &client).await;
        // Even one that names a user and that user's session.
        let sid = send(app.get("/auth/me").bearer_auth(text(&user["access_token"]))).await.body["sid"].clone();
        let posing = app.mint(|claims| {
            claims.client_id = Some("batch".into());
            claims.sid = sid.as_str().map(str::to_owned);
        });
        let end = format!("/auth/sessions/{}", text(&sid));
        for token in [&app.service_token(), text(&own.body["access_token"]), &posing] {
            for (method, path) in [
                (Method::GET, "/auth/sessions"),
                (Method::DELETE, &*end),
                (Method::POST, "/auth/logout"),
                (Method::POST, "/auth/logout?all=true"),
            ] {
                let answer = send(app.request(method, path).bearer_auth(token)).await;
                answer.is(403, "insufficient_scope");
                assert!(answer.header("www-authenticate").contains("error=\"insufficient_scope\""));
            }
        }
        assert_eq!(app.refresh(text(&user["refresh_token"])).await.status.as_u16(), 200, "nobody was logged out");
        app.stop().await;
    }

    async fn a_service_token_proves_nothing_at_the_endpoints_for_clients(db: TestDatabase) {
        let app = TestApp::start(db);
        let tokens = app.register("ada").await;
        let token = app.service_token();
        let grant = [("grant_type", "client_credentials")];
        send(app.post("/auth/token").bearer_auth(&token).form(&grant)).await.is(401, "invalid_client");
        let revoke = app.post("/auth/revoke").bearer_auth(&token).form(&[("token", text(&tokens["refresh_token"]))]);
        send(revoke).await.is(401, "invalid_client");
        app.stop().await;
    }

    async fn a_client_s_secret_is_good_for_that_client_and_for_nothing_else(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let other = clients::register(&app, "persons:read users:write").await;
        for path in ["/auth/token", "/auth/introspect", "/auth/revoke"] {
            let form = [("grant_type", "client_credentials"), ("token", "x")];
            for request in [
                app.post(path).basic_auth(&other.id, Some(&client.secret)).form(&form),
                app.post(path).basic_auth(&client.secret, Some(&client.id)).form(&form),
            ] {
                send(request).await.is(401, "invalid_client");
            }
        }
        // Nor does a token stand in for the secret, nor the client for a user.
        let own = own_token(&app, &client).await;
        let token = text(&own.body["access_token"]);
        let as_secret = app.post("/auth/token").basic_auth(&client.id, Some(token));
        send(as_secret.form(&[("grant_type", "client_credentials")])).await.is(401, "invalid_client");
        let as_user = [("grant_type", "password"), ("username", &*client.id), ("password", &client.secret)];
        send(app.post("/auth/token").form(&as_user)).await.is(400, "invalid_grant");
        send(app.get("/auth/me").bearer_auth(&client.secret)).await.is(401, "token_invalid");
        app.refresh(&client.secret).await.is(400, "invalid_grant");
        app.stop().await;
    }

    async fn a_client_cannot_write_a_scope_into_its_token(db: TestDatabase) {
        let app = TestApp::start(db);
        let client = clients::register(&app, "persons:read").await;
        let own = own_token(&app, &client).await;
        let parts: Vec<&str> = text(&own.body["access_token"]).split('.').collect();
        let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        for (from, to) in [
            ("\"persons:read\"", format!("\"persons:read {INTERNAL_SCOPE}\"")),
            (&*format!(",\"client_id\":\"{}\"", client.id), String::new()),
            ("\"sub\":\"cli_", "\"sub\":\"user-".to_owned()),
        ] {
            assert!(payload.contains(from), "{from}");
            let changed = URL_SAFE_NO_PAD.encode(payload.replace(from, &to));
            let forged = format!("{}.{changed}.{}", parts[0], parts[2]);
            assert!(!is_taken(&app, &forged).await);
            send(app.get("/internal/clients").bearer_auth(&forged)).await.is(401, "token_invalid");
        }
        app.stop().await;
    }

    async fn nobody_asks_about_a_token_without_saying_who_asks(db: TestDatabase) {
        let app = TestApp::start(db);
        app.register("ada").await;
        let client = clients::register(&app, "persons:read").await;
        let tokens = log_in_through(&app, &client, "ada").await;
        let access = text(&tokens["access_token"]);
        for request in [
            app.post("/auth/introspect").form(&[("token", access)]),
            // What is asked about proves nothing about who asks.
            app.post("/auth/introspect").form(&[("token", access), ("client_id", &client.id)]),
            app.post("/auth/introspect").form(&[("token", access), ("client_id", &client.id), ("client_secret", access)]),
        ] {
            let answer = send(request).await;
            answer.is(401, "invalid_client");
            assert!(answer.body["active"].is_null());
        }
        let with_itself = app.post("/auth/introspect").bearer_auth(access).form(&[("token", access)]);
        send(with_itself).await.is(403, "insufficient_scope");
        app.stop().await;
    }
}
