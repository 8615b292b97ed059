//! The services of the page that verify tokens in place and follow the feed.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use actix_web::rt::task::spawn_blocking;
use openssl::hash::MessageDigest;
use reqwest::Method;
use serde_json::{Value, json};
use shared_claims::KeyRing;
use tempfile::TempDir;

use crate::{
    page,
    ring::{self, Key, Kind, encoded, mac, message, public_jwk},
    stack::{Credentials, TestStack, get, until},
    tools,
};

#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
}

/// The page's service, as a process of its own.
struct Service {
    process: Process,
    http: reqwest::Client,
    url: String,
    directory: TempDir,
}

/// It ends when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Service {
    /// Starts it, and waits until it listens. `None` if the language is not there.
    async fn start(
        language: Language,
        stack: &TestStack,
        client: &Credentials,
        environment: &[(&str, &str)],
    ) -> Option<Self> {
        let (program, directory, files): (PathBuf, _, _) = match language {
            Language::Python => {
                (tools::python()?.to_owned(), tempfile::tempdir().unwrap(), ["service.py", "signet_tokens.py"])
            }
            Language::Node => {
                let node = tools::node()?;
                (node.program.clone(), tools::scratch(node), ["service.mjs", "signet-tokens.mjs"])
            }
        };
        for file in files {
            page::write(file, directory.path());
        }
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command
            .arg(files[0])
            .current_dir(directory.path())
            .env("SIGNET_ISSUER", &stack.issuer)
            .env("SIGNET_AUTH_URL", &stack.auth_url)
            .env("SIGNET_CLIENT_ID", &client.id)
            .env("SIGNET_CLIENT_SECRET", &client.secret)
            .env("PORT", "0")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        if stack.keys[0].kind == Kind::CommonSecret {
            command.env("SIGNET_KEYS_FILE", stack.keys_file());
        }
        let mut process = Process(command.spawn().unwrap());
        let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
        let line = spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line
        });
        let line = line.await.unwrap();
        let url = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| {
            panic!("it does not start: {}", std::fs::read_to_string(directory.path().join("log")).unwrap())
        });
        Some(Self { process, http: stack.http.clone(), url: url.to_owned(), directory })
    }

    /// Whether it takes a token. There is no third way.
    async fn takes(&self, token: &str) -> bool {
        let (status, challenge, body) = get(&self.http, &self.url, Some(token)).await;
        match status {
            200 => true,
            401 => {
                assert_eq!(challenge, r#"Bearer realm="orders", error="invalid_token""#);
                false
            }
            _ => panic!("{status} {body}, {}", std::fs::read_to_string(self.directory.path().join("log")).unwrap()),
        }
    }

    /// That a token which it takes is refused within a second from now.
    async fn refuses_within_a_second(&self, why: &str, token: &str) {
        let took = until(why, async || !self.takes(token).await).await;
        assert!(took < Duration::from_secs(1), "{why}: {took:?}");
    }

    /// The keys that it has told auth-service of.
    async fn known_keys(&self, stack: &TestStack) -> Value {
        let told: Value = stack.internal(Method::GET, "/internal/keys", None).await.json().await.unwrap();
        let verifiers = told["verifiers"].as_array().unwrap();
        let ours = verifiers.iter().find(|verifier| verifier["id"].as_str().unwrap().starts_with("orders/"));
        ours.map_or(Value::Null, |ours| ours["kids"].clone())
    }
}

