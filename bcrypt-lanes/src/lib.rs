//! Several bcrypt hashes at once on one thread.
//!
//! A bcrypt hash spends its time waiting for its own look-ups: each depends on the one before it. The look-ups of another
//! hash do not, so a core that works on several independent ones by turns finishes them all in little more time than one.
//! The results are those of the `bcrypt` crate, bit for bit, which also computes what comes alone.
//!
//! ```
//! let salt = *b"0123456789abcdef";
//! let passwords = [b"correct horse\0".as_slice(), b"battery staple\0"];
//! let inputs = passwords.map(|password| bcrypt_lanes::Input { salt, password });
//! let digests = bcrypt_lanes::bcrypt(4, &inputs);
//! assert_eq!(digests[0], bcrypt::bcrypt(4, salt, b"correct horse\0"));
//! ```

mod pi;

use zeroize::Zeroize as _;

/// How many hashes are worked on side by side: one more gains little and no longer fits into the nearest cache with the
/// others.
pub const LANES: usize = 6;

/// One password, as bcrypt takes it.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The salt.
    pub salt: [u8; 16],
    /// The password with the NUL at its end, of which bcrypt takes the first 72 bytes: so 1 to 72 bytes.
    pub password: &'a [u8],
}

/// Hashes passwords at one cost (4 to 31), each as bcrypt does; the digests are in the order of the inputs. bcrypt's own
/// strings hold the first 23 of the 24 bytes.
///
/// # Panics
///
/// If a password has no bytes or more than 72, or if the cost is out of its range.
pub fn bcrypt(cost: u32, inputs: &[Input<'_>]) -> Vec<[u8; 24]> {
    assert!((4..=31).contains(&cost), "bcrypt's cost is from 4 to 31");
    assert!(inputs.iter().all(|input| (1..=72).contains(&input.password.len())), "bcrypt takes 1 to 72 bytes");
    let mut digests = Vec::with_capacity(inputs.len());
    for inputs in inputs.chunks(LANES) {
        match inputs {
            [one] => digests.push(bcrypt::bcrypt(cost, one.salt, one.password)),
            &[a, b] => digests.extend(side_by_side(cost, [a, b])),
            &[a, b, c] => digests.extend(side_by_side(cost, [a, b, c])),
            &[a, b, c, d] => digests.extend(side_by_side(cost, [a, b, c, d])),
            &[a, b, c, d, e] => digests.extend(side_by_side(cost, [a, b, c, d, e])),
            &[a, b, c, d, e, f] => digests.extend(side_by_side(cost, [a, b, c, d, e, f])),
            _ => unreachable!("chunks of LANES have 1 to LANES inputs"),
        }
    }
    digests
}

fn side_by_side<const N: usize>(cost: u32, inputs: [Input<'_>; N]) -> [[u8; 24]; N] {
    let mut keys = inputs.map(|input| cycle(input.password));
    let mut salts = inputs.map(|input| cycle(&input.salt));
    let mut lanes = Lanes::<N>::new();
    lanes.expand_salted(&keys, &salts);
    for _ in 0..1_u32 << cost {
        lanes.expand(&keys);
        lanes.expand(&salts);
    }
    keys.zeroize();
    salts.zeroize();
    lanes.digest()
}

/// The bytes over and over, as the 18 words that are mixed into the P-array.
fn cycle(bytes: &[u8]) -> [u32; 18] {
    let mut bytes = bytes.iter().copied().cycle();
    std::array::from_fn(|_| (0..4).fold(0, |word, _| word << 8 | u32::from(bytes.next().unwrap_or_default())))
}

/// The states of several instances of Blowfish.
struct Lanes<const N: usize> {
    p: [[u32; 18]; N],
    s: Box<[[[u32; 256]; 4]; N]>,
}

/// The two halves of a block, for each lane.
type Halves<const N: usize> = ([u32; N], [u32; N]);

impl<const N: usize> Lanes<N> {
    fn new() -> Self {
        Self { p: [pi::P; N], s: Box::new([pi::S; N]) }
    }

    /// `ExpandKey` with a salt (Provos and Mazières, "A Future-Adaptable Password Scheme", 1999, section 4).
    fn expand_salted(&mut self, keys: &[[u32; 18]; N], salts: &[[u32; 18]; N]) {
        self.mix(keys);
        // 18 words of the P-array leave the cycle of the salt's four words half way.
        let mut at = 0;
        self.refill(|halves| {
            for lane in 0..N {
                halves.0[lane] ^= salts[lane][at];
                halves.1[lane] ^= salts[lane][at + 1];
            }
            at = (at + 2) % 4;
        });
    }

    /// `ExpandKey` with the salt zero.
    fn expand(&mut self, keys: &[[u32; 18]; N]) {
        self.mix(keys);
        self.refill(|_| {});
    }

    fn mix(&mut self, keys: &[[u32; 18]; N]) {
        for (p, key) in self.p.iter_mut().zip(keys) {
            for (word, key) in p.iter_mut().zip(key) {
                *word ^= key;
            }
        }
    }

    /// Puts a chain of encipherments in the place of the P-array and the S-boxes, each after `before` has had the block.
    fn refill(&mut self, mut before: impl FnMut(&mut Halves<N>)) {
        let mut halves = ([0; N], [0; N]);
        for at in (0..18).step_by(2) {
            before(&mut halves);
            self.encipher(&mut halves);
            for lane in 0..N {
                self.p[lane][at] = halves.0[lane];
                self.p[lane][at + 1] = halves.1[lane];
            }
        }
        for number in 0..4 {
            for at in (0..256).step_by(2) {
                before(&mut halves);
                self.encipher(&mut halves);
                for lane in 0..N {
                    self.s[lane][number][at] = halves.0[lane];
                    self.s[lane][number][at + 1] = halves.1[lane];
                }
            }
        }
    }

    /// One block for each lane, round by round: while one lane's look-ups are under way, the others' are as well.
    #[inline(always)]
    fn encipher(&self, (left, right): &mut Halves<N>) {
        for round in (0..16).step_by(2) {
            for lane in 0..N {
                left[lane] ^= self.p[lane][round];
                right[lane] ^= mangle(&self.s[lane], left[lane]);
            }
            for lane in 0..N {
                right[lane] ^= self.p[lane][round + 1];
                left[lane] ^= mangle(&self.s[lane], right[lane]);
            }
        }
        for lane in 0..N {
            let last = left[lane] ^ self.p[lane][16];
            left[lane] = right[lane] ^ self.p[lane][17];
            right[lane] = last;
        }
    }

    fn digest(&self) -> [[u8; 24]; N] {
        let text = *b"OrpheanBeholderScryDoubt";
        let mut digests = [[0; 24]; N];
        for (number, block) in text.chunks_exact(8).enumerate() {
            let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            let mut halves = ([word(0); N], [word(4); N]);
            for _ in 0..64 {
                self.encipher(&mut halves);
            }
            for (lane, digest) in digests.iter_mut().enumerate() {
                digest[number * 8..][..4].copy_from_slice(&halves.0[lane].to_be_bytes());
                digest[number * 8 + 4..][..4].copy_from_slice(&halves.1[lane].to_be_bytes());
            }
        }
        digests
    }
}

impl<const N: usize> Drop for Lanes<N> {
    fn drop(&mut self) {
        self.p.zeroize();
        for s in self.s.iter_mut().flatten() {
            s.zeroize();
        }
    }
}

/// Blowfish's function F.
#[inline(always)]
fn mangle(s: &[[u32; 256]; 4], word: u32) -> u32 {
    let [a, b, c, d] = word.to_be_bytes().map(usize::from);
    (s[0][a].wrapping_add(s[1][b]) ^ s[2][c]).wrapping_add(s[3][d])
}
