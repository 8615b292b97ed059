//! Verifying: a token in, its claims out, or the reason why not.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "feed")]
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::claims::Claims;
use crate::error::{Error, ErrorKind};
#[cfg(feature = "feed")]
use crate::feed::{RevocationCheck, RevocationList, WhenStale};
use crate::jws::{self, Compact, Header, PayloadBuffer};
use crate::key::{Key, KeyRing};
use crate::ring::LiveKeyRing;

/// The most that clocks may differ, in seconds; also the default.
const MAX_LEEWAY_SECONDS: u64 = 30;

/// How long a verifier goes without news of revocations before it calls what it knows stale, by default.
#[cfg(feature = "feed")]
pub(crate) const DEFAULT_STALE_AFTER_SECONDS: u64 = 60;

/// Less leaves no room for the polls that keep the list fresh.
#[cfg(feature = "feed")]
pub(crate) const MIN_STALE_AFTER_SECONDS: u64 = 2;

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Verifies access tokens: signature, type, issuer, audience, times. It does no I/O.
///
/// A clone shares everything with the original, so one verifier serves a whole process.
///
/// A token is taken only if
/// - it has at most [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES) and is a JWS in compact form, strictly encoded;
/// - `kid` names a key of the ring and `alg` is that key's algorithm; `typ` is `at+jwt`; there is no `crit`;
/// - the signature matches, which is settled before the payload is looked at;
/// - `iss`, `sub`, `aud`, `iat`, `exp` and `jti` are there, no known claim has a wrong type, no member occurs twice;
/// - `iss` is the expected issuer and `aud` holds the verifier's own name;
/// - now, give or take the leeway, is before `exp` and not before `nbf` or `iat`;
/// - with the feature `feed`, if it was given a list of revocations: nothing on the list names the token.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    ring: LiveKeyRing,
    issuer: String,
    audience: String,
    leeway_seconds: u64,
    clock: Clock,
    #[cfg(feature = "feed")]
    revocations: Option<RevocationCheck>,
}

impl Verifier {
    /// Starts a verifier for tokens signed by any key of the ring, which may be one that is replaced later.
    pub fn builder(ring: impl Into<LiveKeyRing>) -> VerifierBuilder {
        VerifierBuilder {
            ring: ring.into(),
            issuer: String::new(),
            audience: String::new(),
            leeway_seconds: MAX_LEEWAY_SECONDS,
            clock: Arc::new(system_clock),
            #[cfg(feature = "feed")]
            revocations: None,
            #[cfg(feature = "feed")]
            when_stale: WhenStale::default(),
            #[cfg(feature = "feed")]
            stale_after_seconds: DEFAULT_STALE_AFTER_SECONDS,
        }
    }

    /// The claims of a token that is valid now.
    pub fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.verify_at(token, (self.inner.clock)())
    }

    /// The claims of a token that is valid at `now`, in seconds since the Unix epoch.
    pub fn verify_at(&self, token: &str, now: u64) -> Result<Claims, Error> {
        let jws = Compact::split(token)?;
        // A header that this ring's own signer wrote needs no parsing; any other is read with care.
        let ring = self.inner.ring.load();
        let key = match ring.by_own_header(jws.header) {
            Some(key) => key,
            None => key_for(&ring, &Header::read(&jws::decode(jws.header)?)?)?,
        };
        let mut buffer: PayloadBuffer = [0; _];
        let claims = Claims::read(&jws.verified_payload(key, &mut buffer)?)?;
        self.check(&claims, now)?;
        #[cfg(feature = "feed")]
        if let Some(revocations) = &self.inner.revocations {
            revocations.check(&claims, key.id())?;
        }
        Ok(claims)
    }

    /// The expected issuer.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// The verifier's own name, which `aud` must hold.
    pub fn audience(&self) -> &str {
        &self.inner.audience
    }

    fn check(&self, claims: &Claims, now: u64) -> Result<(), Error> {
        let inner = &*self.inner;
        let latest = now.saturating_add(inner.leeway_seconds);
        if claims.iss != inner.issuer {
            return Err(Error::new(ErrorKind::Issuer, "the token is from another issuer"));
        }
        if !claims.aud.contains(&inner.audience) {
            return Err(Error::new(ErrorKind::Audience, "the token is for another audience"));
        }
        if claims.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(Error::new(ErrorKind::NotYetValid, "the token is not valid yet"));
        }
        if claims.iat > latest {
            return Err(Error::new(ErrorKind::NotYetValid, "the token was issued in the future"));
        }
        // Last, so that a client told of expiry knows that nothing else is wrong.
        if claims.exp.saturating_add(inner.leeway_seconds) <= now {
            return Err(Error::new(ErrorKind::Expired, "the token has expired"));
        }
        Ok(())
    }
}

fn key_for<'r>(ring: &'r KeyRing, header: &Header<'_>) -> Result<&'r Key, Error> {
    if !header.typ.as_deref().is_some_and(is_access_token) {
        return Err(Error::new(ErrorKind::Type, "the token's typ is not at+jwt"));
    }
    let unknown = |reason| Error::new(ErrorKind::UnknownKey, reason);
    let kid = header.kid.as_deref().ok_or(unknown("the token's header names no key"))?;
    let key = ring.by_id(kid).ok_or(unknown("the token's header names an unknown key"))?;
    header.permits(key)?;
    Ok(key)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("ring", &self.inner.ring)
            .field("issuer", &self.inner.issuer)
            .field("audience", &self.inner.audience)
            .field("leeway_seconds", &self.inner.leeway_seconds)
            .finish_non_exhaustive()
    }
}

