//! Secrets that the program makes: random values from the operating system, and the file in the data directory that
//! keeps those of a stack.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use serde::Deserialize;
use service_kit::{Secret, config::optional_secret};
use zeroize::Zeroizing;

use crate::data_dir;

/// The file's name in the data directory.
const FILE_NAME: &str = "secrets.toml";

/// Random bytes in each secret of the file.
const SECRET_BYTES: usize = 32;

/// Crockford's alphabet in lower case: no `i`, `l`, `o` or `u` to be mistaken for something else.
const READABLE: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// That many random bytes, as base64url without padding.
pub(crate) fn random(bytes: usize) -> Zeroizing<String> {
    let mut buffer = Zeroizing::new(vec![0; bytes]);
    fill(&mut buffer);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(&*buffer))
}

/// A password of 125 random bits that can be read out and typed: five groups of five letters and digits.
pub(crate) fn readable_password() -> Zeroizing<String> {
    let characters = readable(25);
    let mut password = Zeroizing::new(String::with_capacity(29));
    for (place, character) in characters.chars().enumerate() {
        if place > 0 && place % 5 == 0 {
            password.push('-');
        }
        password.push(character);
    }
    password
}

/// That many random letters and digits, of five bits each.
pub(crate) fn readable(characters: usize) -> Zeroizing<String> {
    let mut buffer = Zeroizing::new(vec![0; characters]);
    fill(&mut buffer);
    Zeroizing::new(buffer.iter().map(|byte| char::from(READABLE[usize::from(byte % 32)])).collect())
}

/// Fills the buffer from the operating system.
///
/// # Panics
///
/// If the operating system has no random numbers to give: nothing that is safe could follow.
fn fill(buffer: &mut [u8]) {
    if let Err(cause) = SysRng.try_fill_bytes(buffer) {
        panic!("the operating system gives no random numbers: {cause}");
    }
}

/// Which secrets a stack needs from the file, because the configuration does not hold them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) refresh: bool,
    pub(crate) pepper: bool,
}

impl Wanted {
    pub(crate) fn any(self) -> bool {
        self.refresh || self.pepper
    }
}

/// The secrets that the file holds.
#[derive(Debug, Default)]
pub(crate) struct StoredSecrets {
    /// Stacks begun before there was a ring in a file of its own have a common secret here.
    pub(crate) tokens: Option<Secret>,
    pub(crate) refresh: Option<Secret>,
    pub(crate) pepper: Option<Secret>,
}

/// Why the file cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("{} cannot be written: {cause}", path.display())]
    Unwritable { path: PathBuf, cause: io::Error },
    #[error("{} may be read by others: run chmod 600 on it", path.display())]
    Exposed { path: PathBuf },
    #[error("{} is damaged ({problem}): restore it from a backup", path.display())]
    Damaged { path: PathBuf, problem: String },
}

/// `secrets.toml` in a data directory.
#[derive(Debug)]
pub(crate) struct SecretsFile(PathBuf);

impl SecretsFile {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self(directory.join(FILE_NAME))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The secrets in the file, or `None` where there is no file.
    pub(crate) fn read(&self) -> Result<Option<StoredSecrets>, SecretsError> {
        let unreadable = |cause| SecretsError::Unreadable { path: self.0.clone(), cause };
        match fs::metadata(&self.0) {
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(unreadable(cause)),
        }
        if data_dir::is_exposed(&self.0) {
            return Err(SecretsError::Exposed { path: self.0.clone() });
        }
        let text = Zeroizing::new(fs::read_to_string(&self.0).map_err(unreadable)?);
        let layout: Layout = toml::from_str(&text)
            // Its message quotes no value, unlike its Display, which shows the line.
            .map_err(|cause| SecretsError::Damaged { path: self.0.clone(), problem: first_line(cause.message()) })?;
        Ok(Some(StoredSecrets {
            tokens: layout.tokens.secret,
            refresh: layout.refresh.secret,
            pepper: layout.passwords.pepper,
        }))
    }

