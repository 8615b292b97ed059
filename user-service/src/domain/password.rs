//! Passwords: which are taken, and how they are hashed, verified and brought to the present scheme.
//!
//! A password goes through HMAC-SHA-256, under the operator's pepper if there is one, and base64 before it goes to
//! bcrypt. bcrypt alone takes 72 bytes and drops the rest; so each byte counts. Hashes that bcrypt made of the bare
//! password elsewhere are verified as they were made.

use std::{fmt, ops::RangeInclusive, str::FromStr as _};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    },
};
use bcrypt::HashParts;
use bcrypt_lanes::Input;
use service_kit::{Secret, validate::Invalid};
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// The costs that are taken: bcrypt's own least, and one at which a single log-in holds a thread for some seconds.
/// A higher cost would let anybody who knows the account's name hold all threads for hours.
pub(crate) const COSTS: RangeInclusive<u32> = 4..=16;

const MIN_CHARACTERS: usize = 8;
const MAX_CHARACTERS: usize = 256;
/// An imported hash may be of a longer password than is taken here, but not of any length.
const MAX_PRESENTED_CHARACTERS: usize = 1024;

/// Scores run from 0 to 4; one below this is too easy to guess.
const MIN_SCORE: zxcvbn::Score = zxcvbn::Score::Three;

/// What the estimate reads of a password at most, in characters: its time grows faster than the length.
const JUDGED_CHARACTERS: usize = 100;

/// Keys the HMAC where there is no pepper. It is no secret: it keeps the result from being of use anywhere else.
const NO_PEPPER: &[u8] = b"signet password v1";

/// bcrypt computes 24 bytes, and its strings hold these.
const DIGEST_BYTES: usize = 23;

/// The base64 of bcrypt's strings. What other implementations leave in the bits behind the last byte is of no meaning.
const BCRYPT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

const PREFIX: &str = "$bcrypt-hmac-sha256$v=1$";

/// A password as it was typed, byte for byte. It is never shown, and zeroed when dropped.
#[derive(Clone, Debug, ToSchema)]
#[schema(value_type = String, format = Password, min_length = 8, max_length = 256, pattern = r"^[^\x00]*$")]
pub(crate) struct Password(Secret);

impl Password {
    /// Takes a new password of 8 to 256 characters. Whether it is easy to guess is for [`Password::judge`] to say.
    pub(crate) fn parse(text: Secret) -> Result<Self, Invalid> {
        let characters = text.expose().chars().count();
        if characters < MIN_CHARACTERS {
            return Err(Invalid::new("too_short", format!("A password has at least {MIN_CHARACTERS} characters.")));
        }
        if characters > MAX_CHARACTERS {
            return Err(Invalid::new("too_long", format!("A password has at most {MAX_CHARACTERS} characters.")));
        }
        Self::without_nul(text)
    }

    /// Takes a password that is to be held against a stored hash.
    pub(crate) fn presented(text: Secret) -> Result<Self, Invalid> {
        if text.expose().chars().count() > MAX_PRESENTED_CHARACTERS {
            return Err(Invalid::new("too_long", "No password is that long."));
        }
        Self::without_nul(text)
    }

    fn without_nul(text: Secret) -> Result<Self, Invalid> {
        if text.expose().contains('\0') {
            return Err(Invalid::new("invalid", "A password has no NUL character."));
        }
        Ok(Self(text))
    }

    /// Refuses a password that is easy to guess, the more so for somebody who knows the `hints`. This takes
    /// milliseconds of CPU.
    pub(crate) fn judge(&self, hints: &[String]) -> Result<(), Invalid> {
        let head: Zeroizing<String> = Zeroizing::new(self.0.expose().chars().take(JUDGED_CHARACTERS).collect());
        let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
        let entropy = zxcvbn::zxcvbn(&head, &hints);
        if entropy.score() >= MIN_SCORE {
            return Ok(());
        }
        let mut message = "This password is easy to guess.".to_owned();
        if let Some(feedback) = entropy.feedback() {
            // Both are of a fixed set of sentences: they hold nothing of the password.
            let sentences = feedback.warning().map(|warning| warning.to_string()).into_iter();
            for sentence in sentences.chain(feedback.suggestions().iter().map(ToString::to_string)) {
                message.push(' ');
                message.push_str(&sentence);
                if !sentence.ends_with('.') {
                    message.push('.');
                }
            }
        }
        Err(Invalid::new("too_weak", message))
    }
}

