//! Several bcrypt hashes at once on one thread.
//!
//! A bcrypt hash spends its time waiting for its own look-ups: each depends on the one before it. The look-ups of another
//! hash do not, so a core that works on several independent ones by turns finishes them all in little more time than one.
//! The results are those of the `bcrypt` crate, bit for bit.
//!
//! ```
//! let salt = *b"0123456789abcdef";
//! let passwords = [b"correct horse\0".as_slice(), b"battery staple\0"];
//! let inputs = passwords.map(|password| bcrypt_lanes::Input { salt, password });
//! let digests = bcrypt_lanes::bcrypt(4, &inputs, &mut || {});
//! assert_eq!(digests[0], bcrypt::bcrypt(4, salt, b"correct horse\0"));
//! ```

mod pi;

use zeroize::Zeroize as _;

/// How many hashes are worked on side by side. Their S-boxes take 24 KiB of a first-level cache of 32; with more of them a
/// processor gains nothing.
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
/// `between` is called after each of bcrypt's rounds, of which there are 2 to the power of the cost for up to [`LANES`]
/// inputs: there a thread can let others have the processor. A round takes some tens of microseconds. (It is no type
/// parameter: then this would be compiled with the caller, and as slow as a debug build of that.)
///
/// # Panics
///
/// If a password has no bytes or more than 72, or if the cost is out of its range.
pub fn bcrypt(cost: u32, inputs: &[Input<'_>], between: &mut dyn FnMut()) -> Vec<[u8; 24]> {
    assert!((4..=31).contains(&cost), "bcrypt's cost is from 4 to 31");
    assert!(inputs.iter().all(|input| (1..=72).contains(&input.password.len())), "bcrypt takes 1 to 72 bytes");
    let mut digests = Vec::with_capacity(inputs.len());
    for inputs in inputs.chunks(LANES) {
        match inputs.len() {
            1 => digests.extend(side_by_side::<1>(cost, inputs, between)),
            2 => digests.extend(side_by_side::<2>(cost, inputs, between)),
            3 => digests.extend(side_by_side::<3>(cost, inputs, between)),
            4 => digests.extend(side_by_side::<4>(cost, inputs, between)),
            5 => digests.extend(side_by_side::<5>(cost, inputs, between)),
            6 => digests.extend(side_by_side::<6>(cost, inputs, between)),
            _ => unreachable!("chunks of LANES have 1 to LANES inputs"),
        }
    }
    digests
}

fn side_by_side<const N: usize>(cost: u32, inputs: &[Input<'_>], between: &mut dyn FnMut()) -> [[u8; 24]; N] {
    let mut keys = std::array::from_fn(|lane| cycle(inputs[lane].password));
    let mut salts = std::array::from_fn(|lane| cycle(&inputs[lane].salt));
    // 24 KiB with six lanes, which are too much for some stacks.
    let mut lanes = Box::new(Lanes::<N>::new());
    lanes.expand_salted(&keys, &salts);
    for _ in 0..1_u32 << cost {
        lanes.expand(&keys);
        lanes.expand(&salts);
        between();
    }
    keys.zeroize();
    salts.zeroize();
    lanes.digest()
}

/// Two words, the first of them in the low half: the halves of a block, or two neighbours in the P-array. In one register
/// each, six lanes leave room for what is done with them.
type Pair = u64;

const fn pair(first: u32, second: u32) -> Pair {
    first as u64 | (second as u64) << 32
}

#[allow(clippy::cast_possible_truncation, reason = "it is a half that is wanted")]
const fn first(pair: Pair) -> u32 {
    pair as u32
}

#[allow(clippy::cast_possible_truncation, reason = "it is a half that is wanted")]
const fn second(pair: Pair) -> u32 {
    (pair >> 32) as u32
}

/// The bytes over and over, as the 18 words that are mixed into the P-array.
fn cycle(bytes: &[u8]) -> [Pair; 9] {
    let mut bytes = bytes.iter().copied().cycle();
    let mut word = || (0..4).fold(0, |word, _| word << 8 | u32::from(bytes.next().unwrap_or_default()));
    std::array::from_fn(|_| {
        let first = word();
        pair(first, word())
    })
}

/// The states of several instances of Blowfish.
struct Lanes<const N: usize> {
    p: [[Pair; 9]; N],
    s: [[[u32; 256]; 4]; N],
}

#[allow(clippy::needless_range_loop, reason = "a lane is a place in several arrays at once")]
#[allow(clippy::inline_always, reason = "measured: with a call for each block a hash takes a tenth longer")]
impl<const N: usize> Lanes<N> {
    fn new() -> Self {
        let p = std::array::from_fn(|at| pair(pi::P[2 * at], pi::P[2 * at + 1]));
        Self { p: [p; N], s: [pi::S; N] }
    }

    /// `ExpandKey` with a salt (Provos and Mazières, "A Future-Adaptable Password Scheme", 1999, section 4).
    fn expand_salted(&mut self, keys: &[[Pair; 9]; N], salts: &[[Pair; 9]; N]) {
        self.mix(keys);
        // The salt has two pairs. The P-array takes nine, so the S-boxes begin with the second one.
        let mut at = 0;
        self.refill(|blocks| {
            for lane in 0..N {
                blocks[lane] ^= salts[lane][at];
            }
            at = 1 - at;
        });
    }

    /// `ExpandKey` with the salt zero.
    fn expand(&mut self, keys: &[[Pair; 9]; N]) {
        self.mix(keys);
        self.refill(|_| {});
    }

    fn mix(&mut self, keys: &[[Pair; 9]; N]) {
        for (p, key) in self.p.iter_mut().zip(keys) {
            for (pair, key) in p.iter_mut().zip(key) {
                *pair ^= key;
            }
        }
    }

    /// Puts a chain of encipherments in the place of the P-array and the S-boxes, each after `before` has had the blocks.
    fn refill(&mut self, mut before: impl FnMut(&mut [Pair; N])) {
        let mut blocks = [0; N];
        for at in 0..9 {
            before(&mut blocks);
            self.encipher(&mut blocks);
            for lane in 0..N {
                self.p[lane][at] = blocks[lane];
            }
        }
        for number in 0..4 {
            for at in (0..256).step_by(2) {
                before(&mut blocks);
                self.encipher(&mut blocks);
                for lane in 0..N {
                    self.s[lane][number][at] = first(blocks[lane]);
                    self.s[lane][number][at + 1] = second(blocks[lane]);
                }
            }
        }
    }

    /// One block for each lane, round by round: while one lane's look-ups are under way, the others' are as well.
    ///
    /// The rounds are written out, so that each knows its place in the P-array: a counter would take a register that a lane
    /// needs. For the same reason this is always a part of its caller, where the blocks stay in registers.
    #[inline(always)]
    fn encipher(&self, blocks: &mut [Pair; N]) {
        self.two_rounds(0, blocks);
        self.two_rounds(1, blocks);
        self.two_rounds(2, blocks);
        self.two_rounds(3, blocks);
        self.two_rounds(4, blocks);
        self.two_rounds(5, blocks);
        self.two_rounds(6, blocks);
        self.two_rounds(7, blocks);
        for lane in 0..N {
            blocks[lane] = (blocks[lane] ^ self.p[lane][8]).rotate_right(32);
        }
    }

    /// Blowfish mixes a word of the P-array into a half before it mangles that half. Nothing reads the other half until
    /// then, so two words are mixed in at once.
    #[inline(always)]
    fn two_rounds(&self, at: usize, blocks: &mut [Pair; N]) {
        for lane in 0..N {
            blocks[lane] = mangle(&self.s[lane], blocks[lane] ^ self.p[lane][at]);
        }
        for lane in 0..N {
            blocks[lane] = mangle(&self.s[lane], blocks[lane]);
        }
    }

    fn digest(&self) -> [[u8; 24]; N] {
        let text = *b"OrpheanBeholderScryDoubt";
        let mut digests = [[0; 24]; N];
        for (number, block) in text.chunks_exact(8).enumerate() {
            let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            let mut blocks = [pair(word(0), word(4)); N];
            for _ in 0..64 {
                self.encipher(&mut blocks);
            }
            for (digest, block) in digests.iter_mut().zip(blocks) {
                digest[number * 8..][..4].copy_from_slice(&first(block).to_be_bytes());
                digest[number * 8 + 4..][..4].copy_from_slice(&second(block).to_be_bytes());
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

/// Blowfish's function F of the first half, mixed into the second, and the halves change places.
///
/// The two lowest bytes of a register can be read as they are, so the block is turned by two bytes at a time: that takes
/// fewer instructions and registers than a shift and a mask for each byte.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
#[allow(clippy::cast_possible_truncation, reason = "it is a byte that is wanted")]
fn mangle(s: &[[u32; 256]; 4], block: Pair) -> Pair {
    let (fourth, third) = (block as u8, (block >> 8) as u8);
    let block = block.rotate_right(16);
    let (second, first) = (block as u8, (block >> 8) as u8);
    let sum = s[0][usize::from(first)].wrapping_add(s[1][usize::from(second)]);
    let mangled = (sum ^ s[2][usize::from(third)]).wrapping_add(s[3][usize::from(fourth)]);
    block.rotate_right(16) ^ u64::from(mangled)
}
