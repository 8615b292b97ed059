//! What an access token says (RFC 9068 §2.2), and the strict reading of it.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Error;
use crate::json::{OtherNames, Skip, Text};
use crate::own;

/// The claims of an access token. Times are seconds since the Unix epoch.
///
/// Serialized, this is the payload of a token: optional claims that are absent or empty are left out. There is no
/// `Deserialize`: claims that came from outside come from a [`Verifier`](crate::Verifier).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject: a user's id, or the client's own id in a client's token.
    pub sub: String,
    /// The services the token is meant for, by name.
    pub aud: Vec<String>,
    /// When the token was issued.
    pub iat: u64,
    /// When it expires.
    pub exp: u64,
    /// When it begins to be valid, if not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The token's own id.
    pub jti: String,
    /// The session it was issued in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// What the token allows, separated by spaces (RFC 8693 §4.2). See [`Claims::scopes`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The user's roles when the token was issued.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The authorization version, when the token was issued, of the user, or of the client in a client's own token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<u64>,
    /// The client, in a token that no user stands behind. See [`Claims::is_client`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How the user was authenticated (RFC 8176).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// When the user was authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
}

/// Integers up to here mean the same to every JSON parser (RFC 7493 §2.2).
pub(crate) const MAX_INTEGER: u64 = (1 << 53) - 1;

const NOT_JSON: Error = Error::malformed("the token's payload is not valid JSON");

impl Claims {
    /// The scopes, one by one.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Whether the token carries this one scope. Scopes are case-sensitive (RFC 6749 §3.3).
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|held| held == scope)
    }

    /// Whether this is a client's or a service's own token, with no user behind it.
    pub fn is_client(&self) -> bool {
        self.client_id.is_some()
    }

    /// Refuses what no verifier would take.
    pub(crate) fn check_issuable(&self) -> Result<(), Error> {
        if [&self.iss, &self.sub, &self.jti].iter().any(|text| text.is_empty()) {
            return Err(Error::claims("the claims iss, sub and jti must not be empty"));
        }
        if self.aud.is_empty() {
            return Err(Error::claims("the claim aud must name an audience"));
        }
        let numbers = [Some(self.iat), Some(self.exp), self.nbf, self.ver, self.auth_time];
        if numbers.into_iter().flatten().any(|number| number > MAX_INTEGER) {
            return Err(Error::claims("a numeric claim is out of range"));
        }
        Ok(())
    }

    /// Reads a payload whose signature has been checked. Types, ranges and presence are settled here, values are the
    /// verifier's to judge.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, Error> {
        let json = std::str::from_utf8(payload).map_err(|_| NOT_JSON)?;
        own::read(json).map_or_else(|| Self::read_strictly(json), Ok)
    }

    /// The same of a payload by whomever, as text.
    pub(crate) fn read_strictly(json: &str) -> Result<Self, Error> {
        let fault = Cell::new(None);
        let mut reader = serde_json::Deserializer::from_str(json);
        let claims = reader.deserialize_map(PayloadVisitor { fault: &fault }).map_err(|error| {
            if error.is_data() {
                fault.get().unwrap_or(Error::malformed("the token's payload is not a JSON object"))
            } else {
                NOT_JSON
            }
        })?;
        reader.end().map_err(|_| NOT_JSON)?;
        Ok(claims)
    }
}

struct PayloadVisitor<'f> {
    /// Why the payload is refused: serde's own errors can only be told apart by their text.
    fault: &'f Cell<Option<Error>>,
}

impl PayloadVisitor<'_> {
    fn refuse<E: serde::de::Error>(&self, error: Error) -> E {
        self.fault.set(Some(error));
        E::custom(error)
    }
}

