//! The key ring as a file: a JWK Set (RFC 7517) whose first key signs, and the changes that operators make to it.
//!
//! Each change gives a whole new file, put in place by a rename, so that a service that reads it meanwhile finds the
//! old ring or the new one. What the file holds beyond what we know of is kept.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    nid::Nid,
    pkey::PKey,
    rsa::Rsa,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use service_kit::Timestamp;
use shared_claims::{KeyError, KeyRing};
use zeroize::Zeroizing;

use crate::secrets;

/// The members of a JWK that others must not see (RFC 7518, 6.2.2, 6.3.2 and 6.4.1; RFC 8037, 2).
const SECRET_MEMBERS: [&str; 8] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth"];

/// Bits of a new RSA key (RFC 7518, 3.3 asks for 2048 at least).
const RSA_BITS: u32 = 3072;

const FILE_NAME: &str = "keys.json";

/// Where `signet up` keeps the ring of its stack.
pub(crate) fn in_directory(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// What a new key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Algorithm {
    /// A common secret: whoever can verify can also issue
    #[value(name = "HS256")]
    Hs256,
    /// A key pair, Ed25519: small and fast
    #[value(name = "EdDSA")]
    EdDsa,
    /// A key pair, P-256
    #[value(name = "ES256")]
    Es256,
    /// A key pair, RSA of 3072 bits: for verifiers that take nothing else
    #[value(name = "RS256")]
    Rs256,
}

impl Algorithm {
    fn of(jwk: &Map<String, Value>) -> Option<Self> {
        match jwk.get("alg")?.as_str()? {
            "HS256" => Some(Self::Hs256),
            "EdDSA" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// Why the file cannot be used or changed; each says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingFileError {
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("{} cannot be written: {cause}", path.display())]
    Unwritable { path: PathBuf, cause: io::Error },
    #[error("{} is there already: choose another name, or add a key to it with `signet keys rotate`", path.display())]
    Exists { path: PathBuf },
    #[error("{} is not a key ring: {cause}", path.display())]
    NotARing { path: PathBuf, cause: KeyError },
    #[error("another `signet keys` is changing {}: wait for it to end", path.display())]
    Busy { path: PathBuf },
    #[error("there is no key {kid} in {}: `signet keys list` shows those that there are", path.display())]
    UnknownKey { path: PathBuf, kid: String },
    #[error(
        "{} holds common secrets only, which have no public parts: `signet keys generate --alg EdDSA` makes a ring that has",
        path.display()
    )]
    NoKeyPair { path: PathBuf },
    #[error("no key could be made: {0}")]
    Generation(#[from] ErrorStack),
}

/// Where in its life a key of the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It signs, being the first.
    Signing,
    /// Made after the signing one, to come after it.
    Incoming,
    /// It no longer signs, but tokens that it signed may live, until then if that is known (seconds since the epoch).
    Outgoing { until: Option<u64> },
    /// It can only verify: the private part is elsewhere.
    Public,
}

/// A ring in a file, held against other changes until it is dropped.
#[derive(Debug)]
pub(crate) struct RingFile {
    path: PathBuf,
    document: Map<String, Value>,
    keys: Vec<Map<String, Value>>,
    /// Absent where the file is only looked at.
    _lock: Option<File>,
}

#[derive(Deserialize)]
struct Layout {
    keys: Vec<Map<String, Value>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Serialize)]
struct Written<'a> {
    keys: &'a [Map<String, Value>],
    #[serde(flatten)]
    others: &'a Map<String, Value>,
}

