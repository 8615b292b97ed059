//! Every digest is the one that the bcrypt crate computes.
#![allow(missing_docs, reason = "a test's name says what it shows")]

use bcrypt_lanes::{Input, LANES};
use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_number_of_passwords_gives_the_digests_of_the_bcrypt_crate(
        cost in 4_u32..=6,
        passwords in vec((any::<[u8; 16]>(), vec(any::<u8>(), 1..=72)), 0..=2 * LANES + 1),
    ) {
        let inputs: Vec<_> = passwords.iter().map(|(salt, password)| Input { salt: *salt, password }).collect();
        let expected: Vec<_> =
            passwords.iter().map(|(salt, password)| bcrypt::bcrypt(cost, *salt, password)).collect();
        prop_assert_eq!(bcrypt_lanes::bcrypt(cost, &inputs, &mut || {}), expected);
    }
}

/// Cost, password, salt and hash.
type Vector = (u32, &'static [u8], [u8; 16], [u8; 23]);

/// From the test vectors of jBCrypt: password, salt and hash as in `$2a$06$…` and `$2a$08$…`.
#[test]
fn public_vectors_come_out_in_every_number_of_lanes() {
    let vectors: [Vector; 3] = [
        (
            6,
            b"\0",
            [0x14, 0x4b, 0x3d, 0x69, 0x1a, 0x7b, 0x4e, 0xcf, 0x39, 0xcf, 0x73, 0x5c, 0x7f, 0xa7, 0xa7, 0x9c],
            [
                0x55, 0x7e, 0x94, 0xf3, 0x4b, 0xf2, 0x86, 0xe8, 0x71, 0x9a, 0x26, 0xbe, 0x94, 0xac, 0x1e, 0x16, 0xd9,
                0x5e, 0xf9, 0xf8, 0x19, 0xde, 0xe0,
            ],
        ),
        (
            6,
            b"a\0",
            [0xa3, 0x61, 0x2d, 0x8c, 0x9a, 0x37, 0xda, 0xc2, 0xf9, 0x9d, 0x94, 0xda, 0x03, 0xbd, 0x45, 0x21],
            [
                0xe6, 0xd5, 0x38, 0x31, 0xf8, 0x20, 0x60, 0xdc, 0x08, 0xa2, 0xe8, 0x48, 0x9c, 0xe8, 0x50, 0xce, 0x48,
                0xfb, 0xf9, 0x76, 0x97, 0x87, 0x38,
            ],
        ),
        (
            8,
            b"abcdefghijklmnopqrstuvwxyz\0",
            [0x71, 0x5b, 0x96, 0xca, 0xed, 0x2a, 0xc9, 0x2c, 0x35, 0x4e, 0xd1, 0x6c, 0x1e, 0x19, 0xe3, 0x8a],
            [
                0x98, 0xbf, 0x9f, 0xfc, 0x1f, 0x5b, 0xe4, 0x85, 0xf9, 0x59, 0xe8, 0xb1, 0xd5, 0x26, 0x39, 0x2f, 0xbd,
                0x4e, 0xd2, 0xd5, 0x71, 0x9f, 0x50,
            ],
        ),
    ];
    for lanes in 1..=LANES {
        for (cost, password, salt, digest) in &vectors {
            for found in bcrypt_lanes::bcrypt(*cost, &vec![Input { salt: *salt, password }; lanes], &mut || {}) {
                assert_eq!(found[..23], *digest);
            }
        }
    }
}

#[test]
fn somebody_else_has_a_turn_after_each_round() {
    let input = Input { salt: [0; 16], password: b"a\0" };
    for (passwords, turns) in [(1, 32), (LANES, 32), (LANES + 1, 64)] {
        let mut taken = 0;
        bcrypt_lanes::bcrypt(5, &vec![input; passwords], &mut || taken += 1);
        assert_eq!(taken, turns, "{passwords} passwords");
    }
}

#[test]
#[should_panic(expected = "1 to 72 bytes")]
fn what_bcrypt_would_cut_is_not_taken() {
    bcrypt_lanes::bcrypt(4, &[Input { salt: [0; 16], password: &[1; 73] }], &mut || {});
}
