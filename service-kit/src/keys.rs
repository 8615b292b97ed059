//! The keys of a service: read at the start, and again whenever their file changes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::rt::task::spawn_blocking;
use shared_claims::{KeyRing, LiveKeyRing, Signer};
use zeroize::Zeroizing;

use crate::{Secret, config::ConfigError, server::Shutdown};

/// How often the file is read. It is a few kilobytes, and what it says is compared, not its date: Kubernetes swaps a
/// symbolic link, editors rename, and either may leave a date in the past.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a service does with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Issues tokens: the first key must be able to sign, now and later.
    Sign,
    /// Only takes tokens, so public keys are enough. If the ring can sign at the start it must go on to.
    Verify,
}

/// The ring of keys of a service, kept as its file has it. Clones share it.
#[derive(Clone, Debug)]
pub struct Keys {
    ring: LiveKeyRing,
    file: Option<Arc<KeyFile>>,
}

#[derive(Debug)]
struct KeyFile {
    path: PathBuf,
    signs: bool,
    state: Mutex<FileState>,
}

/// What the file held when it was last looked at.
struct FileState {
    content: Zeroizing<Vec<u8>>,
    /// `None` while content that cannot be taken has been seen once only: it may be half written.
    verdict: Option<Result<(), String>>,
}

impl std::fmt::Debug for FileState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileState").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

impl Keys {
    /// The ring that the configuration names: one common secret, or a JWK Set file.
    pub fn load(secret: Option<&Secret>, jwks_file: Option<&Path>, key_use: KeyUse) -> Result<Self, ConfigError> {
        let (ring, path, content) = match (secret, jwks_file) {
            (Some(secret), None) => {
                let ring = KeyRing::from_secret(secret.expose().as_bytes())
                    .map_err(|cause| ConfigError::new("tokens.secret", format_args!("cannot be taken: {cause}")))?;
                (ring, None, Zeroizing::default())
            }
            (None, Some(path)) => {
                let content =
                    read(path).map_err(|cause| ConfigError::new("tokens.jwks_file", format_args!("names {cause}")))?;
                let ring = parse(path, &content)
                    .map_err(|cause| ConfigError::new("tokens.jwks_file", format_args!("names {cause}")))?;
                (ring, Some(path), content)
            }
            (Some(_), Some(_)) => {
                let problem = "and tokens.secret are both set: keep one of them";
                return Err(ConfigError::new("tokens.jwks_file", problem));
            }
            (None, None) => {
                return Err(ConfigError::new(
                    "tokens.secret",
                    "must be set: at least 32 bytes, the same for every service; `signet secret generate` makes one",
                ));
            }
        };
        let can_sign = ring.check_can_sign();
        if key_use == KeyUse::Sign
            && let Err(cause) = &can_sign
        {
            let key = if path.is_some() { "tokens.jwks_file" } else { "tokens.secret" };
            return Err(ConfigError::new(key, format_args!("cannot sign: {cause}")));
        }
        Ok(Self {
            ring: LiveKeyRing::new(ring),
            file: path.map(|path| {
                Arc::new(KeyFile {
                    path: path.to_owned(),
                    signs: can_sign.is_ok(),
                    state: Mutex::new(FileState { content, verdict: Some(Ok(())) }),
                })
            }),
        })
    }

    /// The ring, which changes when the file does.
    pub fn ring(&self) -> &LiveKeyRing {
        &self.ring
    }

    /// Signs with the ring's first key; nothing if the ring holds public keys only.
    pub fn signer(&self) -> Option<Signer> {
        Signer::live(&self.ring).ok()
    }

    /// Why the file, as it is now, was not taken up; the ring before it is in use.
    pub fn refusal(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        file.state().verdict.as_ref()?.as_ref().err().cloned()
    }

    /// Takes up changes of the file until the service stops.
    pub async fn watch(self, shutdown: Shutdown) {
        self.watch_and_tell(shutdown, |_| std::future::ready(())).await;
    }

    /// The same, and tells of each change: the ids of the keys, the one that signs first.
    pub async fn watch_and_tell<F: Future<Output = ()>>(
        self,
        mut shutdown: Shutdown,
        changed: impl Fn(Vec<String>) -> F,
    ) {
        if self.file.is_none() {
            return;
        }
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let keys = self.clone();
            match spawn_blocking(move || keys.look()).await {
                Ok(true) => changed(self.ring.current().key_ids().map(str::to_owned).collect()).await,
                Ok(false) => {}
                Err(_) => log::error!("the key file could not be looked at: the task panicked"),
            }
        }
    }

    /// Reads the file, and replaces the ring if it is another one. Says whether it was.
    ///
    /// What cannot be taken is refused when it has been seen twice, so that a file being written is not complained of.
    pub fn look(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let mut state = file.state();
        let read = read(&file.path);
        // A file that cannot be read looks like an empty one, which is no key ring either.
        let content = read.as_ref().map(|content| content.as_slice()).unwrap_or_default();
        let seen_before = content == state.content.as_slice();
        if seen_before && state.verdict.is_some() {
            return false;
        }
        let mut changed = false;
        match read.as_ref().map_err(Clone::clone).and_then(|content| file.ring(content)) {
            Ok(ring) => {
                let kids: Vec<_> = ring.key_ids().collect();
                log::info!("{} changed: tokens are verified with the keys {}", file.path.display(), kids.join(", "));
                self.ring.replace(ring);
                state.verdict = Some(Ok(()));
                changed = true;
            }
            Err(cause) if seen_before => {
                log::error!("{cause}; the keys that were read before stay in use");
                state.verdict = Some(Err(cause));
            }
            Err(_) => state.verdict = None,
        }
        state.content = read.unwrap_or_default();
        changed
    }
}

