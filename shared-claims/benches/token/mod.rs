//! The tokens that benchmarks are made with.

use shared_claims::Claims;

pub(crate) const SECRET: &[u8] = b"kPz3vN8qWb5xTy1mRc7dGf2hJs9uLe4a";
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "api";
pub(crate) const NOW: u64 = 1_800_000_000;

/// Nine claims, 340 bytes.
pub(crate) fn short() -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: "b1946ac92492".to_owned(),
        aud: vec![AUDIENCE.to_owned()],
        iat: NOW,
        exp: NOW + 900,
        jti: "7c6235c2ebf9".to_owned(),
        sid: Some("591785b79460".to_owned()),
        scope: "persons:read".to_owned(),
        ver: Some(3),
        ..Claims::default()
    }
}

/// A user's token as auth-service issues it.
pub(crate) fn issued() -> Claims {
    Claims {
        sub: "0195e2a4-7c1b-7b6e-9d53-2f1c8a9e4b70".to_owned(),
        aud: vec![AUDIENCE.to_owned(), "user-service".to_owned(), "resource-service".to_owned()],
        jti: "0195e2a4-7c1b-7b6e-9d53-31a0d4f7c2e8".to_owned(),
        sid: Some("0195e2a4-7c1b-7b6e-9d53-1e8b5c6d7f90".to_owned()),
        scope: "persons:read persons:write".to_owned(),
        roles: vec!["editor".to_owned()],
        amr: vec!["pwd".to_owned()],
        auth_time: Some(NOW),
        ..short()
    }
}
