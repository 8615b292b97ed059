//! Tokens that are refused because they were revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use shared_claims::feed::{Entry, Feed, Revocation, RevocationList, WhenStale};
use shared_claims::{Claims, ErrorKind, Verifier, VerifierBuilder, VerifierBuilderError};

use crate::helpers::{AUDIENCE, ISSUER, NOW, claims, kid, ring, signer};

fn entry(seq: u64, revocation: Revocation) -> Entry {
    Entry { seq, revocation, until: NOW + 1_000 }
}

fn session(sid: &str) -> Revocation {
    Revocation::Session { sid: sid.to_owned() }
}

fn user(sub: &str, min_ver: u64) -> Revocation {
    Revocation::User { sub: sub.to_owned(), min_ver }
}

fn verifier(list: &RevocationList) -> Verifier {
    Verifier::builder(ring())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(Arc::new(|| NOW))
        .revocations(list.clone())
        .build()
        .unwrap()
}

#[test]
fn each_kind_revokes_the_tokens_that_it_names_and_no_others() {
    let token = Claims { sid: Some("s1".into()), ver: Some(3), jti: "j1".into(), iat: NOW - 10, ..claims() };
    let sub = token.sub.clone();
    let client = Claims { client_id: Some("c".into()), sid: None, ver: None, ..token.clone() };
    let unversioned = Claims { ver: None, ..token.clone() };
    for (revocation, of_user, of_client, of_unversioned) in [
        (session("s1"), true, false, true),
        (session("s2"), false, false, false),
        (user(&sub, 3), false, false, true),
        (user(&sub, 4), true, false, true),
        (user("somebody else", 9), false, false, false),
        (Revocation::Token { jti: "j1".into() }, true, true, true),
        (Revocation::Token { jti: "s1".into() }, false, false, false),
        (Revocation::Key { kid: kid() }, true, true, true),
        (Revocation::Key { kid: "another".into() }, false, false, false),
        (Revocation::All { issued_before: NOW - 10 }, false, false, false),
        (Revocation::All { issued_before: NOW - 9 }, true, true, true),
        (Revocation::Unknown, false, false, false),
    ] {
        let list = RevocationList::new();
        list.apply(&[entry(1, revocation.clone())]);
        let verifier = verifier(&list);
        for (claims, revoked) in [(&token, of_user), (&client, of_client), (&unversioned, of_unversioned)] {
            let outcome = verifier.verify(&signer().sign(claims).unwrap());
            assert_eq!(outcome.is_err(), revoked, "{revocation:?}");
            if let Err(error) = outcome {
                assert_eq!((error.kind(), error.code()), (ErrorKind::Revoked, "token_revoked"));
            }
        }
    }
}

