//! `/.well-known/*`: what clients find out by themselves.

use aws_lc_rs::{
    encoding::AsBigEndian as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use service_kit::config::Sources;
use shared_claims::{KeyRing, Verifier};
use test_support::{TestDatabase, on_both_databases};

use crate::{
    clients::{self, own_token},
    helpers::{ISSUER, REFRESH_SECRET, SECRET, TestApp, send, text},
};

const METADATA: &str = "/.well-known/oauth-authorization-server";
const JWKS: &str = "/.well-known/jwks.json";

/// The common secret of these tests as a JWK, under the id that all who hold the secret know it by.
pub fn common_secret() -> Value {
    let kid = KeyRing::from_secret(SECRET.as_bytes()).unwrap().key_ids().next().unwrap().to_owned();
    json!({"kty": "oct", "alg": "HS256", "kid": kid, "k": URL_SAFE_NO_PAD.encode(SECRET)})
}

/// Starts a service whose ring is a file with these keys.
pub fn start_with_keys(db: TestDatabase, keys: &[Value], extra: &[(&str, &str)]) -> (TestApp, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
    let mut environment = vec![("SIGNET__TOKENS__SECRET", ""), ("SIGNET__TOKENS__JWKS_FILE", path.to_str().unwrap())];
    environment.extend(extra);
    (TestApp::start_with(db, &environment), directory)
}

/// A key pair, private part included.
pub fn ed25519(kid: &str) -> Value {
    let pair = Ed25519KeyPair::generate().unwrap();
    let seed = pair.seed().unwrap().as_be_bytes().unwrap();
    json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid,
        "x": URL_SAFE_NO_PAD.encode(pair.public_key()), "d": URL_SAFE_NO_PAD.encode(seed.as_ref())})
}

on_both_databases! {
    async fn the_metadata_names_what_there_is(db: TestDatabase) {
        let app = TestApp::start(db);
        let answer = send(app.get(METADATA)).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let expected = json!({
            "issuer": ISSUER,
            "token_endpoint": format!("{ISSUER}/auth/token"),
            "introspection_endpoint": format!("{ISSUER}/auth/introspect"),
            "revocation_endpoint": format!("{ISSUER}/auth/revoke"),
            "jwks_uri": format!("{ISSUER}/.well-known/jwks.json"),
            "scopes_supported": ["persons:read", "persons:write", "users:read", "users:write"],
            "response_types_supported": [],
            "grant_types_supported": ["password", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "Bearer"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        });
        assert_eq!(answer.body, expected);
        for (endpoint, status) in [("token", 400), ("introspection", 401), ("revocation", 401)] {
            let url = text(&answer.body[format!("{endpoint}_endpoint")]).strip_prefix(ISSUER).unwrap();
            assert_eq!(send(app.post(url).form(&[("x", "y")])).await.status.as_u16(), status, "{url}");
        }
        let url = text(&answer.body["jwks_uri"]).strip_prefix(ISSUER).unwrap();
        assert_eq!(send(app.get(url)).await.status.as_u16(), 200);
        app.stop().await;
    }

    async fn an_issuer_with_a_path_has_its_metadata_before_that_path(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__TOKENS__ISSUER", "https://id.example/tenants/one/")]);
        let answer = send(app.get(METADATA)).await;
        assert_eq!(answer.body["issuer"], "https://id.example/tenants/one/", "{}", answer.body);
        assert_eq!(answer.body["token_endpoint"], "https://id.example/tenants/one/auth/token");
        // Where this stands depends on the configuration, so the document tells of it in words only.
        let elsewhere = app.get(&format!("{METADATA}/tenants/one")).send().await.unwrap();
        assert_eq!(elsewhere.json::<Value>().await.unwrap(), answer.body);
        send(app.get(&format!("{METADATA}/tenants/two"))).await.is(404, "not_found");
        app.stop().await;
    }

    async fn a_common_secret_is_never_published(db: TestDatabase) {
        let app = TestApp::start(db);
        let answer = send(app.get(JWKS)).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        assert_eq!(answer.body, json!({"keys": []}));
        app.stop().await;
    }

    async fn the_published_keys_verify_what_the_service_signs_and_are_public(db: TestDatabase) {
        let (signing, next) = (ed25519("first"), ed25519("second"));
        let keys = [signing.clone(), common_secret(), next.clone()];
        let (app, _directory) = start_with_keys(db, &keys, &[]);
        let answer = send(app.get(JWKS)).await;
        let published: Vec<(&str, &str, &str)> = answer.body["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| (text(&key["kid"]), text(&key["x"]), text(&key["use"])))
            .collect();
        let expected = [("first", text(&signing["x"]), "sig"), ("second", text(&next["x"]), "sig")];
        assert_eq!(published, expected);
        let everything = answer.body.to_string();
        for secret in [&signing["d"], &next["d"], &keys[1]["k"]] {
            assert!(!everything.contains(text(secret)));
        }
        let client = clients::register(&app, "persons:read").await;
        let token = own_token(&app, &client).await.body["access_token"].clone();
        let ring = KeyRing::from_jwk_set(everything.as_bytes()).unwrap();
        let verifier = Verifier::builder(ring).issuer(ISSUER).audience("resource-service").build().unwrap();
        let claims = verifier.verify_at(text(&token), u64::try_from(app.now()).unwrap()).unwrap();
        assert_eq!(claims.sub, client.id);
        app.stop().await;
    }

    async fn pages_elsewhere_may_read_both_and_nobody_may_change_them(db: TestDatabase) {
        let app = TestApp::start_with(db, &[("SIGNET__SERVER__CORS_ORIGINS", "https://app.example")]);
        for path in [METADATA, JWKS] {
            let answer = send(app.get(path).header("origin", "https://app.example")).await;
            assert_eq!(answer.status.as_u16(), 200);
            assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
            assert_eq!(send(app.request(reqwest::Method::HEAD, path)).await.status.as_u16(), 200);
            send(app.post(path)).await.is(405, "method_not_allowed");
        }
        send(app.get("/.well-known/openid-configuration")).await.is(404, "not_found");
        app.stop().await;
    }
}

#[test]
fn an_issuer_that_no_client_could_call_stops_the_start() {
    let load = |issuer: &str| {
        let environment = [
            ("SIGNET__TOKENS__SECRET", SECRET),
            ("SIGNET__REFRESH__SECRET", REFRESH_SECRET),
            ("SIGNET__TOKENS__ISSUER", issuer),
        ];
        Sources {
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..Sources::default()
        }
        .load::<auth_service::Config>()
    };
    for issuer in ["https://id.example", "http://127.0.0.1:8080", "https://id.example/", "https://id.example/a/b"] {
        load(issuer).unwrap();
    }
    for issuer in ["", "signet", "id.example", "urn:signet", "https://", "https://id.example?x=y", "https://a.b/#c"] {
        let refusal = load(issuer).unwrap_err().to_string();
        assert!(refusal.contains("tokens.issuer"), "{issuer}: {refusal}");
    }
}