impl<'de> Visitor<'de> for PayloadVisitor<'_> {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWT Claims Set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
        const DUPLICATE: Error = Error::malformed("the token's payload has a member twice");

        let (mut iss, mut sub, mut aud, mut iat, mut exp, mut nbf, mut jti) =
            (None, None, None, None, None, None, None);
        let (mut sid, mut scope, mut roles, mut ver, mut client_id) = (None, None, None, None, None);
        let (mut amr, mut auth_time) = (None, None);
        let mut others = OtherNames::default();

        // Reads the value of the claim just named into its slot.
        macro_rules! fill {
            ($slot:ident: $type:ty) => {{
                let value = members.next_value::<$type>().inspect_err(|_| {
                    self.fault.set(Some(Error::claims(concat!(
                        "the token's claim ",
                        stringify!($slot),
                        " is malformed"
                    ))));
                })?;
                if $slot.replace(value).is_some() {
                    return Err(self.refuse(DUPLICATE));
                }
            }};
        }

        while let Some(Text(name)) = members.next_key()? {
            match &*name {
                "iss" => fill!(iss: String),
                "sub" => fill!(sub: String),
                "aud" => fill!(aud: Audience),
                "iat" => fill!(iat: RoundedDown),
                "exp" => fill!(exp: RoundedDown),
                "nbf" => fill!(nbf: RoundedUp),
                "jti" => fill!(jti: String),
                "sid" => fill!(sid: String),
                "scope" => fill!(scope: String),
                "roles" => fill!(roles: Vec<String>),
                "ver" => fill!(ver: Integer),
                "client_id" => fill!(client_id: String),
                "amr" => fill!(amr: Vec<String>),
                "auth_time" => fill!(auth_time: RoundedDown),
                _ => {
                    if !others.is_new(name) {
                        return Err(self.refuse(DUPLICATE));
                    }
                    // The only thing that `Skip` objects to.
                    members.next_value_seed(Skip).inspect_err(|_| self.fault.set(Some(DUPLICATE)))?;
                }
            }
        }

        macro_rules! required {
            ($slot:ident) => {
                $slot.ok_or_else(|| {
                    self.refuse::<A::Error>(Error::claims(concat!("the token lacks the claim ", stringify!($slot))))
                })?
            };
        }
        let claims = Claims {
            iss: required!(iss),
            sub: required!(sub),
            aud: required!(aud).0,
            iat: required!(iat).0,
            exp: required!(exp).0,
            nbf: nbf.map(|RoundedUp(seconds)| seconds),
            jti: required!(jti),
            sid,
            scope: scope.unwrap_or_default(),
            roles: roles.unwrap_or_default(),
            ver: ver.map(|Integer(number)| number),
            client_id,
            amr: amr.unwrap_or_default(),
            auth_time: auth_time.map(|RoundedDown(seconds)| seconds),
        };
        if claims.sub.is_empty() || claims.jti.is_empty() {
            return Err(self.refuse(Error::claims("the token's claim sub or jti is empty")));
        }
        Ok(claims)
    }
}

/// `aud`: one name, or an array of names (RFC 7519 §4.1.3).
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AudienceVisitor;

        impl<'de> Visitor<'de> for AudienceVisitor {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or an array of names")
            }

            fn visit_str<E>(self, name: &str) -> Result<Audience, E> {
                Ok(Audience(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Audience, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(Audience(names))
            }
        }

        deserializer.deserialize_any(AudienceVisitor)
    }
}

/// A JSON number that is not negative and not beyond [`MAX_INTEGER`].
struct NumberVisitor {
    round: Option<fn(f64) -> f64>,
}

impl Visitor<'_> for NumberVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 0 to 2^53 - 1")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u64, E> {
        if number > MAX_INTEGER {
            return Err(E::custom("number out of range"));
        }
        Ok(number)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked first, and within it f64 holds every integer"
    )]
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<u64, E> {
        match self.round {
            Some(round) if (0.0..=MAX_INTEGER as f64).contains(&number) => Ok(round(number) as u64),
            _ => Err(E::custom("number out of range")),
        }
    }
}

/// Declares a number as it is read: a `NumericDate` may have a fraction (RFC 7519 §2), which is rounded so that the
/// token is valid for less time rather than more.
macro_rules! number {
    ($name:ident, $round:expr) => {
        struct $name(u64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(NumberVisitor { round: $round }).map($name)
            }
        }
    };
}

number!(Integer, None);
number!(RoundedDown, Some(f64::floor));
number!(RoundedUp, Some(f64::ceil));