impl RingFile {
    /// Makes a file with one new key. One that is there is left alone.
    pub(crate) fn create(path: &Path, algorithm: Algorithm, now: u64) -> Result<Self, RingFileError> {
        let file =
            Self { path: path.to_owned(), document: Map::new(), keys: vec![generate(algorithm, now)?], _lock: None };
        file.write(|temporary, path| temporary.persist_noclobber(path).map(drop).map_err(|failure| failure.error))
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::AlreadyExists => RingFileError::Exists { path: path.to_owned() },
                _ => RingFileError::Unwritable { path: path.to_owned(), cause },
            })?;
        Ok(file)
    }

    /// Reads a file to look at it.
    pub(crate) fn read(path: &Path) -> Result<Self, RingFileError> {
        // A file behind a link is changed where it is.
        let unreadable = |cause| RingFileError::Unreadable { path: path.to_owned(), cause };
        let path = fs::canonicalize(path).map_err(unreadable)?;
        let text = Zeroizing::new(fs::read(&path).map_err(unreadable)?);
        // What our services take is a ring; that it can then be taken apart follows.
        KeyRing::from_jwk_set(&text).map_err(|cause| RingFileError::NotARing { path: path.clone(), cause })?;
        let Layout { keys, others } = serde_json::from_slice(&text)
            .map_err(|cause| unreadable(io::Error::new(io::ErrorKind::InvalidData, cause)))?;
        Ok(Self { path, document: others, keys, _lock: None })
    }

    /// Reads a file to change it. Others that want to do the same are refused meanwhile.
    pub(crate) fn open(path: &Path) -> Result<Self, RingFileError> {
        let unreadable = |cause| RingFileError::Unreadable { path: path.to_owned(), cause };
        // The directory is what lasts: the file itself is replaced at each change.
        let target = fs::canonicalize(path).map_err(unreadable)?;
        let lock = File::open(directory_of(&target)).map_err(unreadable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: Some(lock), ..Self::read(path)? }),
            Err(fs::TryLockError::WouldBlock) => Err(RingFileError::Busy { path: path.to_owned() }),
            Err(fs::TryLockError::Error(cause)) => Err(unreadable(cause)),
        }
    }

    /// Puts the ring in the file's place.
    pub(crate) fn save(&self) -> Result<(), RingFileError> {
        self.write(|temporary, path| temporary.persist(path).map(drop).map_err(|failure| failure.error))
            .map_err(|cause| RingFileError::Unwritable { path: self.path.clone(), cause })
    }

    fn write(&self, put: impl FnOnce(tempfile::NamedTempFile, &Path) -> io::Result<()>) -> io::Result<()> {
        let directory = directory_of(&self.path);
        // Such a file is its owner's alone from the moment it is made.
        let mut temporary = tempfile::Builder::new().prefix(".keys.").tempfile_in(directory)?;
        temporary.write_all(self.to_json(&self.keys).as_bytes())?;
        if let Ok(metadata) = fs::metadata(&self.path) {
            // Services that run as somebody else in the same group go on reading it.
            temporary.as_file().set_permissions(metadata.permissions())?;
        }
        temporary.as_file().sync_all()?;
        put(temporary, &self.path)?;
        // The name has to last, too.
        File::open(directory)?.sync_all()
    }

    fn to_json(&self, keys: &[Map<String, Value>]) -> Zeroizing<String> {
        // Maps of strings and numbers: this cannot fail.
        let mut text = serde_json::to_string_pretty(&Written { keys, others: &self.document }).unwrap_or_default();
        text.push('\n');
        Zeroizing::new(text)
    }

    /// The ring as services read it.
    pub(crate) fn ring(&self) -> Result<KeyRing, RingFileError> {
        KeyRing::from_jwk_set(self.to_json(&self.keys).as_bytes())
            .map_err(|cause| RingFileError::NotARing { path: self.path.clone(), cause })
    }

    /// The JWK Set for verifiers that must not be able to issue: the public parts of the key pairs.
    pub(crate) fn public(&self) -> Result<String, RingFileError> {
        let keys: Vec<_> = self
            .keys
            .iter()
            .filter(|key| key.get("kty").and_then(Value::as_str) != Some("oct"))
            .map(|key| {
                let mut public = key.clone();
                public.retain(|name, _| !SECRET_MEMBERS.contains(&name.as_str()) && name != "key_ops");
                public
            })
            .collect();
        if keys.is_empty() {
            return Err(RingFileError::NoKeyPair { path: self.path.clone() });
        }
        Ok(self.to_json(&keys).to_string())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every key: its id, its algorithm, when it was made, and where in its life it is.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &str, Option<u64>, Standing)> {
        self.keys
            .iter()
            .enumerate()
            .map(|(place, key)| (text(key, "kid"), text(key, "alg"), number(key, "iat"), self.standing(place)))
    }

    fn standing(&self, place: usize) -> Standing {
        let key = &self.keys[place];
        let until = number(key, "exp");
        let made = |key| number(key, "iat");
        if !can_sign(key) {
            Standing::Public
        } else if place == 0 {
            Standing::Signing
        } else if until.is_none() && made(key).is_some() && made(key) >= made(&self.keys[0]) {
            Standing::Incoming
        } else {
            Standing::Outgoing { until }
        }
    }

    /// The key that signs.
    pub(crate) fn signing(&self) -> &str {
        text(&self.keys[0], "kid")
    }

    /// The key that is to sign next, if there is one.
    pub(crate) fn incoming(&self) -> Option<&str> {
        let place = (0..self.keys.len()).find(|place| self.standing(*place) == Standing::Incoming)?;
        Some(text(&self.keys[place], "kid"))
    }

    /// Whether a key is in the ring.
    pub(crate) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| text(key, "kid") == kid)
    }

    /// Adds a new key, which verifies and does not sign yet. It is of the signing one's kind unless told.
    pub(crate) fn add(&mut self, algorithm: Option<Algorithm>, now: u64) -> Result<String, RingFileError> {
        let algorithm = algorithm.or_else(|| Algorithm::of(&self.keys[0])).unwrap_or(Algorithm::Hs256);
        // Not before the signing one, even if the clock was put back since: the order of making is what tells them
        // apart.
        let made = now.max(number(&self.keys[0], "iat").unwrap_or(0));
        let key = generate(algorithm, made)?;
        let kid = text(&key, "kid").to_owned();
        self.keys.push(key);
        Ok(kid)
    }

    /// Lets a key sign. The one before it stays, with a note of when the last token that it signed has expired.
    pub(crate) fn promote(&mut self, kid: &str, last_token_expires: u64) -> Result<(), RingFileError> {
        let place = self.place(kid)?;
        let key = self.keys.remove(place);
        if let Some(former) = self.keys.first_mut() {
            former.insert("exp".to_owned(), last_token_expires.into());
        }
        self.keys.insert(0, key);
        Ok(())
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, kid: &str) -> Result<(), RingFileError> {
        let place = self.place(kid)?;
        self.keys.remove(place);
        Ok(())
    }

    /// Where in its life a key is.
    pub(crate) fn standing_of(&self, kid: &str) -> Result<Standing, RingFileError> {
        self.place(kid).map(|place| self.standing(place))
    }

    fn place(&self, kid: &str) -> Result<usize, RingFileError> {
        self.keys
            .iter()
            .position(|key| text(key, "kid") == kid)
            .ok_or_else(|| RingFileError::UnknownKey { path: self.path.clone(), kid: kid.to_owned() })
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> &'a str {
    jwk.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn number(jwk: &Map<String, Value>, member: &str) -> Option<u64> {
    jwk.get(member)?.as_u64()
}

fn can_sign(jwk: &Map<String, Value>) -> bool {
    let allowed = match jwk.get("key_ops").and_then(Value::as_array) {
        Some(operations) => operations.iter().any(|operation| operation == "sign"),
        None => true,
    };
    allowed && (jwk.contains_key("k") || jwk.contains_key("d"))
}

/// An id that says when the key was made, and that is easy to read out: `2026-11-23-7k3m9qf2`.
fn new_key_id(now: u64) -> String {
    let micros = i64::try_from(now).unwrap_or_default().saturating_mul(1_000_000);
    let time = Timestamp::from_micros(micros).to_string();
    let day = time.split_once('T').map_or("", |(day, _)| day);
    format!("{day}-{}", secrets::readable(8).as_str())
}

/// A new key as a JWK. `iat` says when it was made, as the historical keys of `OpenID` Federation have it; verifiers pass it
/// over.
fn generate(algorithm: Algorithm, now: u64) -> Result<Map<String, Value>, ErrorStack> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let mut jwk = match algorithm {
        Algorithm::Hs256 => json!({ "kty": "oct", "alg": "HS256", "k": secrets::random(32).as_str() }),
        Algorithm::EdDsa => {
            let key = PKey::generate_ed25519()?;
            let (x, d) = (key.raw_public_key()?, Zeroizing::new(key.raw_private_key()?));
            json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": encode(&x), "d": encode(&d) })
        }
        Algorithm::Es256 => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            let key = EcKey::generate(&group)?;
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            key.public_key().affine_coordinates(&group, &mut x, &mut y, &mut *BigNumContext::new()?)?;
            // Always 32 octets (RFC 7518, 6.2.1.2 and 6.2.2.1).
            let (x, y) = (x.to_vec_padded(32)?, y.to_vec_padded(32)?);
            let d = Zeroizing::new(key.private_key().to_vec_padded(32)?);
            json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": encode(&x), "y": encode(&y), "d": encode(&d) })
        }
        Algorithm::Rs256 => {
            let key = Rsa::generate(RSA_BITS)?;
            let number =
                |number: Option<&openssl::bn::BigNumRef>| number.map(|number| encode(&Zeroizing::new(number.to_vec())));
            json!({
                "kty": "RSA", "alg": "RS256",
                "n": number(Some(key.n())), "e": number(Some(key.e())), "d": number(Some(key.d())),
                "p": number(key.p()), "q": number(key.q()),
                "dp": number(key.dmp1()), "dq": number(key.dmq1()), "qi": number(key.iqmp()),
            })
        }
    };
    if let Some(members) = jwk.as_object_mut() {
        members.insert("kid".to_owned(), new_key_id(now).into());
        members.insert("use".to_owned(), "sig".into());
        members.insert("iat".to_owned(), now.into());
        return Ok(std::mem::take(members));
    }
    Ok(Map::new())
}

