//! `signet keys` and `signet clients` as a stranger meets them: what they do, and what they say when they cannot.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tokio::sync::RwLockReadGuard;

use crate::{
    client::{Answer, Client},
    site::{Service, Site, beside_others, wait_until},
};

struct Done {
    code: i32,
    out: String,
    complaint: String,
}

impl Done {
    #[track_caller]
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), complaint: text(output.stderr) }
    }

    /// That it failed with one line, which holds all of these.
    #[track_caller]
    fn expect_complaint(&self, fragments: &[&str]) {
        let Self { code, out, complaint } = self;
        assert_eq!(*code, 1, "{out}{complaint}");
        assert!(complaint.starts_with("signet: ") && complaint.lines().count() == 1, "{complaint}");
        for fragment in fragments {
            assert!(complaint.contains(fragment), "no {fragment:?} in: {complaint}");
        }
    }
}

#[track_caller]
fn run(site: &Site, arguments: &[&str]) -> Done {
    Done::of(site.signet(arguments).output().unwrap())
}

type Beside = RwLockReadGuard<'static, ()>;

/// One replica of auth-service, which is all that these commands talk to, and which goes before its site does.
async fn start() -> Option<(Beside, Site, Service)> {
    let beside = beside_others().await;
    let site = Site::new("HS256")?;
    let mut auth = site.start_auth(0, &[]);
    auth.ready().await;
    Some((beside, site, auth))
}

/// Follows the feed as a verifier with these keys does.
async fn poll_as(verifier: &str, kids: &str, client: &Client, site: &Site) -> Answer {
    let path = format!("/internal/revocations?verifier={verifier}&kids={kids}");
    client.get(&path, &site.service_token()).await.unwrap().expect(200)
}

fn kids(site: &Site) -> Vec<String> {
    site.keys().key_ids().map(str::to_owned).collect()
}