    /// Makes the secrets that are wanted and writes them to a new file that only its owner may read. The file is there
    /// whole or not at all, and one that is there already is left alone.
    pub(crate) fn make(&self, wanted: Wanted) -> Result<StoredSecrets, SecretsError> {
        let made = |wanted: bool| wanted.then(|| random(SECRET_BYTES));
        let (refresh, pepper) = (made(wanted.refresh), made(wanted.pepper));
        let mut text = Zeroizing::new(String::with_capacity(1024));
        text.push_str(
            "# The secrets of this stack, made at its first start. Keep the file private, and keep a copy of it:\n\
             # without the pepper no password can be checked any more.\n",
        );
        for (section, key, value) in [("refresh", "secret", &refresh), ("passwords", "pepper", &pepper)] {
            if let Some(value) = value {
                for part in ["\n[", section, "]\n", key, " = \"", value, "\"\n"] {
                    text.push_str(part);
                }
            }
        }
        self.write(text.as_bytes()).map_err(|cause| SecretsError::Unwritable { path: self.0.clone(), cause })?;
        let secret = |value: Option<Zeroizing<String>>| value.map(|value| Secret::from(value.as_str().to_owned()));
        Ok(StoredSecrets { tokens: None, refresh: secret(refresh), pepper: secret(pepper) })
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let directory = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Such a file is its owner's alone from the moment it is made.
        let mut file = tempfile::Builder::new().prefix(".secrets.").tempfile_in(directory)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&self.0)?;
        // The name has to last, too.
        fs::File::open(directory)?.sync_all()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Layout {
    tokens: SecretSection,
    refresh: SecretSection,
    passwords: PepperSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretSection {
    #[serde(default, deserialize_with = "optional_secret")]
    secret: Option<Secret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PepperSection {
    #[serde(default, deserialize_with = "optional_secret")]
    pepper: Option<Secret>,
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

    use shared_claims::KeyRing;

    use super::*;

    const ALL: Wanted = Wanted { refresh: true, pepper: true };

    #[test]
    fn a_random_secret_is_base64url_of_as_many_bytes_and_never_the_same() {
        let secrets: BTreeSet<String> = (0..100).map(|_| random(32).to_string()).collect();
        assert_eq!(secrets.len(), 100);
        for secret in &secrets {
            assert_eq!(URL_SAFE_NO_PAD.decode(secret).unwrap().len(), 32);
            KeyRing::from_secret(secret.as_bytes()).unwrap();
        }
        assert_eq!(URL_SAFE_NO_PAD.decode(random(48).as_str()).unwrap().len(), 48);
    }

    #[test]
    fn a_readable_password_has_five_groups_of_five_and_uses_the_whole_alphabet() {
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            let password = readable_password();
            let groups: Vec<&str> = password.split('-').collect();
            assert_eq!(groups.len(), 5);
            assert!(groups.iter().all(|group| group.len() == 5));
            seen.extend(password.bytes().filter(|byte| *byte != b'-'));
        }
        assert_eq!(seen, READABLE.iter().copied().collect());
    }

    #[test]
    fn the_file_gives_back_what_was_made_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = SecretsFile::in_directory(directory.path());
        assert!(file.read().unwrap().is_none());
        let made = file.make(ALL).unwrap();
        let read = file.read().unwrap().unwrap();
        for (made, read) in [(&made.refresh, &read.refresh), (&made.pepper, &read.pepper)] {
            assert_eq!(made.as_ref().unwrap().expose(), read.as_ref().unwrap().expose());
        }
        assert_ne!(read.pepper.unwrap().expose(), read.refresh.unwrap().expose());
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secrets.toml"]);
    }

    #[test]
    fn only_what_is_wanted_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = SecretsFile::in_directory(directory.path());
        let made = file.make(Wanted { refresh: false, ..ALL }).unwrap();
        assert!(made.refresh.is_none() && made.pepper.is_some());
        assert!(file.read().unwrap().unwrap().refresh.is_none());
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = SecretsFile::in_directory(directory.path());
        let first = file.make(ALL).unwrap();
        assert!(matches!(file.make(ALL), Err(SecretsError::Unwritable { .. })));
        let read = file.read().unwrap().unwrap();
        assert_eq!(first.refresh.unwrap().expose(), read.refresh.unwrap().expose());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_and_so_is_a_damaged_one_without_showing_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = SecretsFile::in_directory(directory.path());
        file.make(ALL).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(file.read().unwrap_err().to_string().contains("chmod 600"));

        for damage in ["[tokens]\nsecret = \"half-of-a-secr", "[tokens]\nsecret = [\"half-of-a-secr\"]", "[toke]\n"] {
            fs::write(file.path(), damage).unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
            let message = file.read().unwrap_err().to_string();
            assert!(message.contains("is damaged") && !message.contains("half-of"), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