#[test]
fn a_token_that_has_expired_is_still_called_expired() {
    let list = RevocationList::new();
    list.apply(&[entry(1, session("s1"))]);
    let expired = Claims { sid: Some("s1".into()), iat: NOW - 1_000, exp: NOW - 100, ..claims() };
    let error = verifier(&list).verify(&signer().sign(&expired).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
}

#[test]
fn another_epoch_replaces_what_was_known_and_the_same_one_adds_to_it() {
    let list = RevocationList::new();
    let feed = |epoch: &str, seq, entries: Vec<Entry>| Feed { epoch: epoch.into(), seq, entries };
    let revokes = |sid: &str| list.revokes(&Claims { sid: Some(sid.into()), ..claims() }, "k");
    list.take_up(&feed("a", 1, vec![entry(1, session("s1"))]));
    list.take_up(&feed("a", 2, vec![entry(2, session("s2"))]));
    assert!(revokes("s1") && revokes("s2"));
    list.take_up(&feed("b", 1, vec![entry(1, session("s3"))]));
    assert!(!revokes("s1") && !revokes("s2") && revokes("s3"));
    let status = list.status();
    assert_eq!((status.entries, status.epoch.as_deref(), status.seq), (1, Some("b"), 1));
}

#[test]
fn a_stale_list_is_put_up_with_or_not() {
    let time = Arc::new(AtomicU64::new(0));
    let clock = time.clone();
    let list =
        RevocationList::with_monotonic_clock(Arc::new(move || Duration::from_secs(clock.load(Ordering::SeqCst))));
    let build = |when_stale| {
        Verifier::builder(ring())
            .issuer(ISSUER)
            .audience(AUDIENCE)
            .clock(Arc::new(|| NOW))
            .revocations(list.clone())
            .when_stale(when_stale)
            .stale_after_seconds(5)
            .build()
            .unwrap()
    };
    let (allows, refuses) = (build(WhenStale::Allow), build(WhenStale::Refuse));
    let token = signer().sign(&claims()).unwrap();
    let outcome = || refuses.verify(&token).map(drop).map_err(|error| (error.kind(), error.code()));
    let stale = Err((ErrorKind::Stale, "dependency_unavailable"));

    assert_eq!(outcome(), stale, "nothing was heard yet");
    list.contacted("a", 0);
    assert_eq!(outcome(), Ok(()));
    time.store(5, Ordering::SeqCst);
    assert_eq!(outcome(), Ok(()));
    time.store(6, Ordering::SeqCst);
    assert_eq!(outcome(), stale);
    allows.verify(&token).unwrap();
    assert_eq!(list.age(), Some(Duration::from_secs(6)));
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(u8, u8)>),
    Replace(Vec<(u8, u8)>),
    Expire(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let entries = || proptest::collection::vec((any::<u8>(), any::<u8>()), 0..40);
    let step = prop_oneof![
        entries().prop_map(Step::Apply),
        entries().prop_map(Step::Replace),
        any::<u8>().prop_map(Step::Expire)
    ];
    proptest::collection::vec(step, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_list_revokes_what_a_plain_map_would(steps in steps()) {
        let list = RevocationList::new();
        let mut model = std::collections::HashMap::<u8, u64>::new();
        let entries = |pairs: &[(u8, u8)]| -> Vec<Entry> {
            pairs
                .iter()
                .map(|(sid, until)| Entry { seq: 1, revocation: session(&sid.to_string()), until: u64::from(*until) })
                .collect()
        };
        for step in steps {
            match step {
                Step::Apply(pairs) => {
                    list.apply(&entries(&pairs));
                    for (sid, until) in pairs {
                        let held = model.entry(sid).or_default();
                        *held = (*held).max(u64::from(until));
                    }
                }
                Step::Replace(pairs) => {
                    list.replace(&entries(&pairs));
                    model.clear();
                    for (sid, until) in pairs {
                        let held = model.entry(sid).or_default();
                        *held = (*held).max(u64::from(until));
                    }
                }
                Step::Expire(now) => {
                    list.expire(u64::from(now));
                    model.retain(|_, until| *until > u64::from(now));
                }
            }
            prop_assert_eq!(list.len(), model.len());
            for sid in 0..=u8::MAX {
                let claims = Claims { sid: Some(sid.to_string()), ..Claims::default() };
                prop_assert_eq!(list.revokes(&claims, "k"), model.contains_key(&sid));
            }
        }
    }
}

#[test]
fn a_hundred_thousand_entries_are_all_found_while_others_ask() {
    let list = RevocationList::new();
    let name = |number: u64| format!("session-{number}");
    let asking = list.clone();
    let stop = Arc::new(AtomicU64::new(0));
    let stopped = stop.clone();
    list.apply(&[entry(1, session("first"))]);
    let reader = std::thread::spawn(move || {
        let first = Claims { sid: Some("first".into()), ..Claims::default() };
        let mut asked = 0_u64;
        while stopped.load(Ordering::Relaxed) == 0 || asked == 0 {
            assert!(asking.revokes(&first, "k"), "what is held is never missed, however the list grows");
            asked += 1;
        }
    });
    for chunk in (0..100_000_u64).collect::<Vec<_>>().chunks(1_000) {
        list.apply(&chunk.iter().map(|number| entry(*number, session(&name(*number)))).collect::<Vec<_>>());
    }
    stop.store(1, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(list.len(), 100_001);
    for number in 0..100_000 {
        assert!(list.revokes(&Claims { sid: Some(name(number)), ..Claims::default() }, "k"));
    }
    for number in 100_000..120_000 {
        assert!(!list.revokes(&Claims { sid: Some(name(number)), ..Claims::default() }, "k"));
    }
}

#[test]
fn the_feed_is_read_as_it_is_written_and_unknown_kinds_are_passed_over() {
    let text = r#"{"epoch":"e","seq":6,"entries":[
        {"seq":1,"kind":"session","sid":"s","until":9},{"seq":2,"kind":"user","sub":"u","min_ver":3,"until":9},
        {"seq":3,"kind":"token","jti":"j","until":9},{"seq":4,"kind":"key","kid":"k","until":9},
        {"seq":5,"kind":"all","issued_before":7,"until":9},{"seq":6,"kind":"tenant","tenant":"t","until":9}]}"#;
    let feed: Feed = serde_json::from_str(text).unwrap();
    assert_eq!(feed.entries[5].revocation, Revocation::Unknown);
    let written: serde_json::Value = serde_json::to_value(&feed).unwrap();
    let read: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(written["entries"].as_array().unwrap()[..5], read["entries"].as_array().unwrap()[..5]);
    assert_eq!((&written["epoch"], &written["seq"]), (&read["epoch"], &read["seq"]));
}

/// Names short and long, some of which differ in the middle alone.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,2}",
        "[ab]{2}".prop_map(|middle| format!("the-start-is-{middle}-the-same-and-so-is-the-end")),
        "[ab]{2}".prop_map(|end| format!("0190b5c2-1d2e-7000-8000-0000000000{end}")),
    ]
}