#[actix_web::test]
async fn a_file_that_is_no_ring_is_named_and_so_is_what_to_do() {
    let Some(site) = Site::new("HS256") else { return };
    fs::write(site.file("damaged.json"), r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"a","k":"half-of-a-secr"#)
        .unwrap();
    fs::write(site.file("empty.json"), r#"{"keys":[]}"#).unwrap();
    for command in [&["list"][..], &["public"], &["rotate"], &["retire", "some-key"], &["revoke", "some-key"]] {
        let with = |file: &[&'static str]| {
            let mut arguments = vec!["keys"];
            arguments.extend(command);
            arguments.extend(file);
            run(&site, &arguments)
        };
        with(&[]).expect_complaint(&["there is no key ring at data/keys.json", "--file", "--data-dir"]);
        with(&["--file", "nothing.json"]).expect_complaint(&["nothing.json cannot be read", "No such file"]);
        let damaged = with(&["--file", "damaged.json"]);
        damaged.expect_complaint(&["damaged.json is not a key ring"]);
        assert!(!damaged.complaint.contains("half-of"), "{}", damaged.complaint);
        with(&["--file", "empty.json"]).expect_complaint(&["empty.json is not a key ring", "no keys"]);
    }
    assert!(fs::read_to_string(site.file("damaged.json")).unwrap().ends_with("half-of-a-secr"), "it is left alone");

    let before = fs::read(site.ring()).unwrap();
    run(&site, &["keys", "generate", "--file", "ring.json"])
        .expect_complaint(&["ring.json is there already", "rotate"]);
    run(&site, &["keys", "public", "--file", "ring.json"]).expect_complaint(&["no public parts", "--alg EdDSA"]);
    assert_eq!(fs::read(site.ring()).unwrap(), before);
}

#[actix_web::test]
async fn an_address_that_is_not_auth_service_s_own_port_is_called_so() {
    let Some((_beside, site, auth)) = start().await else { return };
    let silent = "http://127.0.0.1:1";
    let elsewhere = format!("{}/auth", auth.url);
    let rotate =
        |url: &str| run(&site, &["keys", "rotate", "--file", "ring.json", "--timeout", "1", "--auth-url", url]);
    let first = site.signing_kid();
    rotate(silent).expect_complaint(&[
        "nothing answers at http://127.0.0.1:1/",
        "--auth-url",
        "again goes on from here",
    ]);
    rotate(&elsewhere).expect_complaint(&["auth-service's own port", &first, "still signs"]);
    assert_eq!(site.signing_kid(), first);
    run(&site, &["clients", "list", "--data-dir", ".", "--auth-url", silent]).expect_complaint(&["there", "keys.json"]);
    fs::copy(site.ring(), site.file("keys.json")).unwrap();
    let list = |url: &str| run(&site, &["clients", "list", "--data-dir", ".", "--auth-url", url]);
    list(silent).expect_complaint(&["nothing answers at http://127.0.0.1:1/", "SIGNET_AUTH_URL"]);
    list(&elsewhere).expect_complaint(&["auth-service's own port"]);
    let done = run(&site, &["keys", "list", "--file", "ring.json", "--auth-url", silent]);
    assert_eq!(done.code, 0, "{}", done.complaint);
    assert!(done.out.contains(&first) && done.out.contains("nothing answers at"), "{}", done.out);
    for url in ["127.0.0.1:8081", "nonsense", "ftp://127.0.0.1"] {
        let done = run(&site, &["keys", "list", "--file", "ring.json", "--auth-url", url]);
        assert_eq!(done.code, 2);
        assert!(done.complaint.contains("it must be a URL such as"), "{}", done.complaint);
    }
}

#[actix_web::test]
async fn a_ring_that_auth_service_does_not_use_changes_nothing_there() {
    let Some((_beside, site, auth)) = start().await else { return };
    site.signet_succeeds(&["keys", "generate", "--file", "other.json"]);
    let used = site.signing_kid();
    let hint = "is it the one that it uses?";
    let with = |command: &[&str]| {
        let mut arguments = vec!["keys"];
        arguments.extend(command);
        arguments.extend(["--file", "other.json", "--auth-url", &auth.url]);
        run(&site, &arguments)
    };
    with(&["rotate", "--timeout", "1"]).expect_complaint(&["unknown key", hint]);
    with(&["revoke", &used]).expect_complaint(&["could not be told", hint, "run the command again"]);
    let done = with(&["list"]);
    assert!(done.out.contains(hint), "{}", done.out);
}

#[actix_web::test]
async fn a_key_is_retired_when_it_signs_no_more_and_its_last_token_has_expired() {
    let Some((_beside, site, auth)) = start().await else { return };
    let client = auth.client();
    let first = site.signing_kid();
    let retire = |kid: &str| run(&site, &["keys", "retire", kid, "--file", "ring.json", "--auth-url", &auth.url]);
    retire("2020-01-01-nobody").expect_complaint(&["there is no key 2020-01-01-nobody", "signet keys list"]);
    retire(&first).expect_complaint(&[&first, "signs", "signet keys rotate"]);

    let out = site.signet_keys(&["rotate"]).await;
    let second = site.signing_kid();
    assert!(out.contains(&format!("{second} signs")) && out.contains(&format!("signet keys retire {first}")), "{out}");
    retire(&first).expect_complaint(&["may live until", "--wait", "signet keys revoke"]);
    assert_eq!(kids(&site), [second.as_str(), &first]);

    // As if that time were over: for auth-service, which has not read the file for that long, it still signs.
    let mut ring: Value = serde_json::from_slice(&fs::read(site.ring()).unwrap()).unwrap();
    ring["keys"][1]["exp"] = 1.into();
    fs::write(site.ring(), ring.to_string()).unwrap();
    poll_as("slow/1", &format!("{first},{second}"), &client, &site).await;
    wait_until("the verifier is in the registry", async || {
        let keys = client.get("/internal/keys", &site.service_token()).await.unwrap().expect(200);
        keys.text.contains("slow/1")
    })
    .await;
    retire(&first).expect_complaint(&["still in use by", "slow/1", "bring them the file"]);
    poll_as("slow/1", &format!("{second},{first}"), &client, &site).await;
    wait_until("the key can be retired", async || retire(&first).code == 0).await;
    assert_eq!(kids(&site), [second.as_str()]);
    assert!(!site.signet_keys(&["list"]).await.contains(&first));
}

#[actix_web::test]
async fn a_rotation_names_the_verifier_that_lacks_the_key_and_goes_on_when_it_has_it() {
    let Some((_beside, site, auth)) = start().await else { return };
    let client = auth.client();
    let first = site.signing_kid();
    poll_as("ghost/1", &first, &client, &site).await;
    let rotate = ["keys", "rotate", "--file", "ring.json", "--auth-url", &auth.url];
    let done = run(&site, &[&rotate[..], &["--timeout", "2"]].concat());
    let [ref signing, ref second] = kids(&site)[..] else { panic!("{}", done.complaint) };
    assert_eq!(*signing, first);
    done.expect_complaint(&["do not know", second, "ghost/1", &format!("{first} still signs"), "goes on from here"]);
    assert!(!done.complaint.contains("auth-service/"), "it knows the key: {}", done.complaint);
    assert!(done.out.contains(&format!("added {second}")), "{}", done.out);
    let list = site.signet_keys(&["list"]).await;
    assert!(list.contains("verifies, to sign next; known to 1 of 2 verifiers"), "{list}");

    let mut again = site.signet(&rotate).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(again.stdout.take().unwrap());
    let mut line = String::new();
    // It has the file when it says this.
    out.read_line(&mut line).unwrap();
    assert!(line.contains(&format!("going on with {second}")), "{line}");
    run(&site, &["keys", "retire", second, "--file", "ring.json", "--auth-url", &auth.url]).expect_complaint(&[
        "another `signet keys`",
        "ring.json",
        "wait for it to end",
    ]);
    poll_as("ghost/1", &format!("{first},{second}"), &client, &site).await;
    let done = Done::of(again.wait_with_output().unwrap());
    assert_eq!(done.code, 0, "{}", done.complaint);
    assert_eq!(kids(&site), [second.as_str(), &first]);
}

#[actix_web::test]
async fn a_file_that_is_brought_to_the_services_by_hand_is_changed_in_two_steps() {
    let Some((_beside, site, auth)) = start().await else { return };
    let mine = site.file("mine.json");
    fs::copy(site.ring(), &mine).unwrap();
    let first = site.signing_kid();
    let rotate = |more: &[&str]| {
        let all = [&["keys", "rotate", "--file", "mine.json", "--auth-url", &auth.url][..], more].concat();
        run(&site, &all)
    };
    let done = rotate(&["--no-wait", "--alg", "EdDSA"]);
    assert_eq!(done.code, 0, "{}", done.complaint);
    assert!(done.out.contains("Bring the file to every service"), "{}", done.out);
    rotate(&["--timeout", "1"]).expect_complaint(&["do not know", "auth-service/"]);
    // Brought.
    fs::copy(&mine, site.ring()).unwrap();
    assert_eq!(rotate(&[]).code, 0);
    fs::copy(&mine, site.ring()).unwrap();
    let second = site.signing_kid();
    assert_ne!(second, first);
    let client = auth.client();
    wait_until("auth-service signs with it", async || {
        let keys = client.get("/internal/keys", &site.service_token()).await.unwrap().expect(200).json();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
        keys["signing"] == *second
    })
    .await;
    let public = client.get("/.well-known/jwks.json", "").await.unwrap();
    assert!(public.text.contains(&second) && !public.text.contains(&first), "{public:?}");
}

#[actix_web::test]
async fn a_client_s_secret_is_shown_once_and_its_token_ends_with_it() {
    let Some((_beside, site, auth)) = start().await else { return };
    fs::copy(site.ring(), site.file("keys.json")).unwrap();
    let clients = |arguments: &[&str]| {
        let all = [&["clients"][..], arguments, &["--data-dir", ".", "--auth-url", &auth.url]].concat();
        run(&site, &all)
    };
    clients(&["create", "--name", "", "--scope", "persons:read"]).expect_complaint(&["name", "must not be empty"]);
    clients(&["create", "--name", "reports", "--scope", "a\"b"]).expect_complaint(&["scope", "with spaces between"]);
    let done = clients(&["create", "--name", "reports", "--scope", "persons:read", "--scope", "orders:read"]);
    assert_eq!((done.code, done.complaint.as_str()), (0, ""));
    let shown = |word: &str| {
        let line = done.out.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("{}", done.out));
        line.trim().to_owned()
    };
    let (id, secret) = (shown("client_id"), shown("client_secret"));
    assert_eq!(shown("scope"), "orders:read persons:read");
    let listed = clients(&["list"]);
    assert!(listed.out.contains(&id) && listed.out.contains("reports"), "{}", listed.out);
    assert!(!listed.out.contains(&secret));

    let client = auth.client();
    let form = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", &secret)];
    let ask = || client.send(client.request(reqwest::Method::POST, "/auth/token").form(&form));
    let token = ask().await.unwrap().expect(200).json()["access_token"].as_str().unwrap().to_owned();
    let me = client.get("/auth/me", &token).await.unwrap().expect(200).json();
    assert_eq!((&me["sub"], &me["scope"]), (&json!(id), &json!("orders:read persons:read")));

    let done = clients(&["delete", &id]);
    assert_eq!(done.code, 0, "{}", done.complaint);
    client.get("/auth/me", &token).await.unwrap().expect_refusal(401, "token_revoked");
    ask().await.unwrap().expect_refusal(401, "invalid_client");
    clients(&["delete", &id]).expect_complaint(&[&format!("there is no client {id}"), "signet clients list"]);
    assert!(!clients(&["list"]).out.contains(&id));
}
