//! Which 32 octets are an Ed25519 public key that is worth verifying with.
//!
//! AWS-LC takes any 32 octets for a public key and decodes them anew for each signature. That is too late to tell an
//! operator of a damaged key, and it lets the points of small order pass, under which anybody can make a signature.
//! Every number here is public, so nothing needs to take constant time.

/// A number modulo p = 2^255 - 19 in four limbs, the lowest first, below 2^256 but not always below p.
type Element = [u64; 4];

const P: Element = [0xffff_ffff_ffff_ffed, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff];

/// (p - 1) / 2
const HALF: Element = [0xffff_ffff_ffff_fff6, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff, 0x3fff_ffff_ffff_ffff];

const ONE: Element = [1, 0, 0, 0];

const MINUS_ONE: Element = [0xffff_ffff_ffff_ffec, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff];

/// The d of the curve -x² + y² = 1 + d·x²·y² (RFC 8032 §5.1).
const D: Element = [0x75eb_4dca_1359_78a3, 0x0070_0a4d_4141_d8ab, 0x8cc7_4079_7779_e898, 0x5203_6cee_2b6f_fe73];

/// The y of the eight points whose order divides the cofactor.
const SMALL_ORDER: [Element; 5] = [
    [0; 4],
    ONE,
    MINUS_ONE,
    [0xb027_b2c2_8f95_e826, 0xf098_eff2_89f4_c345, 0x3933_c6d3_05ac_dfd5, 0x05fc_536d_8802_38b1],
    [0x4fd8_4d3d_706a_17c7, 0x0f67_100d_760b_3cba, 0xc6cc_392c_fa53_202a, 0x7a03_ac92_77fd_c74e],
];

/// Whether the octets encode a point of the curve in the one way that RFC 8032 §5.1.3 allows, and not one of small
/// order.
pub(super) fn is_public_key(octets: &[u8; 32]) -> bool {
    let mut y: Element = [0; 4];
    for (limb, octets) in y.iter_mut().zip(octets.as_chunks().0) {
        *limb = u64::from_le_bytes(*octets);
    }
    // The highest bit tells which of two x is meant. Either both lie on the curve or neither does; the points where x is
    // 0 and only one bit would do are of small order.
    y[3] &= u64::MAX >> 1;
    if !is_less(&y, &P) || SMALL_ORDER.contains(&y) {
        return false;
    }
    // x² = (y² - 1) / (d·y² + 1), and a quotient is a square if the product of its parts is.
    let square = multiply(&y, &y);
    let above = add(&square, &MINUS_ONE);
    let below = add(&multiply(&D, &square), &ONE);
    is_square(&multiply(&above, &below))
}

/// Euler's criterion. 0 counts as none: it stands for an x of 0.
fn is_square(number: &Element) -> bool {
    let mut power = ONE;
    for limb in HALF.iter().rev() {
        for bit in (0..u64::BITS).rev() {
            power = multiply(&power, &power);
            if limb >> bit & 1 == 1 {
                power = multiply(&power, number);
            }
        }
    }
    reduced(power) == ONE
}

/// The same number below p.
fn reduced(mut number: Element) -> Element {
    while !is_less(&number, &P) {
        // Adding 2^256 - p, without the carry, takes p away.
        number = add_with_carry(&number, &[19, 0, 0, 1 << 63]).0;
    }
    number
}

fn is_less(a: &Element, b: &Element) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn add_with_carry(a: &Element, b: &Element) -> (Element, bool) {
    let mut sum = [0; 4];
    let mut carry = false;
    for (limb, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        (*limb, carry) = a.carrying_add(*b, carry);
    }
    (sum, carry)
}

fn add(a: &Element, b: &Element) -> Element {
    let (mut sum, mut carry) = add_with_carry(a, b);
    // 2^256 = 38 modulo p.
    while carry {
        (sum, carry) = add_with_carry(&sum, &[38, 0, 0, 0]);
    }
    sum
}

fn multiply(a: &Element, b: &Element) -> Element {
    let mut wide = [0; 8];
    for (i, a) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, b) in b.iter().enumerate() {
            (wide[i + j], carry) = a.carrying_mul_add(*b, wide[i + j], carry);
        }
        wide[i + 4] = carry;
    }
    let [low @ .., _, _, _, _] = wide;
    let [_, _, _, _, high @ ..] = wide;
    // 2^256 = 38 modulo p; what that carries beyond the fourth limb once more.
    let mut folded = [0; 4];
    let mut carry = 0;
    for (limb, (high, low)) in folded.iter_mut().zip(high.iter().zip(low)) {
        (*limb, carry) = high.carrying_mul_add(38, low, carry);
    }
    add(&folded, &[carry * 38, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    /// The y below 64 that belong to a point, as another program computed them; 0 and 1 do too, but are of small order.
    const ON_THE_CURVE: [u64; 41] = [
        3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30, 32, 33, 35, 37, 39, 40, 42, 43, 44,
        48, 51, 52, 54, 55, 56, 57, 58, 60, 61, 62, 63,
    ];

    fn octets(y: &Element) -> [u8; 32] {
        let mut octets = [0; 32];
        for (place, limb) in octets.chunks_mut(8).zip(y) {
            place.copy_from_slice(&limb.to_le_bytes());
        }
        octets
    }

    #[test]
    fn public_keys_of_pairs_are_taken() {
        for seed in 0..50 {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            assert!(is_public_key(pair.public_key().as_ref().try_into().unwrap()), "{seed}");
        }
    }

    #[test]
    fn octets_that_are_no_point_are_refused() {
        let taken = (0..64).filter(|&y| is_public_key(&octets(&[y, 0, 0, 0])));
        assert_eq!(taken.collect::<Vec<_>>(), ON_THE_CURVE);
    }

    #[test]
    fn points_of_small_order_are_refused_whatever_their_sign() {
        for y in &SMALL_ORDER {
            let mut octets = octets(y);
            assert!(!is_public_key(&octets), "{octets:?}");
            octets[31] |= 0x80;
            assert!(!is_public_key(&octets), "{octets:?}");
        }
    }

    #[test]
    fn a_y_of_p_or_more_is_refused() {
        for y in 0..19 {
            let (above, carry) = add_with_carry(&P, &[y, 0, 0, 0]);
            assert!(!carry && !is_public_key(&octets(&above)), "p + {y}");
        }
    }

    #[test]
    fn arithmetic_holds_at_the_edges() {
        const MOST: Element = [u64::MAX; 4];

        // 2^256 - 1 is 37 modulo p.
        assert_eq!(reduced(MOST), [37, 0, 0, 0]);
        assert_eq!(reduced(multiply(&MOST, &MOST)), [37 * 37, 0, 0, 0]);
        assert_eq!(reduced(add(&MOST, &MOST)), [2 * 37, 0, 0, 0]);
        assert_eq!(reduced(multiply(&MINUS_ONE, &MINUS_ONE)), ONE);
        assert_eq!(reduced(add(&MINUS_ONE, &ONE)), [0; 4]);
        assert_eq!(reduced(P), [0; 4]);
        assert!(is_square(&MINUS_ONE) && is_square(&[4, 0, 0, 0]));
        assert!(!is_square(&[2, 0, 0, 0]) && !is_square(&[0; 4]) && !is_square(&P));
    }
}