#[cfg(test)]
mod tests {
    use shared_claims::{Claims, Signer, Verifier};

    use super::*;

    const ALL: [Algorithm; 4] = [Algorithm::Hs256, Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];

    fn created(algorithm: Algorithm) -> (tempfile::TempDir, RingFile) {
        let directory = tempfile::tempdir().unwrap();
        RingFile::create(&directory.path().join("keys.json"), algorithm, 1_000).unwrap();
        let file = RingFile::open(&directory.path().join("keys.json")).unwrap();
        (directory, file)
    }

    #[test]
    fn a_key_of_every_kind_signs_and_its_public_part_verifies() {
        for algorithm in ALL {
            let (_directory, file) = created(algorithm);
            let ring = file.ring().unwrap();
            let claims = Claims {
                iss: "i".into(),
                sub: "s".into(),
                aud: vec!["a".into()],
                iat: 1,
                exp: 100,
                jti: "j".into(),
                ..Claims::default()
            };
            let token = Signer::new(&ring).unwrap().sign(&claims).unwrap();
            let public_ring = if algorithm == Algorithm::Hs256 {
                assert!(matches!(file.public().unwrap_err(), RingFileError::NoKeyPair { .. }));
                ring
            } else {
                let public = file.public().unwrap();
                let jwk: Value = serde_json::from_str(&public).unwrap();
                let jwk = jwk["keys"][0].as_object().unwrap();
                assert!(SECRET_MEMBERS.iter().all(|member| !jwk.contains_key(*member)), "{public}");
                let public = KeyRing::from_jwk_set(public.as_bytes()).unwrap();
                assert!(public.check_can_sign().is_err());
                public
            };
            let verifier = Verifier::builder(public_ring).issuer("i").audience("a").build().unwrap();
            assert_eq!(verifier.verify_at(&token, 50).unwrap().sub, "s", "{algorithm:?}");
        }
    }

