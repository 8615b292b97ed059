//! What it costs to sign and to verify a token, and to look it up among revocations.
//!
//! `cargo bench -p shared-claims --features feed --bench verify`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking, and its macros make undocumented items"
)]

mod token;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use shared_claims::feed::{Entry, Revocation, RevocationList};
use shared_claims::{KeyRing, Signer, Verifier};

use self::token::{AUDIENCE, ISSUER, NOW, SECRET};

/// Signet on a token of 340 bytes with nine claims, with every check there is and a list of revocations; beside it the
/// crate jsonwebtoken with its defaults on the same token.
fn verify(criterion: &mut Criterion) {
    let ring = KeyRing::from_secret(SECRET).unwrap();
    let signer = Signer::new(&ring).unwrap();
    let list = RevocationList::new();
    list.apply(&[Entry { seq: 1, revocation: Revocation::Session { sid: "gone".to_owned() }, until: NOW + 1000 }]);
    let verifier = Verifier::builder(ring).issuer(ISSUER).audience(AUDIENCE).revocations(list).build().unwrap();

    let mut group = criterion.benchmark_group("verify");
    let short = signer.sign(&token::short()).unwrap();
    assert!((335..=345).contains(&short.len()), "{}", short.len());
    group.bench_function("hs256", |bencher| {
        bencher.iter(|| verifier.verify_at(black_box(&short), black_box(NOW)).unwrap());
    });
    let key = DecodingKey::from_secret(SECRET);
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_exp = false;
    group.bench_function("jsonwebtoken", |bencher| {
        bencher.iter(|| jsonwebtoken::decode::<Same>(black_box(&short), &key, &validation).unwrap().claims);
    });
    let issued = signer.sign(&token::issued()).unwrap();
    group.bench_function("as issued", |bencher| {
        bencher.iter(|| verifier.verify_at(black_box(&issued), black_box(NOW)).unwrap());
    });
    group.finish();
}

/// The claims of the short token, as a service would declare them.
#[derive(Deserialize)]
#[expect(dead_code, reason = "what is read is not looked at")]
struct Same {
    iss: String,
    sub: String,
    aud: Vec<String>,
    iat: u64,
    exp: u64,
    jti: String,
    sid: String,
    scope: String,
    ver: u64,
}

fn sign(criterion: &mut Criterion) {
    let signer = Signer::new(&KeyRing::from_secret(SECRET).unwrap()).unwrap();
    let claims = token::issued();
    criterion.bench_function("sign/hs256", |bencher| bencher.iter(|| signer.sign(black_box(&claims)).unwrap()));
}

/// One token looked up among 100,000 revocations that do not name it.
fn look_up(criterion: &mut Criterion) {
    let list = RevocationList::new();
    let entries: Vec<Entry> = (0..100_000)
        .map(|seq| Entry { seq, revocation: Revocation::Session { sid: format!("session-{seq}") }, until: NOW + 1000 })
        .collect();
    list.apply(&entries);
    let claims = token::issued();
    criterion.bench_function("look up among 100,000 revocations", |bencher| {
        bencher.iter(|| list.revokes(black_box(&claims), "main"));
    });
}

criterion_group!(benches, verify, sign, look_up);
criterion_main!(benches);
