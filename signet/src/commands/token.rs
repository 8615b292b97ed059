//! `signet token`: what an access token says, who would refuse it and why; and tokens for tests.

use std::{
    fmt,
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, Subcommand, value_parser};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::{Clock, peer::INTERNAL_SCOPE};
use shared_claims::{Claims, ErrorKind, KeyRing, Signer, Verifier};

use super::keys::rfc3339;
use crate::{
    cli::Globals,
    config::{self, SERVICES},
    connection::{self, AtHand, Connection, Target},
    failure::Failure,
    output,
    ring_file::RingFile,
    survey::TIMEOUT,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say in words what a token is, who would refuse it, and why; exits with 1 if somebody would
    #[command(after_help = "The token is sent to the stack at --url, as any client would.")]
    Inspect(Inspect),
    /// Sign a token with the ring at hand, for tests: whoever holds the ring can make any
    Mint(Mint),
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The token, or - for standard input, where other people's `ps` does not show it
    #[arg(default_value = "-")]
    token: String,
    /// Another service that it is to be held against
    #[arg(long = "audience", value_name = "NAME")]
    audiences: Vec<String>,
    /// Ask no stack: judge by the keys at hand alone
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Mint {
    /// Whom it is about (`sub`): a user's id
    #[arg(long, value_name = "ID")]
    subject: String,
    /// A scope, such as persons:read; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A role; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A service that it is for (`aud`) [default: the three services]
    #[arg(long = "audience", value_name = "NAME")]
    audiences: Vec<String>,
    /// Make it a client's own token, with no user behind it
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// The user's authorization version (`ver`)
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Seconds that it lives
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = value_parser!(u64).range(1..=86_400))]
    ttl: u64,
    /// Who issues it [default: `tokens.issuer` of the configuration, or what the stack at --url says]
    #[arg(long)]
    issuer: Option<String>,
    /// The JWK Set file [default: the keys of the configuration, or keys.json in the data directory]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(globals: &Globals, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Inspect(options) => inspect(globals, &options),
        Command::Mint(options) => mint(globals, &options),
    }
}

fn mint(globals: &Globals, options: &Mint) -> Result<ExitCode, Failure> {
    let (configuration, ring) = if let Some(path) = &options.file {
        let ring = RingFile::read(path).and_then(|file| file.ring()).map_err(anyhow::Error::new)?;
        (config::sources(globals, None).load()?, ring)
    } else {
        let AtHand { configuration, ring } = AtHand::find(globals)?;
        let missing = "there are no keys at hand: name a ring with --file, or the data directory of the stack with \
                       --data-dir";
        (configuration, ring.ok_or_else(|| anyhow!(missing))?)
    };
    let issuer = match &options.issuer {
        Some(issuer) => issuer.clone(),
        None => connection::converse(connection::issuer(&configuration, &options.target.url))
            .map_err(|cause| anyhow!("who issues it is not known: name --issuer ({cause})"))?,
    };
    let signer = Signer::new(&ring).context("the ring cannot sign")?;
    let services = || SERVICES.map(str::to_owned).to_vec();
    let now = Clock::system().now().as_seconds();
    let claims = Claims {
        iss: issuer,
        sub: options.subject.clone(),
        aud: if options.audiences.is_empty() { services() } else { options.audiences.clone() },
        iat: now,
        exp: now + options.ttl,
        jti: uuid::Uuid::now_v7().to_string(),
        scope: options.scopes.join(" "),
        roles: options.roles.clone(),
        ver: options.version,
        client_id: options.client.clone(),
        ..Claims::default()
    };
    output::print(signer.sign(&claims).context("the token cannot be signed")?);
    Ok(ExitCode::SUCCESS)
}

/// What came out of looking at a token.
#[derive(Serialize)]
struct Inspection {
    header: Value,
    claims: Value,
    verdicts: Vec<Verdict>,
    /// What could not be found out, and why.
    unknown: Vec<String>,
    #[serde(skip)]
    now: u64,
}

/// What somebody thinks of a token.
#[derive(Serialize)]
struct Verdict {
    /// Who: a service, or the keys at hand.
    by: String,
    taken: bool,
    /// The stable code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Why, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Verdict {
    fn taken(by: &str) -> Self {
        Self { by: by.to_owned(), taken: true, code: None, why: None }
    }