/// A stored hash, in one of two forms:
///
/// - `$bcrypt-hmac-sha256$v=1$PEPPER$2b$12$…`: this service's scheme. `PEPPER` names the pepper, `-` stands for none,
///   and what follows is bcrypt's own string.
/// - `$2a$…`, `$2b$…`, `$2y$…`: bcrypt of the bare password, made elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash {
    text: String,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Keyed { pepper_id: Option<String> },
    Bare,
}

/// A string that is no hash of either form.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stored password hash is malformed")]
pub(crate) struct MalformedHash;

impl PasswordHash {
    /// Reads a stored hash.
    pub(crate) fn parse(text: &str) -> Result<Self, MalformedHash> {
        let (form, bcrypt) = match text.strip_prefix(PREFIX) {
            Some(rest) => {
                let at = rest.find('$').ok_or(MalformedHash)?;
                let (pepper, bcrypt) = rest.split_at(at);
                let pepper_id = match pepper {
                    "-" => None,
                    id if is_pepper_id(id) => Some(id.to_owned()),
                    _ => return Err(MalformedHash),
                };
                (Form::Keyed { pepper_id }, bcrypt)
            }
            None => (Form::Bare, text),
        };
        let cost = bcrypt_cost(bcrypt).ok_or(MalformedHash)?;
        // This scheme has always written `$2b$`.
        let sound = COSTS.contains(&cost) && (form == Form::Bare || bcrypt.starts_with("$2b$"));
        if sound { Ok(Self { text: text.to_owned(), form }) } else { Err(MalformedHash) }
    }

    /// Takes a bcrypt hash that was made elsewhere.
    pub(crate) fn import(text: &str) -> Result<Self, Invalid> {
        let cost = bcrypt_cost(text).ok_or_else(|| {
            Invalid::new("invalid", "Expected a bcrypt hash of 60 characters that begins with $2a$, $2b$ or $2y$.")
        })?;
        if !COSTS.contains(&cost) {
            let message = format!("The cost of a hash must be from {} to {}.", COSTS.start(), COSTS.end());
            return Err(Invalid::new("out_of_range", message));
        }
        Ok(Self { text: text.to_owned(), form: Form::Bare })
    }

    /// The string to store.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn bcrypt(&self) -> &str {
        match &self.form {
            Form::Bare => &self.text,
            Form::Keyed { pepper_id } => &self.text[PREFIX.len() + pepper_id.as_ref().map_or(1, String::len)..],
        }
    }

    /// bcrypt's cost.
    pub(crate) fn cost(&self) -> u32 {
        bcrypt_cost(self.bcrypt()).unwrap_or(0)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash([redacted])")
    }
}

fn is_pepper_id(id: &str) -> bool {
    URL_SAFE_NO_PAD.decode(id).is_ok_and(|bytes| bytes.len() == PEPPER_ID_BYTES)
}

/// The cost of a well-formed bcrypt string. `$2x$` is not one: it marks hashes of a bug that only its own
/// implementation repeats.
fn bcrypt_cost(text: &str) -> Option<u32> {
    let version = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
    let digits = text.get(4..6).is_some_and(|cost| cost.bytes().all(|byte| byte.is_ascii_digit()));
    if !version || !digits {
        return None;
    }
    HashParts::from_str(text).ok().map(|parts| parts.get_cost())
}

const PEPPER_ID_BYTES: usize = 6;

struct Pepper {
    key: hmac::Key,
    id: String,
}

impl Pepper {
    fn new(secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        // A password never holds NUL, so this can be no password's own tag.
        let tag = hmac::sign(&key, b"\0signet pepper id");
        Self { id: URL_SAFE_NO_PAD.encode(&tag.as_ref()[..PEPPER_ID_BYTES]), key }
    }
}

/// How passwords are hashed at present.
pub(crate) struct Scheme {
    cost: u32,
    no_pepper: hmac::Key,
    pepper: Option<Pepper>,
}

/// How a password compares with a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the password, and its hash is of the present scheme and cost.
    Match,
    /// It is the password; its hash should be made anew.
    OutdatedMatch,
    /// It is another password.
    NoMatch,
    /// It cannot be told: the hash was made under another pepper.
    OtherPepper,
}

