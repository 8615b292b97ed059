//! What the stack tells when it is asked.

use std::{
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use service_kit::peer::INTERNAL_SCOPE;
use shared_claims::KeyRing;

use super::{Finding, Service, line};
use crate::{
    config,
    connection::{self, AtHand, Connection, is_loopback},
    failure::Failure,
    logins, secrets,
    survey::{self, Ports, TIMEOUT},
};

/// By how much two clocks may differ before it is said, and before tokens are refused for it.
const NOTABLE_SKEW_SECONDS: u64 = 5;
const LEEWAY_SECONDS: u64 = 30;

/// How long a user event may wait in the outbox.
const OUTBOX_PATIENCE_SECONDS: f64 = 10.0;

/// What auth-service can be configured to wait for user-service, and what a log-in takes beside.
const LONGEST_LOG_IN: Duration = Duration::from_secs(70);

/// How long a password may take to hash, and what it should take.
const LONGEST_HASH_SECONDS: f64 = 1.0;
const GOOD_HASH_SECONDS: f64 = 0.5;

/// How old the list of revocations may be: a poll is held for 25 seconds.
const OLD_FEED_SECONDS: u64 = 40;

pub(super) async fn examine(
    ports: &Ports,
    services: &[Service],
    at_hand: Option<&AtHand>,
) -> Result<Vec<Finding>, Failure> {
    let url = &ports.url;
    let mut findings = Vec::new();
    findings.extend(reachability(services));
    findings.extend(clocks(services));
    findings.extend(readiness(services));
    findings.extend(outbox(services));
    let issuer = match connection::told_issuer(url).await {
        Ok(issuer) => issuer,
        Err(cause) => {
            findings.push(Finding::wrong("stack", cause.to_string(), "start it, or name it with --url"));
            return Ok(findings);
        }
    };
    findings.push(issuer_matches(url, &issuer));
    findings.push(encryption(url, &issuer));
    let user_token = match config::operator_token() {
        Some(token) => Some(token),
        None => logins::access_token(url).await?,
    };
    let ring = at_hand.and_then(|here| here.ring.as_ref()).filter(|_| is_loopback(url));
    findings.extend(tokens(ports, &issuer, ring, user_token.as_deref()).await?);
    if let Some(ring) = ring {
        findings.extend(keys(ports, &issuer, ring).await?);
    }
    findings.extend(proxies(url, user_token.as_deref()).await?);
    findings.push(hashing(ports, services, at_hand).await?);
    Ok(findings)
}

fn reachability(services: &[Service]) -> Vec<Finding> {
    let look = |service: &Service| match &service.seen {
        None => {
            let found =
                format!("{}'s own port is not known: name it with {}", service.name, Ports::option(service.name));
            Some(Finding::skipped("service", found))
        }
        Some(Err(problem)) => {
            let change = format!(
                "start it, or name its own port with {}; with `signet up` it follows the stack's",
                Ports::option(service.name)
            );
            Some(Finding::wrong("service", format!("{}: {problem}", service.name), change))
        }
        Some(Ok(_)) => None,
    };
    services.iter().filter_map(look).collect()
}

fn clocks(services: &[Service]) -> Vec<Finding> {
    let skewed: Vec<Finding> = services
        .iter()
        .filter_map(|service| Some((service.name, service.seen()?.clock_ahead_seconds?)))
        .filter(|(_, ahead)| ahead.unsigned_abs() > NOTABLE_SKEW_SECONDS)
        .map(|(name, ahead)| {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            let found = format!("{name}'s clock is {} s {direction} this machine's", ahead.unsigned_abs());
            let change = format!(
                "let a time service set the clocks (chrony, systemd-timesyncd); tokens are refused when they differ by more \
                 than tokens.leeway_seconds, {LEEWAY_SECONDS} at most"
            );
            if ahead.unsigned_abs() > LEEWAY_SECONDS {
                Finding::wrong("clock", found, change)
            } else {
                Finding::warning("clock", found, change)
            }
        })
        .collect();
    match services.iter().filter_map(|service| service.seen()?.clock_ahead_seconds).count() {
        0 => Vec::new(),
        _ if skewed.is_empty() => vec![Finding::ok("clock", "the services' clocks agree with this machine's")],
        _ => skewed,
    }
}

/// What `/readyz` complains of, and how old the feed is.
fn readiness(services: &[Service]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in services {
        let (name, Some(seen)) = (service.name, service.seen()) else { continue };
        let before = findings.len();
        for fault in &seen.faults {
            let found = format!("{name}: {}", fault.message.trim_end_matches('.'));
            findings.push(match fault.field.as_str() {
                "database.schema" => {
                    let change = format!("{}, or run `{name} --migrate` once", line("database.migrate", true));
                    Finding::wrong("migrations", found, change)
                }
                "feed" => {
                    let change = format!(
                        "{} of {name}; its log says why it cannot read the feed there",
                        line("services.auth_url", "the URL of auth-service's own port")
                    );
                    Finding::wrong("feed", found, change)
                }
                "keys" => Finding::wrong("keys", found, line("tokens.jwks_file", "a file that can be taken")),
                "database" => Finding::wrong("database", found, line("database.url", "where its database is")),
                _ => Finding::wrong("readiness", found, "see the service's log"),
            });
        }
        if let Some(age) = seen.feed.as_ref().and_then(|feed| feed.age_seconds).filter(|age| *age > OLD_FEED_SECONDS) {
            let found = format!("{name} has had no news of revocations for {age} s");
            findings.push(Finding::warning(
                "feed",
                found,
                line("services.auth_url", "the URL of auth-service's own port"),
            ));
        }
        if findings.len() == before {
            findings.push(Finding::ok("readiness", format!("{name} is ready")));
        }
    }
    findings
}

fn outbox(services: &[Service]) -> Vec<Finding> {
    let backlog = services.iter().find_map(|service| {
        let metrics = &service.seen()?.metrics;
        Some((metrics.value("signet_outbox_events")?, metrics.value("signet_outbox_oldest_age_seconds")?))
    });
    match backlog {
        None => Vec::new(),
        Some((events, age)) if events > 0.0 && age > OUTBOX_PATIENCE_SECONDS => {
            let found = format!(
                "{events} changes of users wait in user-service's outbox, the oldest for {age:.0} s: until auth-service \
                 hears of them, disabled users keep their sessions"
            );
            let change =
                line("services.auth_url", "the URL of auth-service's own port, in user-service's configuration");
            vec![Finding::wrong("outbox", found, change)]
        }
        Some(_) => vec![Finding::ok("outbox", "nothing waits in user-service's outbox")],
    }
}

fn issuer_matches(url: &Url, issuer: &str) -> Finding {
    let check = "issuer";
    let as_url = Url::parse(issuer).ok();
    let normal = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    if as_url.as_ref().is_some_and(|issuer| normal(issuer) == normal(url)) {
        return Finding::ok(check, format!("the issuer is {issuer}, the URL that clients use"));
    }
    let found = format!("the issuer is {issuer}, and clients that reach the stack at {} refuse that", normal(url));
    let set = format!("{} for every service", line("tokens.issuer", format_args!("\"{}\"", normal(url))));
    match as_url {
        // Who is on the same machine may look behind the proxy.
        Some(issuer) if is_loopback(url) && !is_loopback(&issuer) => Finding::warning(
            check,
            found,
            format!("look at it as clients do, with --url {}; or set {set}", normal(&issuer)),
        ),
        _ => Finding::wrong(check, found, set),
    }
}

fn encryption(url: &Url, issuer: &str) -> Finding {
    let in_the_clear = |url: &Url| url.scheme() == "http" && !is_loopback(url);
    let issuer = Url::parse(issuer).ok();
    match issuer.filter(in_the_clear).or_else(|| Some(url.clone()).filter(in_the_clear)) {
        Some(clear) => {
            let secure = format!("\"https{}\"", clear.as_str().trim_end_matches('/').trim_start_matches("http"));
            let found = format!("clients are to use {clear}, which sends passwords and tokens in the clear");
            let change = format!("put TLS in front of the stack, and set {}", line("tokens.issuer", secure));
            Finding::wrong("tls", found, change)
        }
        None => Finding::ok("tls", "what clients use is encrypted, or does not leave the machine"),
    }
}

/// Shows a token to every service: one that the keys at hand sign or, without those, a user's.
async fn tokens(
    ports: &Ports,
    issuer: &str,
    ring: Option<&KeyRing>,
    user_token: Option<&str>,
) -> Result<Vec<Finding>, Failure> {
    let (token, signed_here) = match (ring, user_token) {
        (Some(ring), _) => (connection::sign(ring, issuer, "persons:read users:read")?, true),
        (None, Some(token)) => (token.to_owned(), false),
        (None, None) => {
            let found = "without keys at hand or a log-in (`signet login`) no token can be shown to the services";
            return Ok(vec![Finding::skipped("tokens", found)]);
        }
    };
    let mut findings = Vec::new();
    for ((name, own), path) in ports.services().into_iter().zip(["auth/me", "users/me", "persons?limit=1"]) {
        let stack = Connection::showing(own.unwrap_or_else(|| ports.url.clone()), &token)?;
        let Ok(answer) = stack.send(stack.request(Method::GET, path)?.timeout(TIMEOUT)).await else { continue };
        let refusal = match stack.succeed(answer).await {
            Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => refusal,
            _ => continue,
        };
        let Some(problem) = refusal.problem else { continue };
        findings.push(refused(name, &problem.code, &problem.detail, issuer, signed_here));
    }
    if findings.is_empty() {
        let whose = if signed_here { "signed with the keys at hand" } else { "of the log-in" };
        findings.push(Finding::ok("tokens", format!("every service takes a token {whose}")));
    }
    Ok(findings)
}

fn refused(name: &str, code: &str, detail: &str, issuer: &str, signed_here: bool) -> Finding {
    let by = if signed_here { "signed with the keys at hand" } else { "that auth-service issued" };
    let found = format!("{name} refuses a token {by}: {} ({code})", detail.trim_end_matches('.'));
    let detail = detail.to_ascii_lowercase();
    if detail.contains("another issuer") {
        return Finding::wrong(
            "issuer",
            found,
            format!("{} of {name}", line("tokens.issuer", format_args!("\"{issuer}\""))),
        );
    }
    if detail.contains("another audience") {
        let change = format!(
            "{} of {name}, and the same name in tokens.audience of auth-service",
            line("tokens.audience", format_args!("\"{name}\""))
        );
        return Finding::wrong("audience", found, change);
    }
    if detail.contains("future") || detail.contains("not valid yet") || code == "token_expired" {
        let change =
            format!("let a time service set the clock of {name} (chrony, systemd-timesyncd), and this machine's");
        return Finding::wrong("clock", found, change);
    }
    if code == "token_revoked" {
        return Finding::warning("tokens", found, "log in again with `signet login`");
    }
    let change = format!(
        "the same {}, or the same tokens.jwks_file, for {name} as for the others; if none takes it, name the data directory \
         of the stack with --data-dir",
        line("tokens.secret", "…")
    );
    Finding::wrong("secrets", found, change)
}

/// Whether everybody who follows the feed has the key that signs.
async fn keys(ports: &Ports, issuer: &str, ring: &KeyRing) -> Result<Vec<Finding>, Failure> {
    #[derive(Deserialize)]
    struct State {
        signing: String,
        verifiers: Vec<Verifier>,
    }
    #[derive(Deserialize)]
    struct Verifier {
        id: String,
        kids: Vec<String>,
    }

    let Some(own) = ports.services()[0].1.clone() else { return Ok(Vec::new()) };
    let auth = Connection::showing(own, &connection::sign(ring, issuer, INTERNAL_SCOPE)?)?;
    let Ok(answer) = auth.send(auth.request(Method::GET, "internal/keys")?.timeout(TIMEOUT)).await else {
        return Ok(Vec::new());
    };
    // What it means that a token is refused has been said.
    let Ok(answer) = auth.succeed(answer).await else { return Ok(Vec::new()) };
    let State { signing, verifiers } = connection::read_json(answer).await?;
    let lacking = verifiers.iter().filter(|verifier| !verifier.kids.contains(&signing));
    Ok(lacking
        .map(|verifier| {
            let found = format!("{} does not know the key {signing}, with which auth-service signs", verifier.id);
            let change =
                format!("{}; `signet keys list` shows who knows which", line("tokens.jwks_file", "the same ring"));
            Finding::wrong("keys", found, change)
        })
        .collect())
}

/// Whether the stack knows where its callers are: the address of our own session, and where we really are.
async fn proxies(url: &Url, user_token: Option<&str>) -> Result<Vec<Finding>, Failure> {
    #[derive(Deserialize)]
    struct Sessions {
        items: Vec<Session>,
    }
    #[derive(Deserialize)]
    struct Session {
        address: Option<IpAddr>,
        current: bool,
    }

    const CHECK: &str = "proxies";
    let Some(token) = user_token else {
        let found = "whether proxies are trusted shows in a session of one's own: run `signet login` first";
        return Ok(vec![Finding::skipped(CHECK, found)]);
    };
    let stack = Connection::showing(url.clone(), token)?;
    let answer = stack.send(stack.request(Method::GET, "auth/sessions")?.timeout(TIMEOUT)).await?;
    let remote = answer.remote_addr();
    let Ok(answer) = stack.succeed(answer).await else {
        return Ok(vec![Finding::skipped(CHECK, "the token of the log-in is refused: run `signet login` again")]);
    };
    let Sessions { items } = connection::read_json(answer).await?;
    let seen = items.into_iter().find(|session| session.current).and_then(|session| session.address);
    let (Some(seen), Some(remote)) = (seen, remote) else {
        return Ok(vec![Finding::skipped(CHECK, "the stack keeps no address of this log-in")]);
    };
    let here = address_towards(remote.ip()).context("this machine's own address is not known")?;
    Ok(vec![judge_address(seen, here, remote.ip())])
}

/// The address of this machine that a connection to another one has. Nothing is sent.
fn address_towards(remote: IpAddr) -> std::io::Result<IpAddr> {
    let any = if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect((remote, 9))?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

/// `seen` is the caller as the stack saw it, `here` is where the caller is, `remote` is whom it talks to.
fn judge_address(seen: IpAddr, here: IpAddr, remote: IpAddr) -> Finding {
    let check = "proxies";
    if seen == here {
        return Finding::ok(check, format!("the stack sees this machine as {seen}, which it is"));
    }
    let found = format!(
        "the stack sees this machine as {seen}, and it is {here}: if {seen} is a proxy in front of the stack, it is not \
         trusted, and everybody has its address"
    );
    let change = format!("{} of every service", line("server.trusted_proxies", format_args!("[\"{seen}\"]")));
    if seen.is_loopback() || seen == remote.to_canonical() {
        Finding::wrong(check, found, change)
    } else if is_private(seen) {
        Finding::warning(check, found, change)
    } else {
        // Behind a router, everybody in the house has the router's address.
        Finding::ok(check, format!("the stack sees this machine as {seen}, its address on the internet"))
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Logs in as nobody, which costs as much as a real log-in, and looks at how long the password took to hash.
async fn hashing(ports: &Ports, services: &[Service], at_hand: Option<&AtHand>) -> Result<Finding, Failure> {
    const SUM: &str = "signet_hashing_duration_seconds_sum";
    const COUNT: &str = "signet_hashing_duration_seconds_count";

    let check = "hashing";
    let stack = Connection::without_token(ports.url.clone(), "nobody is unknown")?;
    let nobody = format!("nobody-{}@doctor.signet.invalid", secrets::readable(8).as_str());
    let body = json!({ "email": nobody, "password": *secrets::readable_password() });
    let began = Instant::now();
    let answer = stack.send(stack.request(Method::POST, "auth/login")?.json(&body).timeout(LONGEST_LOG_IN)).await?;
    let mut seconds = began.elapsed().as_secs_f64();
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        let found = format!("a log-in was answered with 503 after {seconds:.1} s: it cannot be done in time");
        let change = format!(
            "{}, more CPU for user-service, or {}",
            line("passwords.cost", "a lower one"),
            line("services.timeout_ms", "more, in auth-service's configuration")
        );
        return Ok(Finding::wrong(check, found, change));
    }
    if answer.status() != StatusCode::UNAUTHORIZED {
        return Ok(Finding::skipped(check, format!("a log-in as nobody was answered with {}", answer.status())));
    }
    // What user-service has measured leaves out the way there; other log-ins meanwhile count like ours.
    let before = services.iter().find(|service| service.name == "user-service").and_then(Service::seen);
    let own = ports.services()[1].1.clone();
    if let (Some(before), Some(own)) = (before, own)
        && let Ok(after) = survey::look(&own).await
    {
        let grown = |name| Some(after.metrics.value(name)? - before.metrics.value(name).unwrap_or_default());
        if let (Some(sum), Some(count)) = (grown(SUM), grown(COUNT))
            && count >= 1.0
        {
            seconds = sum / count;
        }
    }
    Ok(judge_hash(seconds, at_hand.map(|here| here.configuration.passwords.cost)))
}

fn judge_hash(seconds: f64, cost: Option<u32>) -> Finding {
    let check = "hashing";
    if seconds <= LONGEST_HASH_SECONDS {
        return Finding::ok(check, format!("a password takes {:.0} ms to hash", seconds * 1_000.0));
    }
    // Each step of the cost doubles the work.
    let steps = (seconds / GOOD_HASH_SECONDS).log2().ceil().clamp(1.0, 12.0);
    let found = format!("a password takes {seconds:.1} s to hash on the CPU that user-service has");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 1 to 12")]
    let steps = steps as u32;
    let lower = match cost {
        Some(cost) => {
            line("passwords.cost", format_args!("{} (it is {cost} here)", cost.saturating_sub(steps).max(10)))
        }
        None => line("passwords.cost", format_args!("{steps} lower than it is")),
    };
    Finding::wrong(check, found, format!("{lower}; or give user-service more CPU"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;

    #[test]
    fn an_issuer_must_be_the_url_that_clients_use() {
        let level = |url: &str, issuer: &str| issuer_matches(&Url::parse(url).unwrap(), issuer).level;
        assert_eq!(level("https://id.example/", "https://id.example"), Level::Ok);
        assert_eq!(level("https://id.example/", "https://other.example"), Level::Wrong);
        assert_eq!(level("http://127.0.0.1:8080/", "http://127.0.0.1:9090"), Level::Wrong);
        assert_eq!(level("http://127.0.0.1:8080/", "https://id.example"), Level::Warning);
        assert_eq!(level("https://id.example/", "id.example"), Level::Wrong);
    }

    #[test]
    fn only_this_machine_may_be_called_in_the_clear() {
        let level = |url: &str, issuer: &str| encryption(&Url::parse(url).unwrap(), issuer).level;
        assert_eq!(level("http://127.0.0.1:8080", "http://127.0.0.1:8080"), Level::Ok);
        assert_eq!(level("https://id.example", "https://id.example"), Level::Ok);
        assert_eq!(level("http://127.0.0.1:8080", "http://id.example"), Level::Wrong);
        assert_eq!(level("http://10.0.0.1", "https://id.example"), Level::Wrong);
        let change = encryption(&Url::parse("http://id.example:80/").unwrap(), "").change.unwrap();
        assert!(change.contains("tokens.issuer = \"https://id.example\""), "{change}");
    }

    #[test]
    fn a_proxy_s_address_in_the_place_of_the_callers_is_found() {
        let level = |seen: &str, here: &str, remote: &str| {
            judge_address(seen.parse().unwrap(), here.parse().unwrap(), remote.parse().unwrap()).level
        };
        assert_eq!(level("127.0.0.1", "127.0.0.1", "127.0.0.1"), Level::Ok);
        assert_eq!(level("127.0.0.9", "127.0.0.1", "127.0.0.1"), Level::Wrong);
        assert_eq!(level("127.0.0.1", "192.0.2.7", "198.51.100.1"), Level::Wrong);
        assert_eq!(level("198.51.100.1", "192.0.2.7", "198.51.100.1"), Level::Wrong);
        assert_eq!(level("10.1.2.3", "192.168.0.7", "198.51.100.1"), Level::Warning);
        assert_eq!(level("203.0.113.5", "192.168.0.7", "198.51.100.1"), Level::Ok);
    }

    #[test]
    fn a_hash_that_takes_long_names_the_cost_that_would_not() {
        assert_eq!(judge_hash(0.3, Some(12)).level, Level::Ok);
        let change = |seconds, cost| judge_hash(seconds, cost).change.unwrap();
        assert!(change(3.9, Some(16)).starts_with("passwords.cost = 13 "), "{}", change(3.9, Some(16)));
        assert!(change(1.1, None).starts_with("passwords.cost = 2 lower"), "{}", change(1.1, None));
        assert!(change(60.0, Some(12)).starts_with("passwords.cost = 10 "));
    }
}
