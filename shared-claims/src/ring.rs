//! A key ring that is replaced while it is in use.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::key::KeyRing;

/// A key ring that can be replaced while tokens are signed and verified with it. Clones share it.
///
/// Whoever reads it sees the old ring or the new one, whole, and never waits. A token that is being checked is checked
/// to the end with the ring that it began with.
///
/// ```
/// use shared_claims::{KeyRing, LiveKeyRing, Verifier};
///
/// let ring = LiveKeyRing::new(KeyRing::from_secret(b"9w*Tq4!mZr7#Kc2$Vn8@Lx5%Jd1^Hg6&")?);
/// let verifier = Verifier::builder(ring.clone()).issuer("https://id.example").audience("greeter").build()?;
/// // From now on the verifier takes tokens of the other key, and none of the first.
/// ring.replace(KeyRing::from_secret(b"Zk3&Wd9^Rf6%Bt1$Mp8@Xs5!Cq2*Ln7#")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LiveKeyRing(Arc<Shared>);

struct Shared {
    ring: ArcSwap<KeyRing>,
    /// Tells those who name the keys to others.
    #[cfg(feature = "feed")]
    replaced: tokio::sync::watch::Sender<()>,
}

impl LiveKeyRing {
    /// Begins with this ring.
    pub fn new(ring: KeyRing) -> Self {
        Self(Arc::new(Shared {
            ring: ArcSwap::from_pointee(ring),
            #[cfg(feature = "feed")]
            replaced: tokio::sync::watch::Sender::new(()),
        }))
    }

    /// Puts another ring in its place, for everybody who holds a clone.
    pub fn replace(&self, ring: KeyRing) {
        self.0.ring.store(Arc::new(ring));
        #[cfg(feature = "feed")]
        self.0.replaced.send_replace(());
    }

    /// The ring as it is now.
    pub fn current(&self) -> KeyRing {
        KeyRing::clone(&self.load())
    }

    /// The ring as it is now, without touching its reference count.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<KeyRing>> {
        self.0.ring.load()
    }

    /// Sees a change whenever the ring is replaced.
    #[cfg(feature = "feed")]
    pub(crate) fn replacements(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.replaced.subscribe()
    }
}

impl From<KeyRing> for LiveKeyRing {
    fn from(ring: KeyRing) -> Self {
        Self::new(ring)
    }
}

impl fmt::Debug for LiveKeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}