    fn refused(by: &str, code: &str, why: String) -> Self {
        Self { by: by.to_owned(), taken: false, code: Some(code.to_owned()), why: Some(why) }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, members) in [("header", &self.header), ("claims", &self.claims)] {
            writeln!(f, "{part}")?;
            for (name, value) in members.as_object().into_iter().flatten() {
                let text = match (name.as_str(), value) {
                    ("iat" | "exp" | "nbf" | "auth_time", Value::Number(time)) => self.time(time.as_u64().unwrap_or(0)),
                    (_, Value::String(text)) => printable(text),
                    (_, Value::Array(items)) => {
                        let items = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), printable));
                        items.collect::<Vec<_>>().join(" ")
                    }
                    (_, other) => other.to_string(),
                };
                writeln!(f, "  {:<10} {text}", printable(name))?;
            }
        }
        writeln!(f)?;
        for Verdict { by, taken, code, why } in &self.verdicts {
            match (taken, code, why) {
                (true, _, _) => writeln!(f, "{by:<18} takes it")?,
                (false, Some(code), Some(why)) => writeln!(f, "{by:<18} refuses it ({code}): {why}")?,
                (false, ..) => writeln!(f, "{by:<18} refuses it")?,
            }
        }
        for unknown in &self.unknown {
            writeln!(f, "{unknown}")?;
        }
        let refusing = self.verdicts.iter().filter(|verdict| !verdict.taken).count();
        match (refusing, self.verdicts.len()) {
            (0, 0) => write!(f, "Nobody could be asked about it."),
            (0, _) => write!(f, "It is good."),
            (some, all) if some == all => write!(f, "It is refused everywhere."),
            (some, all) => write!(f, "It is refused by {some} of {all}."),
        }
    }
}

/// A token is by whomever: what it says must not move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

impl Inspection {
    fn time(&self, time: u64) -> String {
        format!("{} ({})", rfc3339(time), relative(time, self.now))
    }
}

fn relative(time: u64, now: u64) -> String {
    let spoken = |seconds: u64| match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    if time > now { format!("in {}", spoken(time - now)) } else { format!("{} ago", spoken(now - time)) }
}

fn inspect(globals: &Globals, options: &Inspect) -> Result<ExitCode, Failure> {
    let token = if options.token == "-" { from_standard_input()? } else { options.token.trim().to_owned() };
    let now = Clock::system().now().as_seconds();
    let (header, claims) = decode(&token).map_err(|what| {
        anyhow!("this is no access token: {what}; a refresh token is for auth-service alone and says nothing")
    })?;
    let mut inspection = Inspection { header, claims, verdicts: Vec::new(), unknown: Vec::new(), now };
    // Whoever has keys in a state that cannot be used may still look at a token.
    let at_hand = AtHand::find(globals);
    if let Err(cause) = &at_hand {
        inspection.unknown.push(format!("The keys at hand cannot be used: {cause}."));
    }
    let at_hand = at_hand.ok();
    let told = connection::converse(async {
        let told =
            if options.offline { Ok(None) } else { connection::told_issuer(&options.target.url).await.map(Some) };
        if let Ok(Some(_)) = &told {
            ask(&mut inspection, &token, options, at_hand.as_ref()).await?;
        }
        Ok::<_, Failure>(told)
    })?;
    let reached = matches!(&told, Ok(Some(_)));
    let told = told.unwrap_or_else(|cause| {
        inspection.unknown.push(format!("The stack was not asked, so it is not known whether it is revoked: {cause}."));
        None
    });
    judge_here(&mut inspection, &token, options, at_hand.as_ref(), told, reached);
    let good = inspection.verdicts.iter().all(|verdict| verdict.taken);
    globals.output.report(&inspection);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn from_standard_input() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        output::print("The token, then Ctrl-D:");
    }
    let mut text = String::new();
    // One byte more than any token has, so that what is too long is called so.
    let limit = shared_claims::MAX_TOKEN_BYTES as u64 + 64;
    io::stdin().lock().take(limit).read_to_string(&mut text).context("no token could be read from standard input")?;
    Ok(text.trim().to_owned())
}

