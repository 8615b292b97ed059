//! `/internal/revocations`: the feed that verifiers follow, and revocation by the operator.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::ContentType},
    web,
};
use serde::Deserialize;
use serde_json::json;
use service_kit::{
    Error,
    audit::Origin,
    http::{Json, Query},
    peer::Internal,
    validate::{Invalid, Validator},
};
use shared_claims::actix::Authorized;

use super::{bounded, delivery::no_store};
use crate::{
    app::State,
    domain::{EndReason, NewRevocation, SessionId},
    feed::Poll,
};

/// The longest that a poll may be held.
const MAX_WAIT_SECONDS: u64 = 60;
/// The most characters of anything that names something.
const MAX_NAME_CHARACTERS: usize = 200;
/// The most characters of a verifier's list of keys.
const MAX_KIDS_CHARACTERS: usize = 4000;
/// A single token is revoked for this long at most: more than any that we issue lives for.
const MAX_TOKEN_SECONDS: u64 = 400 * 86_400;

#[derive(Deserialize)]
pub(crate) struct PollQuery {
    #[serde(default)]
    after: u64,
    epoch: Option<String>,
    #[serde(default)]
    wait: u64,
    #[serde(default)]
    recover: u64,
    verifier: Option<String>,
    #[serde(default)]
    kids: String,
}

/// `GET /internal/revocations`: the entries after a number, held until there are any or the wait is over.
///
/// Answers are a [`shared_claims::feed::Feed`]. A caller that names itself (`verifier`) and its keys (`kids`) is taken
/// into the registry that the change of a signing key waits for.
pub(crate) async fn poll(
    state: web::Data<State>,
    _caller: Authorized<Internal>,
    query: Query<PollQuery>,
) -> Result<HttpResponse, Error> {
    let PollQuery { after, epoch, wait, recover, verifier, kids } = query.0;
    let mut validator = Validator::new();
    for (field, seconds) in [("wait", wait), ("recover", recover)] {
        if seconds > MAX_WAIT_SECONDS {
            let message = format!("This must be {MAX_WAIT_SECONDS} seconds at most.");
            validator.reject(field, Invalid::new("out_of_range", message));
        }
    }
    let verifier = validator.optional("verifier", verifier, name);
    let kids = if kids.is_empty() { Some(kids) } else { validator.check("kids", bounded(kids, MAX_KIDS_CHARACTERS)) };
    let (verifier, kids) = validator.finish_with(verifier.zip(kids))?;
    if let Some(verifier) = verifier {
        state.feed.saw(&verifier, &kids);
    }
    let answer = state
        .feed
        .poll(Poll { after, epoch, wait: Duration::from_secs(wait), recover: Duration::from_secs(recover) })
        .await?;
    let mut response = no_store(StatusCode::OK);
    if answer.last {
        response.force_close();
    }
    Ok(response.content_type(ContentType::json()).body(answer.body))
}

/// What the operator revokes: a `kind`, and what that kind needs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    kind: Option<String>,
    kid: Option<String>,
    issued_before: Option<u64>,
    sid: Option<String>,
    sub: Option<String>,
    jti: Option<String>,
    exp: Option<u64>,
}

/// An order that can be carried out.
enum Target {
    /// Tokens alone.
    Tokens(NewRevocation),
    /// A session: it ends.
    Session(SessionId),
    /// All sessions of a user: they end.
    User(String),
}

impl Order {
    fn read(self, now_seconds: u64) -> Result<Target, Error> {
        let mut validator = Validator::new();
        let given = [
            ("kid", self.kid.is_some()),
            ("issued_before", self.issued_before.is_some()),
            ("sid", self.sid.is_some()),
            ("sub", self.sub.is_some()),
            ("jti", self.jti.is_some()),
            ("exp", self.exp.is_some()),
        ];
        let (target, takes): (_, &[&str]) = match self.kind.as_deref() {
            Some("key") => {
                let kid = validator.required("kid", self.kid, name);
                (kid.map(|kid| Target::Tokens(NewRevocation::Key { kid })), &["kid"])
            }
            Some("all") => {
                // `iat` has no fractions, so whatever was issued within this second may be older than now.
                let until_now = now_seconds + 1;
                let issued_before = self.issued_before.unwrap_or(until_now);
                if issued_before > until_now {
                    let message = "This must not be in the future: every token would be refused until then.";
                    validator.reject("issued_before", Invalid::new("out_of_range", message));
                }
                (Some(Target::Tokens(NewRevocation::All { issued_before })), &["issued_before"])
            }
            Some("session") => {
                let sid = validator.required("sid", self.sid, |sid| {
                    SessionId::parse(&sid).ok_or_else(|| Invalid::new("invalid", "This is not the id of a session."))
                });
                (sid.map(Target::Session), &["sid"])
            }
            Some("user") => (validator.required("sub", self.sub, name).map(Target::User), &["sub"]),
            Some("token") => {
                let jti = validator.required("jti", self.jti, name);
                let exp = validator.required("exp", self.exp, |exp| {
                    let far = exp > now_seconds + MAX_TOKEN_SECONDS;
                    let message = "This is further away than any token lives.";
                    if far { Err(Invalid::new("out_of_range", message)) } else { Ok(exp) }
                });
                let token = jti.zip(exp).map(|(jti, exp)| Target::Tokens(NewRevocation::Token { jti, exp }));
                (token, &["jti", "exp"])
            }
            Some(_) => {
                let message = "This must be key, all, session, user or token.";
                return Err(Error::field("kind", Invalid::new("invalid", message)));
            }
            None => return Err(Error::field("kind", Invalid::new("required", "This field is required."))),
        };
        for (field, _) in given.into_iter().filter(|(field, given)| *given && !takes.contains(field)) {
            validator.reject(field, Invalid::new("unknown", "This member does not belong to this kind."));
        }
        validator.finish_with(target)
    }
}

/// `POST /internal/revocations`: revokes. 404 if there is no such session.
pub(crate) async fn revoke(
    state: web::Data<State>,
    caller: Authorized<Internal>,
    origin: Origin,
    order: Json<Order>,
) -> Result<HttpResponse, Error> {
    let now = state.clock.now();
    let origin = origin.by(&caller);
    match order.0.read(now.as_seconds())? {
        Target::Tokens(revocation) => {
            let record = match &revocation {
                NewRevocation::Key { kid } => origin.record("key_revoked", now).with(json!({ "kid": kid })),
                NewRevocation::All { issued_before } => {
                    origin.record("all_tokens_revoked", now).with(json!({ "issued_before": issued_before }))
                }
                NewRevocation::Token { jti, .. } => origin.record("token_revoked", now).with(json!({ "jti": jti })),
                // Those of a session and of a user are told of by the sessions that end.
                NewRevocation::Session(_) | NewRevocation::User { .. } => origin.record("token_revoked", now),
            };
            state.revocations.revoke(vec![revocation], vec![record], now).await?;
        }
        Target::Session(sid) => {
            if !state.sessions.end(sid, EndReason::EndedByOperator, &origin, now).await? {
                return Err(Error::NotFound);
            }
        }
        Target::User(sub) => {
            state.sessions.end_all_of_user(&sub, EndReason::EndedByOperator, &origin, now).await?;
        }
    }
    Ok(no_store(StatusCode::NO_CONTENT).finish())
}

fn name(text: String) -> Result<String, Invalid> {
    bounded(text, MAX_NAME_CHARACTERS)
}