/// There was no randomness for a salt.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: there is no randomness")]
pub(crate) struct NoRandomness;

/// A run of bcrypt that is still to be made. All that takes time is in here, so that several of one cost can be made side
/// by side.
pub(crate) struct Computation {
    key: Zeroizing<Vec<u8>>,
    salt: [u8; 16],
    cost: u32,
}

impl Computation {
    fn new(secret: &str, salt: [u8; 16], cost: u32) -> Self {
        // bcrypt's key ends with a NUL, and what goes beyond 72 bytes is cut: hashes made elsewhere rely on it.
        let length = (secret.len() + 1).min(72);
        let mut key = Zeroizing::new(Vec::with_capacity(72));
        key.extend(secret.bytes().chain([0]).take(length));
        Self { key, salt, cost }
    }

    /// The cost.
    pub(crate) fn cost(&self) -> u32 {
        self.cost
    }

    /// What bcrypt is given.
    pub(crate) fn input(&self) -> Input<'_> {
        Input { salt: self.salt, password: &self.key }
    }

    fn run(&self) -> [u8; 24] {
        bcrypt::bcrypt(self.cost, self.salt, &self.key)
    }
}

/// A new hash that is still to be computed.
pub(crate) struct NewHash {
    /// What to compute.
    pub(crate) computation: Computation,
    pepper_id: Option<String>,
}

impl NewHash {
    /// The hash, given what was computed.
    pub(crate) fn finish(self, digest: [u8; 24]) -> PasswordHash {
        let Computation { salt, cost, .. } = self.computation;
        let (salt, digest) = (BCRYPT.encode(salt), BCRYPT.encode(&digest[..DIGEST_BYTES]));
        let pepper_id = self.pepper_id;
        let text = format!("{PREFIX}{}$2b${cost:02}${salt}{digest}", pepper_id.as_deref().unwrap_or("-"));
        PasswordHash { text, form: Form::Keyed { pepper_id } }
    }
}

/// A comparison with a stored hash that is still to be computed.
pub(crate) struct Verification {
    /// What to compute.
    pub(crate) computation: Computation,
    expected: [u8; DIGEST_BYTES],
    matched: Verdict,
    otherwise: Verdict,
}

impl Verification {
    /// How the password compares, given what was computed.
    pub(crate) fn judge(&self, digest: [u8; 24]) -> Verdict {
        let is_match = verify_slices_are_equal(&digest[..DIGEST_BYTES], &self.expected).is_ok();
        if is_match { self.matched } else { self.otherwise }
    }
}

impl Scheme {
    /// bcrypt of this cost, under this pepper.
    pub(crate) fn new(cost: u32, pepper: Option<&Secret>) -> Self {
        Self { cost, no_pepper: hmac::Key::new(hmac::HMAC_SHA256, NO_PEPPER), pepper: pepper.map(Pepper::new) }
    }

    /// The cost of new hashes, and of a comparison with nobody's.
    pub(crate) fn cost(&self) -> u32 {
        self.cost
    }

