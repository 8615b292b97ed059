//! auth-service alone can issue: the others hold public keys, and fetch their service tokens as registered clients.

use std::{fs, process::Output};

use reqwest::Method;
use serde_json::{Value, json};
use shared_claims::{Claims, KeyRing, Signer};

use crate::{
    client::{Credentials, Person, Tokens},
    site::{Service, Site, Stack, beside_others, wait_until},
};

/// The members of a JWK that must not leave auth-service.
const PRIVATE: [&str; 8] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth"];

const PUBLIC: &str = "public.json";

/// Starts everything as `docs/keys.md` tells it.
async fn start(site: Site) -> Stack {
    let mut auth = site.start_auth(0, &[]);
    auth.ready().await;
    fs::write(site.file(PUBLIC), site.signet_succeeds(&["keys", "public", "--file", "ring.json"])).unwrap();
    let (user, resource) =
        (create_client(&site, &auth, "user-service"), create_client(&site, &auth, "resource-service"));
    let public = site.file(PUBLIC);
    let public = public.to_str().unwrap();
    let mut stack = Stack {
        user: site.start_user(0, &environment(public, &user)),
        resource: site.start_resource(0, &environment(public, &resource)),
        auth: vec![auth],
        site,
    };
    stack.ready().await;
    stack
}

fn environment<'a>(public: &'a str, client: &'a Credentials) -> [(&'static str, &'a str); 3] {
    [
        ("SIGNET__TOKENS__JWKS_FILE", public),
        ("SIGNET__SERVICES__CLIENT_ID", &client.client_id),
        ("SIGNET__SERVICES__CLIENT_SECRET", &client.client_secret),
    ]
}

/// As the operator does it: what is printed is what the service is given.
fn create_client(site: &Site, auth: &Service, name: &str) -> Credentials {
    let mut command = site.signet(&["clients", "create", "--name", name, "--scope", "signet:internal"]);
    command.args(["--auth-url", &auth.url]).env("SIGNET__TOKENS__JWKS_FILE", site.ring());
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let out = String::from_utf8(stdout).unwrap();
    let shown = |word: &str| out.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim().to_owned();
    Credentials { client_id: shown("client_id"), client_secret: shown("client_secret") }
}

/// A ring whose key has the name of the real one, and whose private part a thief knows.
fn impostor(site: &Site, algorithm: &str, kid: &str) -> Signer {
    site.signet_succeeds(&["keys", "generate", "--alg", algorithm, "--file", "impostor.json"]);
    let mut ring: Value = serde_json::from_slice(&fs::read(site.file("impostor.json")).unwrap()).unwrap();
    ring["keys"][0]["kid"] = kid.into();
    Signer::new(&KeyRing::from_jwk_set(ring.to_string().as_bytes()).unwrap()).unwrap()
}

async fn check(algorithm: &str) {
    let _beside = beside_others().await;
    let Some(site) = Site::new(algorithm) else { return };
    let stack = start(site).await;
    let (auth, user, resource) = (stack.auth[0].client(), stack.user.client(), stack.resource.client());

    let person = Person::register(&auth, "ada").await;
    let tokens = person.log_in(&auth).await;
    let tokens = Tokens::of(&auth.refresh(&tokens.refresh).await.unwrap().expect(200));
    assert_eq!(tokens.header("alg"), algorithm);
    for (client, path) in stack.everywhere() {
        client.get(path, &tokens.access).await.unwrap().expect(200);
    }

    // What the others hold is what everybody may have, and it signs nothing.
    let public = fs::read_to_string(stack.site.file(PUBLIC)).unwrap();
    let held: Value = serde_json::from_str(&public).unwrap();
    let published = auth.get("/.well-known/jwks.json", "").await.unwrap().expect(200).json();
    assert_eq!(held["keys"].as_array().unwrap().len(), 1);
    for (name, value) in held["keys"][0].as_object().unwrap() {
        assert!(!PRIVATE.contains(&name.as_str()), "{name}");
        assert!(name == "iat" || published["keys"][0][name] == *value, "{name}: {published}");
    }
    assert!(Signer::new(&KeyRing::from_jwk_set(public.as_bytes()).unwrap()).is_err());
    let claims = Claims { ver: Some(1), ..Site::claims(&person.id, "persons:read users:read") };
    let forged = impostor(&stack.site, algorithm, &tokens.kid()).sign(&claims).unwrap();
    for (client, path) in stack.everywhere() {
        client.get(path, &forged).await.unwrap().expect_refusal(401, "token_invalid");
    }

    // user-service tells auth-service of it, and the verifier hears of it.
    let admin = stack.admin().await;
    let (path, change) = (format!("/users/{}", person.id), json!({ "roles": ["editor"] }));
    user.call(Method::PATCH, &path, &admin.access, Some(&change)).await.unwrap().expect(200);
    wait_until("the old token is refused", async || {
        resource.get("/persons", &tokens.access).await.unwrap().is_revoked()
    })
    .await;
    let tokens = Tokens::of(&auth.refresh(&tokens.refresh).await.unwrap().expect(200));
    assert_eq!(tokens.claim("roles"), json!(["editor"]));
    resource.get("/persons", &tokens.access).await.unwrap().expect(200);
    auth.call(Method::POST, "/auth/logout", &tokens.access, None).await.unwrap().expect(204);
    wait_until("the session's token is refused", async || {
        resource.get("/persons", &tokens.access).await.unwrap().is_revoked()
    })
    .await;
}

#[actix_web::test]
async fn with_ed25519_only_auth_service_can_issue_and_all_else_works_as_ever() {
    check("EdDSA").await;
}

#[actix_web::test]
async fn with_p256_only_auth_service_can_issue_and_all_else_works_as_ever() {
    check("ES256").await;
}

#[actix_web::test]
async fn with_rsa_only_auth_service_can_issue_and_all_else_works_as_ever() {
    check("RS256").await;
}