/// RFC 9068 §4: `at+jwt`, with or without the `application/` that RFC 7515 §4.1.9 lets a token leave out. Media types
/// have no case.
fn is_access_token(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

/// A clock before 1970 counts as 0: every token then comes from the future and is refused.
fn system_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Sets up a [`Verifier`]. Issuer and audience must be given.
#[must_use = "a builder does nothing until it is built"]
pub struct VerifierBuilder {
    ring: LiveKeyRing,
    issuer: String,
    audience: String,
    leeway_seconds: u64,
    clock: Clock,
    #[cfg(feature = "feed")]
    revocations: Option<RevocationList>,
    #[cfg(feature = "feed")]
    when_stale: WhenStale,
    #[cfg(feature = "feed")]
    stale_after_seconds: u64,
}

impl VerifierBuilder {
    /// The `iss` that every token must have.
    pub fn issuer(mut self, issuer: &str) -> Self {
        issuer.clone_into(&mut self.issuer);
        self
    }

    /// The verifier's own name, which every token must have in `aud`.
    pub fn audience(mut self, audience: &str) -> Self {
        audience.clone_into(&mut self.audience);
        self
    }

    /// How much clocks may differ: 30 seconds at most, and by default.
    pub fn leeway_seconds(mut self, leeway_seconds: u64) -> Self {
        self.leeway_seconds = leeway_seconds;
        self
    }

    /// The clock, in seconds since the Unix epoch; the system's by default.
    pub fn clock(mut self, clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// Refuses tokens that this list revokes. A token that has expired is still called expired.
    #[cfg(feature = "feed")]
    pub fn revocations(mut self, list: RevocationList) -> Self {
        self.revocations = Some(list);
        self
    }

    /// What becomes of tokens when the list is stale: by default they are taken until they expire.
    ///
    /// A list that nothing has been heard for yet is stale: a verifier that refuses does so until its follower has had
    /// its first answer.
    #[cfg(feature = "feed")]
    pub fn when_stale(mut self, when_stale: WhenStale) -> Self {
        self.when_stale = when_stale;
        self
    }

    /// The age at which the list is stale: at least 2 seconds, 60 by default. Only [`WhenStale::Refuse`] looks at it.
    #[cfg(feature = "feed")]
    pub fn stale_after_seconds(mut self, stale_after_seconds: u64) -> Self {
        self.stale_after_seconds = stale_after_seconds;
        self
    }

    /// The verifier.
    pub fn build(self) -> Result<Verifier, VerifierBuilderError> {
        #[cfg(feature = "feed")]
        let revocations = self.revocation_check()?;
        let Self { ring, issuer, audience, leeway_seconds, clock, .. } = self;
        if issuer.is_empty() {
            return Err(VerifierBuilderError::Issuer);
        }
        if audience.is_empty() {
            return Err(VerifierBuilderError::Audience);
        }
        if leeway_seconds > MAX_LEEWAY_SECONDS {
            return Err(VerifierBuilderError::Leeway);
        }
        Ok(Verifier {
            inner: Arc::new(Inner {
                ring,
                issuer,
                audience,
                leeway_seconds,
                clock,
                #[cfg(feature = "feed")]
                revocations,
            }),
        })
    }

    #[cfg(feature = "feed")]
    fn revocation_check(&self) -> Result<Option<RevocationCheck>, VerifierBuilderError> {
        if self.stale_after_seconds < MIN_STALE_AFTER_SECONDS {
            return Err(VerifierBuilderError::StaleAfter);
        }
        match &self.revocations {
            Some(list) => Ok(Some(RevocationCheck {
                list: list.clone(),
                when_stale: self.when_stale,
                stale_after: Duration::from_secs(self.stale_after_seconds),
            })),
            // Somebody meant tokens to be refused, and nothing would ever refuse them.
            None if self.when_stale == WhenStale::Refuse => Err(VerifierBuilderError::NoRevocations),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for VerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("ring", &self.ring)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("leeway_seconds", &self.leeway_seconds)
            .finish_non_exhaustive()
    }
}

/// Why a [`Verifier`] could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierBuilderError {
    /// No issuer was given.
    #[error("the verifier needs an issuer")]
    Issuer,
    /// No audience was given.
    #[error("the verifier needs an audience: its own name")]
    Audience,
    /// The leeway is above 30 seconds.
    #[error("the leeway must not be above 30 seconds")]
    Leeway,
    /// Tokens are to be refused when revocations are stale, but there is no list of revocations.
    #[cfg(feature = "feed")]
    #[error("the verifier needs a list of revocations to tell when it is stale")]
    NoRevocations,
    /// The age at which revocations are stale is below 2 seconds.
    #[cfg(feature = "feed")]
    #[error("revocations must not be called stale before 2 seconds")]
    StaleAfter,
}