    /// Prepares a new hash.
    pub(crate) fn prepare_hash(&self, password: &Password) -> Result<NewHash, NoRandomness> {
        let (key, pepper_id) = match &self.pepper {
            Some(pepper) => (&pepper.key, Some(pepper.id.clone())),
            None => (&self.no_pepper, None),
        };
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| NoRandomness)?;
        Ok(NewHash { computation: Computation::new(&keyed(key, password), salt, self.cost), pepper_id })
    }

    /// Hashes a password; takes as long as the cost makes it.
    pub(crate) fn hash(&self, password: &Password) -> Result<PasswordHash, NoRandomness> {
        let hash = self.prepare_hash(password)?;
        let digest = hash.computation.run();
        Ok(hash.finish(digest))
    }

    /// Prepares the comparison of a password with a stored hash, or with nobody's, which takes as long and never matches.
    pub(crate) fn prepare_verification(&self, password: &Password, stored: Option<&PasswordHash>) -> Verification {
        let Some(stored) = stored else {
            return self.slow_refusal(password, Verdict::NoMatch);
        };
        let (secret, present_form) = match (&stored.form, &self.pepper) {
            (Form::Bare, _) => (Zeroizing::new(password.0.expose().to_owned()), false),
            (Form::Keyed { pepper_id: None }, pepper) => (keyed(&self.no_pepper, password), pepper.is_none()),
            (Form::Keyed { pepper_id: Some(id) }, Some(pepper)) if pepper.id == *id => {
                (keyed(&pepper.key, password), true)
            }
            (Form::Keyed { pepper_id: Some(_) }, _) => return self.slow_refusal(password, Verdict::OtherPepper),
        };
        // A hash that was parsed is well-formed.
        let Some((cost, salt, expected)) = bcrypt_parts(stored.bcrypt()) else {
            return self.slow_refusal(password, Verdict::NoMatch);
        };
        let is_present = present_form && cost >= self.cost;
        Verification {
            computation: Computation::new(&secret, salt, cost),
            expected,
            matched: if is_present { Verdict::Match } else { Verdict::OutdatedMatch },
            otherwise: Verdict::NoMatch,
        }
    }

    /// The answer is of no interest, the time it takes is.
    fn slow_refusal(&self, password: &Password, verdict: Verdict) -> Verification {
        Verification {
            computation: Computation::new(&keyed(&self.no_pepper, password), [0; 16], self.cost),
            expected: [0; DIGEST_BYTES],
            matched: verdict,
            otherwise: verdict,
        }
    }
}

/// Cost, salt and digest of a well-formed bcrypt string.
fn bcrypt_parts(text: &str) -> Option<(u32, [u8; 16], [u8; DIGEST_BYTES])> {
    let cost = bcrypt_cost(text)?;
    let salt = BCRYPT.decode(text.get(7..29)?).ok()?.try_into().ok()?;
    let digest = BCRYPT.decode(text.get(29..)?).ok()?.try_into().ok()?;
    Some((cost, salt, digest))
}