/// What stands in a token, whoever wrote it.
fn decode(token: &str) -> Result<(Value, Value), &'static str> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, _] = parts[..] else { return Err("it does not have three parts with dots between them") };
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
    };
    let header = object(header).ok_or("its header is not JSON in base64url")?;
    let claims = object(payload).ok_or("its payload is not JSON in base64url")?;
    Ok((header, claims))
}

/// Verifies with the keys at hand; for every service that could not be asked.
fn judge_here(
    inspection: &mut Inspection,
    token: &str,
    options: &Inspect,
    at_hand: Option<&AtHand>,
    told: Option<String>,
    reached: bool,
) {
    let Some((configuration, ring)) = at_hand.and_then(|here| Some((&here.configuration, here.ring.as_ref()?))) else {
        inspection.unknown.push(
            "Its signature was not checked here, for there are no keys at hand (--data-dir, or --config).".to_owned(),
        );
        return;
    };
    let claimed = inspection.claims["iss"].as_str().unwrap_or_default().to_owned();
    let issuer = Some(configuration.tokens.issuer.clone()).filter(|issuer| !issuer.is_empty()).or(told);
    if issuer.is_none() {
        inspection.unknown.push(format!("Whether {} is the right issuer is not known here.", printable(&claimed)));
    }
    let issuer = issuer.unwrap_or(claimed);
    let asked: &[&str] = if reached { &SERVICES } else { &[] };
    let services = SERVICES.iter().copied().filter(|name| !asked.contains(name));
    let names: Vec<&str> = services.chain(options.audiences.iter().map(String::as_str)).collect();
    for name in names {
        let verifier = Verifier::builder(ring.clone()).issuer(&issuer).audience(name).build();
        // Neither the issuer nor the audience is empty, and the leeway is the default.
        let Ok(verifier) = verifier else { continue };
        let verdict = match verifier.verify_at(token, inspection.now) {
            Ok(_) => Verdict::taken(name),
            Err(error) => {
                let why = explain(error.kind(), inspection, name, &issuer, ring);
                Verdict::refused(name, error.code(), why.unwrap_or_else(|| error.reason().to_owned()))
            }
        };
        inspection.verdicts.push(verdict);
    }
}

/// A refusal in words, with what the token says.
fn explain(kind: ErrorKind, inspection: &Inspection, name: &str, issuer: &str, ring: &KeyRing) -> Option<String> {
    let Inspection { header, claims, now, .. } = inspection;
    let text = |value: &Value| value.as_str().map_or_else(|| "none".to_owned(), printable);
    let time = |claim: &str| claims[claim].as_u64().unwrap_or_default();
    let known: Vec<&str> = ring.keys_info().map(|key| key.kid).collect();
    Some(match kind {
        ErrorKind::UnknownKey => format!(
            "its key (kid {}) is not in the ring, which has {}: it was signed elsewhere, or the key was retired or revoked",
            text(&header["kid"]),
            known.join(", ")
        ),
        ErrorKind::AlgorithmMismatch => format!(
            "its alg is {}, and that is not what its key is for: it is a forgery, or its signer has another key of this id",
            text(&header["alg"])
        ),
        ErrorKind::Signature => {
            "its signature does not match: it was changed on the way, or signed with another secret".to_owned()
        }
        ErrorKind::Type => {
            format!(
                "its typ is {}, and not at+jwt: it is another kind of token, such as an ID token",
                text(&header["typ"])
            )
        }
        ErrorKind::Issuer => format!(
            "it is from {}, and {issuer} is expected: tokens.issuer must be the same for every service",
            text(&claims["iss"])
        ),
        ErrorKind::Audience => {
            format!("it is not for {name}: add \"{name}\" to tokens.audience of auth-service, then refresh")
        }
        ErrorKind::Expired => format!("it expired {}: refresh, or log in again", relative(time("exp"), *now)),
        ErrorKind::NotYetValid => format!(
            "its time begins {}: the clocks of its issuer and of this machine differ",
            relative(time("iat").max(time("nbf")), *now)
        ),
        _ => return None,
    })
}