    #[test]
    fn only_its_owner_may_read_a_new_file_and_one_that_is_there_is_left_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (directory, file) = created(Algorithm::Hs256);
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let again = RingFile::create(file.path(), Algorithm::Hs256, 1).unwrap_err();
        assert!(matches!(again, RingFileError::Exists { .. }), "{again}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_key_goes_from_incoming_to_signing_to_outgoing() {
        let (_directory, mut file) = created(Algorithm::Hs256);
        let first = file.signing().to_owned();
        assert_eq!(file.incoming(), None);
        // Within the same second, or with a clock that was put back.
        let second = file.add(None, 10).unwrap();
        assert_eq!((file.signing(), file.incoming()), (first.as_str(), Some(second.as_str())));
        file.promote(&second, 5_000).unwrap();
        assert_eq!((file.signing(), file.incoming()), (second.as_str(), None));
        assert_eq!(file.standing_of(&first).unwrap(), Standing::Outgoing { until: Some(5_000) });
        file.save().unwrap();
        let path = file.path().to_owned();
        drop(file);
        let read = RingFile::read(&path).unwrap();
        assert_eq!(read.keys().map(|(kid, ..)| kid).collect::<Vec<_>>(), [second.as_str(), &first]);
        assert_eq!(read.standing_of(&first).unwrap(), Standing::Outgoing { until: Some(5_000) });
    }

    #[test]
    fn what_we_do_not_know_of_is_kept_and_so_are_the_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_directory, file) = created(Algorithm::Hs256);
        let path = file.path().to_owned();
        drop(file);
        let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        value["note"] = "ours".into();
        value["keys"][0]["x-team"] = "red".into();
        fs::write(&path, value.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut file = RingFile::open(&path).unwrap();
        file.add(Some(Algorithm::EdDsa), 2_000).unwrap();
        file.save().unwrap();
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&value["note"], &value["keys"][0]["x-team"]), (&"ours".into(), &"red".into()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn one_operator_at_a_time_changes_a_file_and_a_link_is_followed() {
        let (directory, file) = created(Algorithm::Hs256);
        let link = directory.path().join("link.json");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        assert!(matches!(RingFile::open(&link).unwrap_err(), RingFileError::Busy { .. }));
        RingFile::read(&link).unwrap();
        drop(file);
        let mut file = RingFile::open(&link).unwrap();
        file.add(None, 2_000).unwrap();
        file.save().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(RingFile::read(&link).unwrap().keys().count(), 2);
    }

    #[test]
    fn no_error_shows_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        for damage in [r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"a","k":"half-of-a-secr"#, "{}", "[]", ""] {
            fs::write(&path, damage).unwrap();
            let message = RingFile::open(&path).unwrap_err().to_string();
            assert!(message.contains("keys.json") && !message.contains("half-of"), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