fn revocation() -> impl Strategy<Value = Revocation> {
    prop_oneof![
        name().prop_map(|sid| Revocation::Session { sid }),
        (name(), 0..4u64).prop_map(|(sub, min_ver)| Revocation::User { sub, min_ver }),
        name().prop_map(|jti| Revocation::Token { jti }),
        name().prop_map(|kid| Revocation::Key { kid }),
        (0..4u64).prop_map(|issued_before| Revocation::All { issued_before }),
        Just(Revocation::Unknown),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (revocation(), 0..8u64).prop_map(|(revocation, until)| Entry { seq: 1, revocation, until });
    proptest::collection::vec(entry, 0..8)
}

#[derive(Clone, Debug)]
enum Change {
    Apply(Vec<Entry>),
    Replace(Vec<Entry>),
    Expire(u64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        entries().prop_map(Change::Apply),
        entries().prop_map(Change::Replace),
        (0..8u64).prop_map(Change::Expire)
    ];
    proptest::collection::vec(change, 1..6)
}

fn token() -> impl Strategy<Value = (Claims, String)> {
    let option = prop::option::of::<std::ops::Range<u64>>;
    let parts = (name(), prop::option::of(name()), name(), option(0..4), 0..4u64, any::<bool>(), name());
    parts.prop_map(|(sub, sid, jti, ver, iat, is_client, kid)| {
        let client_id = is_client.then(|| "c".to_owned());
        (Claims { sub, sid, jti, ver, iat, client_id, ..Claims::default() }, kid)
    })
}

/// What an entry names, apart from how strict it is and how long it lives.
fn named(revocation: &Revocation) -> Option<(u8, String)> {
    match revocation {
        Revocation::Session { sid } => Some((0, sid.clone())),
        Revocation::User { sub, .. } => Some((1, sub.clone())),
        Revocation::Token { jti } => Some((2, jti.clone())),
        Revocation::Key { kid } => Some((3, kid.clone())),
        Revocation::All { issued_before } => Some((4, issued_before.to_string())),
        _ => None,
    }
}

/// Puts entries of the same thing together, by the letter of what the list promises.
fn merged(entries: &[Entry]) -> Vec<Entry> {
    let mut merged: Vec<Entry> = Vec::new();
    for entry in entries.iter().filter(|entry| named(&entry.revocation).is_some()) {
        match merged.iter_mut().find(|other| named(&other.revocation) == named(&entry.revocation)) {
            Some(other) => {
                other.until = other.until.max(entry.until);
                if let (Revocation::User { min_ver, .. }, Revocation::User { min_ver: new, .. }) =
                    (&mut other.revocation, &entry.revocation)
                {
                    *min_ver = (*min_ver).max(*new);
                }
            }
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn is_hit(entry: &Entry, claims: &Claims, key_id: &str) -> bool {
    match &entry.revocation {
        Revocation::Session { sid } => claims.sid.as_ref() == Some(sid),
        Revocation::User { sub, min_ver } => {
            claims.sub == *sub && claims.ver.map_or(claims.client_id.is_none(), |ver| ver < *min_ver)
        }
        Revocation::Token { jti } => claims.jti == *jti,
        Revocation::Key { kid } => key_id == kid,
        Revocation::All { issued_before } => claims.iat < *issued_before,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_mixture_of_entries_revokes_what_reading_them_one_by_one_would(
        changes in changes(),
        tokens in proptest::collection::vec(token(), 40),
    ) {
        let list = RevocationList::new();
        let mut model: Vec<Entry> = Vec::new();
        for change in changes {
            match change {
                Change::Apply(entries) => {
                    list.apply(&entries);
                    model = merged(&[model, entries].concat());
                }
                Change::Replace(entries) => {
                    list.replace(&entries);
                    model = merged(&entries);
                }
                Change::Expire(now) => {
                    list.expire(now);
                    model.retain(|entry| entry.until > now);
                }
            }
            prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
            for (claims, key_id) in &tokens {
                let expected = model.iter().any(|entry| is_hit(entry, claims, key_id));
                prop_assert_eq!(list.revokes(claims, key_id), expected, "{:?} {}", claims, key_id);
            }
        }
    }
}

#[test]
fn what_stays_is_never_missed_while_the_rest_is_replaced_and_expires() {
    let list = RevocationList::new();
    let stays = || vec![entry(1, session("stays")), entry(2, user("ada", 7))];
    list.replace(&stays());
    let asking = list.clone();
    let stop = Arc::new(AtomicU64::new(0));
    let stopped = Arc::clone(&stop);
    let reader = std::thread::spawn(move || {
        let of_session = Claims { sid: Some("stays".into()), ..Claims::default() };
        let of_user = Claims { sub: "ada".into(), ver: Some(6), ..Claims::default() };
        let of_nobody = Claims { sub: "bob".into(), ver: Some(0), sid: Some("other".into()), ..Claims::default() };
        let mut asked = 0_u64;
        while stopped.load(Ordering::Relaxed) == 0 || asked == 0 {
            assert!(asking.revokes(&of_session, "k") && asking.revokes(&of_user, "k"));
            assert!(!asking.revokes(&of_nobody, "k"));
            asked += 1;
        }
    });
    for round in 0..20_u64 {
        let many = (0..2_000 * round)
            .map(|number| Entry { until: NOW + number % 100, ..entry(number, session(&format!("{round}-{number}"))) });
        list.replace(&stays().into_iter().chain(many).collect::<Vec<_>>());
        list.expire(NOW + 50);
        list.expire(NOW + 100);
        assert_eq!(list.len(), 2);
    }
    stop.store(1, Ordering::Relaxed);
    reader.join().unwrap();
}

#[test]
fn a_verifier_that_could_never_refuse_or_always_would_is_not_built() {
    let builder = || Verifier::builder(ring()).issuer(ISSUER).audience(AUDIENCE);
    let error = |builder: VerifierBuilder| builder.build().unwrap_err();
    assert_eq!(error(builder().when_stale(WhenStale::Refuse)), VerifierBuilderError::NoRevocations);
    assert_eq!(error(builder().stale_after_seconds(1)), VerifierBuilderError::StaleAfter);
    let list = RevocationList::new();
    assert_eq!(error(builder().revocations(list.clone()).stale_after_seconds(1)), VerifierBuilderError::StaleAfter);
    builder().revocations(list).when_stale(WhenStale::Refuse).stale_after_seconds(2).build().unwrap();
}

#[test]
fn a_token_that_is_wrong_is_called_wrong_even_if_nobody_knows_what_is_revoked() {
    let verifier = Verifier::builder(ring())
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(Arc::new(|| NOW))
        .revocations(RevocationList::new())
        .when_stale(WhenStale::Refuse)
        .build()
        .unwrap();
    let kind = |claims: Claims| verifier.verify(&signer().sign(&claims).unwrap()).unwrap_err().kind();
    assert_eq!(kind(claims()), ErrorKind::Stale);
    assert_eq!(kind(Claims { aud: vec!["other".into()], ..claims() }), ErrorKind::Audience);
    assert_eq!(kind(Claims { exp: NOW - 30, ..claims() }), ErrorKind::Expired);
}