/// Shows the token to the services of a stack.
async fn ask(
    inspection: &mut Inspection,
    token: &str,
    options: &Inspect,
    at_hand: Option<&AtHand>,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Introspection {
        active: bool,
    }

    let url = &options.target.url;
    for (name, path) in SERVICES.iter().zip(["auth/verify", "users/me", "persons?limit=1"]) {
        let shown = Connection::showing(url.clone(), token)?;
        let answer = shown.send(shown.request(Method::GET, path)?.timeout(TIMEOUT)).await?;
        let verdict = match shown.succeed(answer).await {
            Err(refusal) if matches!(refusal.status, StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE) => {
                match refusal.problem {
                    Some(problem) => {
                        Verdict::refused(name, &problem.code, in_words(&problem.code, &problem.detail, inspection))
                    }
                    None => Err(refusal)?,
                }
            }
            // What it is good for is another matter.
            _ => Verdict::taken(name),
        };
        inspection.verdicts.push(verdict);
    }
    // auth-service's database knows at once what the others hear of in a moment.
    let Some(ring) = at_hand.and_then(|here| here.ring.as_ref()) else { return Ok(()) };
    let issuer = match at_hand {
        Some(here) => connection::issuer(&here.configuration, url).await?,
        None => return Ok(()),
    };
    let own = Connection::showing(url.clone(), &connection::sign(ring, &issuer, INTERNAL_SCOPE)?)?;
    let request = own.request(Method::POST, "auth/introspect")?.form(&[("token", token)]).timeout(TIMEOUT);
    let answer = own.send(request).await?;
    if answer.status().is_success() {
        let Introspection { active } = connection::read_json(answer).await?;
        inspection.verdicts.push(if active {
            Verdict::taken("introspection")
        } else {
            let why = "auth-service calls it inactive: it has expired, was revoked, or was never one of its own";
            Verdict::refused("introspection", "inactive", why.to_owned())
        });
    }
    Ok(())
}

/// What a service said, with what it means.
fn in_words(code: &str, detail: &str, inspection: &Inspection) -> String {
    let Inspection { header, claims, now, .. } = inspection;
    let text = |value: &Value| value.as_str().map_or_else(|| "none".to_owned(), printable);
    let detail = detail.trim_end_matches('.');
    match code {
        "token_expired" => {
            let expired = relative(claims["exp"].as_u64().unwrap_or_default(), *now);
            format!("{detail}, {expired} by this machine's clock: refresh, or log in again")
        }
        "token_revoked" => format!(
            "{detail} before its time: its session has ended, or its user's password, roles or account have changed; \
             log in again"
        ),
        "dependency_unavailable" => format!("{detail}: it cannot hear of revocations, see `signet doctor`"),
        _ if detail.contains("key") => format!(
            "{detail} (kid {}): it was signed elsewhere, or with a key that was retired or revoked",
            text(&header["kid"])
        ),
        _ if detail.contains("signature") => {
            format!("{detail}: it was changed on the way, or signed with another secret")
        }
        _ if detail.contains("issuer") => {
            format!("{detail}, {}: tokens.issuer must be the same for every service", text(&claims["iss"]))
        }
        _ if detail.contains("audience") => {
            format!("{detail}: tokens.audience of auth-service lists whom tokens are for")
        }
        _ if detail.contains("future") || detail.contains("not valid yet") => {
            format!("{detail}: clocks differ, see `signet doctor`")
        }
        _ => detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        for (time, told) in [
            (1_000, "0 s ago"),
            (970, "30 s ago"),
            (1_119, "in 119 s"),
            (1_900, "in 15 minutes"),
            (1_000_000, "in 11 days"),
        ] {
            assert_eq!(relative(time, 1_000), told);
        }
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        assert!(decode("abc").unwrap_err().contains("three parts"));
        assert!(decode("a!.b.c").unwrap_err().contains("header"));
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        assert!(decode(&format!("{}.{}.x", part("{}"), part("[]"))).unwrap_err().contains("payload"));
        let (header, claims) = decode(&format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"sub":"a"}"#))).unwrap();
        assert_eq!((&header["alg"], &claims["sub"]), (&"none".into(), &"a".into()));
    }

    #[test]
    fn what_a_token_says_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
