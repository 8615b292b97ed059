//! Which key pairs are refused although their numbers are in order: those whose private key everybody can know.

use super::error::KeyErrorKind;

/// How the public part (`x`, or the modulus `n`) of pairs begins whose private key documentation and RFCs have printed:
/// 252 bits of it in base64url.
const PUBLISHED: [&str; 8] = [
    // jwt.io, ES256 and RS256
    "EVs_o5-uQbTjL3chynL4wXgUg2R9q9UU8I5mEovUf8",
    "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ff",
    // RFC 7515 A.2 and A.3
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoT",
    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVE",
    // RFC 7517 A.2
    "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D",
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFb",
    // RFC 7520 §3.4
    "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuK",
    // RFC 8037 A.1
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUR",
];

/// Refuses a published pair, by its encoded `x` or `n`.
pub(super) fn check_published(public: &str) -> Result<(), KeyErrorKind> {
    let published = PUBLISHED.iter().any(|start| public.starts_with(start));
    if published { Err(KeyErrorKind::WellKnownPair) } else { Ok(()) }
}

/// The primes that tell: both factors of a modulus from the broken library are powers of 65537 modulo each of them.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Refuses a modulus that a chip with CVE-2017-15361 has made (Nemec and others, "The Return of Coppersmith's Attack").
/// One good modulus in 2^27 looks the same and is refused along with them.
pub(super) fn check_modulus(modulus: &[u8]) -> Result<(), KeyErrorKind> {
    let marked = PRIMES.iter().all(|&prime| {
        let residue = modulus.iter().fold(0, |residue, &octet| (residue * 256 + u32::from(octet)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * 65537 % prime;
            power == residue
        })
    });
    if marked { Err(KeyErrorKind::WeakPair) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modulus_is_refused_if_it_is_a_power_of_65537_modulo_every_prime() {
        assert_eq!(check_modulus(&[1]), Err(KeyErrorKind::WeakPair));
        assert_eq!(check_modulus(&[1, 0, 1]), Err(KeyErrorKind::WeakPair));
        assert_eq!(check_modulus(&[1, 0, 2]), Ok(()));
        assert_eq!(check_modulus(&[0xff; 256]), Ok(()));
    }
}