impl KeyFile {
    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, content: &[u8]) -> Result<KeyRing, String> {
        let ring = parse(&self.path, content)?;
        if self.signs {
            ring.check_can_sign().map_err(|cause| format!("{}: {cause}", self.path.display()))?;
        }
        Ok(ring)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    fs::read(path).map(Zeroizing::new).map_err(|cause| format!("{}, which cannot be read: {cause}", path.display()))
}

fn parse(path: &Path, content: &[u8]) -> Result<KeyRing, String> {
    KeyRing::from_jwk_set(content).map_err(|cause| format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str =
        r#"{"kty":"oct","alg":"HS256","kid":"first","k":"pU3KGCUwux1tEyze1iN7LtkeP3IfyxlxF0SU1kk8nVw"}"#;
    const SECOND: &str =
        r#"{"kty":"oct","alg":"HS256","kid":"second","k":"NGC-MSAeaf7aoO7ouZl_XHwpmf2v5ZMlPNZUr0361xQ"}"#;
    const VERIFIES: &str = r#"{"kty":"oct","alg":"HS256","kid":"third","key_ops":["verify"],"k":"J6Cus_7pIy-K8iEfnuSRxbEL7LVWO_web5NCfsvI_ik"}"#;

    fn set(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    fn kids(keys: &Keys) -> Vec<String> {
        keys.ring().current().key_ids().map(str::to_owned).collect()
    }

    fn in_file(content: &str) -> (tempfile::TempDir, PathBuf, Keys) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        fs::write(&path, content).unwrap();
        let keys = Keys::load(None, Some(&path), KeyUse::Sign).unwrap();
        (directory, path, keys)
    }

    #[test]
    fn a_file_that_was_renamed_into_place_or_written_anew_is_taken_up() {
        let (directory, path, keys) = in_file(&set(&[FIRST]));
        assert_eq!(kids(&keys), ["first"]);
        let other = directory.path().join("other");
        fs::write(&other, set(&[FIRST, SECOND])).unwrap();
        fs::rename(&other, &path).unwrap();
        keys.look();
        assert_eq!(kids(&keys), ["first", "second"]);
        fs::write(&path, set(&[SECOND])).unwrap();
        keys.look();
        assert_eq!(kids(&keys), ["second"]);
        assert_eq!(keys.refusal(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_that_is_swapped_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        for (folder, key) in [("1", FIRST), ("2", SECOND)] {
            fs::create_dir(directory.path().join(folder)).unwrap();
            fs::write(directory.path().join(folder).join("keys.json"), set(&[key])).unwrap();
        }
        // As Kubernetes mounts a Secret: the file is a link into ..data, which is a link to the newest folder.
        let data = directory.path().join("..data");
        std::os::unix::fs::symlink("1", &data).unwrap();
        let path = directory.path().join("keys.json");
        std::os::unix::fs::symlink("..data/keys.json", &path).unwrap();
        let keys = Keys::load(None, Some(&path), KeyUse::Sign).unwrap();
        let swap = directory.path().join("..data_tmp");
        std::os::unix::fs::symlink("2", &swap).unwrap();
        fs::rename(&swap, &data).unwrap();
        keys.look();
        assert_eq!(kids(&keys), ["second"]);
    }

    #[test]
    fn what_cannot_be_taken_is_refused_at_the_second_look_and_the_ring_stays() {
        let (_directory, path, keys) = in_file(&set(&[FIRST]));
        let unreadable = path.with_extension("away");
        for (bad, complaint) in [
            (Some("{\"keys\":[".to_owned()), "not a well-formed JWK Set"),
            (Some(String::new()), "not a well-formed JWK Set"),
            (Some(set(&[])), "no keys"),
            (Some(set(&[VERIFIES, FIRST])), "does not allow"),
            (None, "cannot be read"),
        ] {
            match &bad {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::rename(&path, &unreadable).unwrap(),
            }
            keys.look();
            assert_eq!(keys.refusal(), None, "it may still be being written: {bad:?}");
            keys.look();
            let refusal = keys.refusal().unwrap();
            assert!(refusal.contains(complaint) && refusal.contains("keys.json"), "{refusal}");
            assert_eq!(kids(&keys), ["first"]);

            fs::write(&path, set(&[FIRST])).unwrap();
            keys.look();
            assert_eq!(keys.refusal(), None, "after {bad:?}");
        }
    }

    #[test]
    fn a_service_that_issues_needs_a_key_that_signs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        fs::write(&path, set(&[VERIFIES])).unwrap();
        let refusal = Keys::load(None, Some(&path), KeyUse::Sign).unwrap_err();
        assert!(refusal.to_string().contains("tokens.jwks_file cannot sign"), "{refusal}");
        let keys = Keys::load(None, Some(&path), KeyUse::Verify).unwrap();
        assert!(keys.signer().is_none());
    }
}