fn keyed(key: &hmac::Key, password: &Password) -> Zeroizing<String> {
    Zeroizing::new(STANDARD_NO_PAD.encode(hmac::sign(key, password.0.expose().as_bytes())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEPPER: &str = "k3Yv8pQz1mWn5sXc7rTb9dGh2jLf4aEu";

    fn password(text: &str) -> Password {
        Password::presented(Secret::from(text.to_owned())).unwrap()
    }

    impl Scheme {
        fn verify(&self, password: &Password, stored: Option<&PasswordHash>) -> Verdict {
            let verification = self.prepare_verification(password, stored);
            verification.judge(verification.computation.run())
        }
    }

    fn scheme(pepper: Option<&str>) -> Scheme {
        Scheme::new(4, pepper.map(|pepper| Secret::from(pepper.to_owned())).as_ref())
    }

    #[test]
    fn a_hash_says_its_scheme_and_is_read_back() {
        for scheme in [scheme(None), scheme(Some(PEPPER))] {
            let hash = scheme.hash(&password("correct horse")).unwrap();
            assert_eq!(PasswordHash::parse(hash.as_str()).unwrap(), hash);
            assert_eq!(scheme.verify(&password("correct horse"), Some(&hash)), Verdict::Match);
            assert_eq!(scheme.verify(&password("correct horsE"), Some(&hash)), Verdict::NoMatch);
            assert_eq!(scheme.verify(&password("correct horse"), None), Verdict::NoMatch);
        }
        assert!(scheme(None).hash(&password("x")).unwrap().as_str().starts_with("$bcrypt-hmac-sha256$v=1$-$2b$04$"));
    }

    #[test]
    fn a_hash_without_pepper_is_upgraded_and_one_under_another_pepper_is_told_apart() {
        let plain = scheme(None).hash(&password("correct horse")).unwrap();
        let peppered = scheme(Some(PEPPER)).hash(&password("correct horse")).unwrap();
        assert_eq!(scheme(Some(PEPPER)).verify(&password("correct horse"), Some(&plain)), Verdict::OutdatedMatch);
        let other = scheme(Some("Another-pepper-of-32-bytes-or-so"));
        for scheme in [scheme(None), other] {
            assert_eq!(scheme.verify(&password("correct horse"), Some(&peppered)), Verdict::OtherPepper);
        }
    }

    #[test]
    fn a_hash_of_a_lower_cost_is_outdated_and_one_of_a_higher_cost_is_not() {
        let cheap = scheme(None).hash(&password("correct horse")).unwrap();
        let dear = Scheme::new(5, None);
        assert_eq!(dear.verify(&password("correct horse"), Some(&cheap)), Verdict::OutdatedMatch);
        let costly = dear.hash(&password("correct horse")).unwrap();
        assert_eq!(scheme(None).verify(&password("correct horse"), Some(&costly)), Verdict::Match);
    }

    #[test]
    fn nobody_s_password_costs_as_much_as_anybody_s_and_never_matches() {
        let hash = scheme(None).hash(&password("x")).unwrap();
        let somebody = scheme(None).prepare_verification(&password("x"), Some(&hash));
        let nobody = scheme(None).prepare_verification(&password("x"), None);
        assert_eq!(nobody.computation.cost(), somebody.computation.cost());
        assert_eq!(nobody.computation.input().password.len(), somebody.computation.input().password.len());
        for digest in [[0; 24], [1; 24]] {
            assert_eq!(nobody.judge(digest), Verdict::NoMatch);
        }
    }

    #[test]
    fn the_bcrypt_crate_agrees_on_hashes_of_either_making() {
        for text in ["x", "correct horse", &"long".repeat(40), "pässwörd"] {
            // Ours is bcrypt of what the HMAC gives.
            let ours = scheme(None).hash(&password(text)).unwrap();
            let secret = keyed(&scheme(None).no_pepper, &password(text));
            assert!(bcrypt::verify(secret.as_str(), ours.bcrypt()).unwrap());
            for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
                let theirs = bcrypt::hash_with_salt(text, 4, [7; 16]).unwrap().format_for_version(version);
                let theirs = PasswordHash::import(&theirs).unwrap();
                assert_eq!(scheme(None).verify(&password(text), Some(&theirs)), Verdict::OutdatedMatch);
                assert_eq!(scheme(None).verify(&password("another"), Some(&theirs)), Verdict::NoMatch);
            }
        }
    }

    #[test]
    fn a_malformed_hash_is_no_hash() {
        let good = scheme(Some(PEPPER)).hash(&password("x")).unwrap();
        let bcrypt = "$2b$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01232";
        assert!(PasswordHash::parse(bcrypt).is_ok());
        let bad = [
            String::new(),
            "plain".to_owned(),
            bcrypt.replace("$2b$", "$2x$"),
            bcrypt.replace("$04$", "$03$"),
            bcrypt.replace("$04$", "$31$"),
            bcrypt.replace("$04$", "$+4$"),
            bcrypt[..59].to_owned(),
            format!("{bcrypt}."),
            bcrypt.replace("01232", "0123!"),
            good.as_str().replace("v=1", "v=2"),
            good.as_str().replace("$2b$", "$2a$"),
            format!("{PREFIX}short{bcrypt}"),
            format!("{PREFIX}{}", &bcrypt[1..]),
        ];
        for text in bad {
            assert!(PasswordHash::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn strength_is_judged_with_the_users_own_data() {
        assert!(password("correct horse battery").judge(&[]).is_ok());
        assert_eq!(password("password1").judge(&[]).unwrap_err().code, "too_weak");
        assert!(password("lovelacekrasnoff").judge(&[]).is_ok());
        let hints = ["lovelace".to_owned(), "krasnoff".to_owned()];
        let refused = password("lovelacekrasnoff").judge(&hints).unwrap_err();
        assert_eq!(refused.code, "too_weak");
        assert!(!refused.message.contains("lovelace"), "{}", refused.message);
        let endless = "x9".repeat(500);
        assert!(password(&endless).judge(&[]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_byte_of_a_password_counts(text in "[a-zé]{1,120}", at in any::<prop::sample::Index>()) {
            let scheme = scheme(None);
            let hash = scheme.hash(&password(&text)).unwrap();
            prop_assert_eq!(scheme.verify(&password(&text), Some(&hash)), Verdict::Match);
            let mut other: Vec<char> = text.chars().collect();
            let at = at.index(other.len());
            other[at] = 'Z';
            let other: String = other.into_iter().collect();
            prop_assert_eq!(scheme.verify(&password(&other), Some(&hash)), Verdict::NoMatch);
        }
    }
}