/// Tokens, and whether each is to be taken.
fn tokens(stack: &TestStack) -> Vec<(&'static str, String, bool)> {
    let key = &stack.keys[0];
    let (header, claims) = (key.header(), stack.claims());
    let now = claims["iat"].as_u64().unwrap();
    let changed = |value: &Value, changes: Value| {
        let mut value = value.clone();
        for (name, change) in changes.as_object().unwrap() {
            match change {
                Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
                change => value[name] = change.clone(),
            }
        }
        value
    };
    let with_header = |changes| key.sign(&changed(&header, changes), &claims);
    let with_claims = |changes| key.sign(&header, &changed(&claims, changes));
    let good = key.sign(&header, &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let altered = message(&header, &changed(&claims, json!({ "scope": "orders:read orders:write" })));
    let attacker = Key::new(key.kind, key.kid);

    let mut tokens = vec![
        ("a good one", good.clone(), true),
        ("the full media type", with_header(json!({ "typ": "application/at+jwt" })), true),
        ("a media type in capitals", with_header(json!({ "typ": "AT+JWT" })), true),
        ("an ID token", with_header(json!({ "typ": "JWT" })), false),
        ("no type", with_header(json!({ "typ": null })), false),
        ("an unknown key", with_header(json!({ "kid": "zeroth" })), false),
        ("no key", with_header(json!({ "kid": null })), false),
        ("a list of keys", with_header(json!({ "kid": [key.kid] })), false),
        ("a list of types", with_header(json!({ "typ": ["at+jwt"] })), false),
        ("an extension", with_header(json!({ "crit": ["urgent"], "urgent": true })), false),
        ("an extension that some libraries have", with_header(json!({ "crit": ["b64"], "b64": true })), false),
        ("no algorithm", format!("{}.", message(&changed(&header, json!({ "alg": "none" })), &claims)), false),
        ("another algorithm's name", with_header(json!({ "alg": "ES256" })), false),
        ("no signature", format!("{signed}."), false),
        ("other claims", format!("{altered}.{signature}"), false),
        ("somebody else's signature", attacker.sign(&header, &claims), false),
        (
            "a key in the header",
            attacker.sign(&changed(&header, json!({ "jwk": public_jwk(&attacker) })), &claims),
            false,
        ),
        ("another issuer", with_claims(json!({ "iss": "http://elsewhere.example" })), false),
        ("no issuer", with_claims(json!({ "iss": null })), false),
        ("another service's", with_claims(json!({ "aud": ["auth-service", "bills"] })), false),
        ("nobody's", with_claims(json!({ "aud": null })), false),
        ("expired within the leeway", with_claims(json!({ "exp": now - 15 })), true),
        ("expired", with_claims(json!({ "exp": now - 31 })), false),
        ("without end", with_claims(json!({ "exp": null })), false),
        ("not yet, within the leeway", with_claims(json!({ "nbf": now + 15 })), true),
        ("not yet", with_claims(json!({ "nbf": now + 90 })), false),
        ("no subject", with_claims(json!({ "sub": null })), false),
        ("no id", with_claims(json!({ "jti": null })), false),
        ("no date", with_claims(json!({ "iat": null })), false),
        ("a large one", with_claims(json!({ "more": "x".repeat(5000) })), true),
        ("one that is too large", with_claims(json!({ "more": "x".repeat(8000) })), false),
        ("nonsense", "nonsense".to_owned(), false),
        ("letters that no token has", "héader.clàims.signäture".to_owned(), false),
        ("a header that is none", format!("{}.e30.e30", encoded(b"null")), false),
        ("a header without end", format!("{}.e30.e30", encoded("[".repeat(6000).as_bytes())), false),
    ];
    if key.kind == Kind::CommonSecret {
        let header = changed(&header, json!({ "alg": "HS512" }));
        tokens.push(("another hash", mac(MessageDigest::sha512(), &key.octets, &header, &claims), false));
    } else {
        let header = changed(&header, json!({ "alg": "HS256" }));
        let token = mac(MessageDigest::sha256(), &key.octets, &header, &claims);
        tokens.push(("the public key as a secret", token, false));
    }
    tokens
}

async fn verifies_and_follows(language: Language, kind: Kind) {
    let mut stack = TestStack::start(kind);
    let client = stack.client("signet:internal").await;
    let Some(service) = Service::start(language, &stack, &client, &[]).await else { return };

    for (what, token, good) in tokens(&stack) {
        assert_eq!(service.takes(&token).await, good, "{what}");
    }
    let (status, challenge, _) = get(&service.http, &service.url, None).await;
    assert_eq!((status, challenge.as_str()), (401, r#"Bearer realm="orders""#));
    let mut narrow = stack.claims();
    narrow["scope"] = "persons:read".into();
    let narrow = stack.keys[0].sign(&stack.keys[0].header(), &narrow);
    assert_eq!(get(&service.http, &service.url, Some(&narrow)).await.0, 403);

    revocations(&stack, &service).await;
    keys(&mut stack, &service).await;

    // What is known stays known while there is no feed, and what is revoked afterwards is heard of, too.
    let ada = stack.register("ada.again@example.com").await;
    let eve = stack.register("eve.again@example.com").await;
    stack.log_out(&ada.access).await;
    until("a log-out", async || !service.takes(&ada.access).await).await;
    stack.stop().await;
    assert!(!service.takes(&ada.access).await);
    assert!(service.takes(&eve.access).await);
    stack.start_again();
    stack.log_out(&eve.access).await;
    until("a log-out after a break", async || !service.takes(&eve.access).await).await;
    assert!(!service.takes(&ada.access).await);
    drop(service.process);
    stack.stop().await;
}

/// Every kind of revocation, and that it does not hit others.
async fn revocations(stack: &TestStack, service: &Service) {
    let ada = stack.register("ada@example.com").await;
    let eve = stack.register("eve@example.com").await;
    assert!(service.takes(&ada.access).await);
    stack.log_out(&ada.access).await;
    service.refuses_within_a_second("a log-out", &ada.access).await;
    assert!(service.takes(&eve.access).await);

    // A change of roles raises the user's version: the former token is refused, the next one is taken.
    let mut admin = stack.claims();
    admin["aud"] = json!(["user-service"]);
    admin["scope"] = "users:write".into();
    let admin = stack.keys[0].sign(&stack.keys[0].header(), &admin);
    let url = format!("{}/users/{}", stack.issuer, eve.subject);
    let change = stack.http.patch(url).bearer_auth(admin).json(&json!({ "roles": ["user", "editor"] }));
    let response = change.send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    service.refuses_within_a_second("a change of roles", &eve.access).await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", &eve.refresh)];
    let refreshed = stack.grant(None, &form).await;
    assert!(service.takes(refreshed["access_token"].as_str().unwrap()).await);

    let client = stack.client("orders:read").await;
    let of_client = async || {
        let answer = stack.grant(Some(&client), &[("grant_type", "client_credentials")]).await;
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let [one, other] = [of_client().await, of_client().await];
    assert!(service.takes(&one).await);
    let revocation = stack.http.post(format!("{}/auth/revoke", stack.issuer));
    let revocation = revocation.basic_auth(&client.id, Some(&client.secret)).form(&[("token", &one)]);
    assert_eq!(revocation.send().await.unwrap().status(), 200);
    service.refuses_within_a_second("a token given back", &one).await;
    assert!(service.takes(&other).await);

    let mut old = stack.claims();
    let now = old["iat"].as_u64().unwrap();
    old["iat"] = (now - 200).into();
    let old = stack.keys[0].sign(&stack.keys[0].header(), &old);
    assert!(service.takes(&old).await);
    stack.revoke(json!({ "kind": "all", "issued_before": now - 100 })).await;
    service.refuses_within_a_second("everything up to some time", &old).await;
    assert!(service.takes(&other).await);
}

/// New keys are known before they sign, whatever they are, and a leaked one is refused. In the end a new one signs.
async fn keys(stack: &mut TestStack, service: &Service) {
    until("it follows the feed", async || service.known_keys(stack).await == json!(["first"])).await;
    let [second, third, fourth] = [(Kind::KeyPair, "second"), (Kind::EllipticCurve, "third"), (Kind::Rsa, "fourth")]
        .map(|(kind, id)| Key::new(kind, id));
    ring::write(&[&stack.keys[0], &second, &third, &fourth], &stack.keys_file());
    until("auth-service knows the new keys", async || {
        let told: Value = stack.internal(Method::GET, "/internal/keys", None).await.json().await.unwrap();
        told["keys"].as_array().unwrap().len() == 4
    })
    .await;
    // Any news has the service look for keys at once.
    stack.revoke(json!({ "kind": "token", "jti": "some-token", "exp": 1 })).await;
    let all = json!(["first", "second", "third", "fourth"]);
    until("the service knows the new keys", async || service.known_keys(stack).await == all).await;
    for key in [&second, &third, &fourth] {
        assert!(service.takes(&key.sign(&key.header(), &stack.claims())).await, "{:?}", key.kind);
        let other = Key::new(key.kind, key.kid);
        assert!(!service.takes(&other.sign(&other.header(), &stack.claims())).await, "{:?}", key.kind);
    }

    // A file that cannot be read costs no key, nor keeps the service from what is revoked.
    let eve = stack.register("eve.with.her.keys@example.com").await;
    std::fs::write(stack.keys_file(), "{").unwrap();
    stack.revoke(json!({ "kind": "token", "jti": "another-token", "exp": 1 })).await;
    assert!(service.takes(&eve.access).await);
    stack.log_out(&eve.access).await;
    service.refuses_within_a_second("a log-out while the file is damaged", &eve.access).await;

    ring::write(&[&second, &stack.keys[0]], &stack.keys_file());
    stack.keys.insert(0, second);
    until("the new key signs", async || {
        let told: Value = stack.internal(Method::GET, "/internal/keys", None).await.json().await.unwrap();
        told["signing"] == "second"
    })
    .await;
    let [new, former] = [0, 1].map(|place: usize| {
        let key = &stack.keys[place];
        key.sign(&key.header(), &stack.claims())
    });
    assert!(service.takes(&former).await);
    stack.revoke(json!({ "kind": "key", "kid": "first" })).await;
    service.refuses_within_a_second("a leaked key", &former).await;
    assert!(service.takes(&new).await);
}

async fn refuses_when_stale(language: Language) {
    let mut stack = TestStack::start(Kind::CommonSecret);
    let client = stack.client("signet:internal").await;
    let good = stack.keys[0].sign(&stack.keys[0].header(), &stack.claims());
    let environment = [("SIGNET_WHEN_STALE", "refuse"), ("SIGNET_STALE_AFTER_SECONDS", "600")];
    let Some(service) = Service::start(language, &stack, &client, &environment).await else { return };
    assert!(service.takes(&good).await);
    drop(service);
    let environment = [("SIGNET_WHEN_STALE", "refuse"), ("SIGNET_STALE_AFTER_SECONDS", "0")];
    let service = Service::start(language, &stack, &client, &environment).await.unwrap();
    let (status, _, body) = get(&service.http, &service.url, Some(&good)).await;
    assert_eq!(status, 503, "{body}");
    assert!(!service.takes("nonsense").await);
    drop(service.process);
    stack.stop().await;
}

#[actix_web::test]
async fn the_file_that_is_made_of_a_secret_is_a_ring_of_that_secret() {
    let Some(python) = tools::python() else { return };
    let directory = tempfile::tempdir().unwrap();
    page::write("key_file.py", directory.path());
    let secret = "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ";
    let mut command = Command::new(python);
    command.arg(directory.path().join("key_file.py")).env("SIGNET__TOKENS__SECRET", secret);
    let printed = tools::run(&mut command).unwrap();

    let key = &serde_json::from_str::<Value>(&printed).unwrap()["keys"][0];
    assert_eq!(key["k"], encoded(secret.as_bytes()));
    let rings = [KeyRing::from_secret(secret.as_bytes()), KeyRing::from_jwk_set(printed.as_bytes())];
    let [ours, theirs] = rings.map(|ring| ring.unwrap().key_ids().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(ours, theirs);
}

#[actix_web::test]
async fn the_service_in_python_verifies_with_the_common_secret_and_follows_the_feed() {
    verifies_and_follows(Language::Python, Kind::CommonSecret).await;
}

#[actix_web::test]
async fn the_service_in_python_verifies_with_the_published_keys_and_follows_the_feed() {
    verifies_and_follows(Language::Python, Kind::KeyPair).await;
}

#[actix_web::test]
async fn the_service_in_python_can_refuse_tokens_when_the_feed_is_stale() {
    refuses_when_stale(Language::Python).await;
}

#[actix_web::test]
async fn the_service_on_node_verifies_with_the_common_secret_and_follows_the_feed() {
    verifies_and_follows(Language::Node, Kind::CommonSecret).await;
}

#[actix_web::test]
async fn the_service_on_node_verifies_with_the_published_keys_and_follows_the_feed() {
    verifies_and_follows(Language::Node, Kind::KeyPair).await;
}

#[actix_web::test]
async fn the_service_on_node_can_refuse_tokens_when_the_feed_is_stale() {
    refuses_when_stale(Language::Node).await;
}
