//! A blocked Bloom filter: says quickly, and nearly always, that a hash is not in a set.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A set of hashes, 64 bits to a block. It never denies a hash that was added; of the others it takes less than one in a
/// hundred for one that was.
///
/// Asking takes one load from a block, and neither a lock nor a read-modify-write, which would hold up all that the
/// processor does ahead. The loads for several hashes do not depend on each other, so they wait for memory together.
///
/// One thread at a time may change it; any number may ask meanwhile.
pub(super) struct Filter {
    /// Tables, each of twice as many blocks as the one before. One that has been outgrown stays: somebody may still be
    /// asking it, and all of them together are no larger than the one in use.
    tables: [OnceLock<Box<[AtomicU64]>>; TABLES],
    /// Which one is in use.
    table: AtomicUsize,
}

/// The hashes that a block is for, at most.
const PER_BLOCK: usize = 4;

/// How many blocks the first table has: 8 KiB of them.
const LEAST_BLOCKS: usize = 1024;

/// The last table has room for 16 million hashes. With more, the filter takes ever more hashes for held.
const TABLES: usize = 13;

impl Filter {
    pub(super) fn new() -> Self {
        Self { tables: [const { OnceLock::new() }; TABLES], table: AtomicUsize::new(0) }
    }

    /// Whether it is time to [`rebuild`](Self::rebuild) it, before `hashes` are held.
    pub(super) fn is_outgrown_by(&self, hashes: usize) -> bool {
        let table = self.table.load(Ordering::Relaxed);
        table + 1 < TABLES && hashes > (LEAST_BLOCKS << table) * PER_BLOCK
    }

    pub(super) fn add(&self, hash: u64) {
        let blocks = self.blocks(self.table.load(Ordering::Relaxed));
        blocks[place(blocks, hash)].fetch_or(bits(hash), Ordering::Release);
    }

    /// What it holds now, to ask about several hashes.
    pub(super) fn view(&self) -> View<'_> {
        View(self.tables[self.table.load(Ordering::Acquire)].get().map_or(&[], |blocks| blocks))
    }

    /// Makes it hold just these hashes, with room for them.
    ///
    /// Whoever asks meanwhile meets, in each block, what was there or what will be, and either has every hash that was
    /// there and stays.
    pub(super) fn rebuild(&self, hashes: impl ExactSizeIterator<Item = u64>) {
        let mut table = self.table.load(Ordering::Relaxed);
        while table + 1 < TABLES && hashes.len() > (LEAST_BLOCKS << table) * PER_BLOCK {
            table += 1;
        }
        let blocks = self.blocks(table);
        let mut rebuilt = vec![0; blocks.len()];
        for hash in hashes {
            rebuilt[place(blocks, hash)] |= bits(hash);
        }
        for (block, rebuilt) in blocks.iter().zip(rebuilt) {
            block.store(rebuilt, Ordering::Release);
        }
        self.table.store(table, Ordering::Release);
    }

    fn blocks(&self, table: usize) -> &[AtomicU64] {
        self.tables[table].get_or_init(|| (0..LEAST_BLOCKS << table).map(|_| AtomicU64::new(0)).collect())
    }
}

/// A filter as it is asked.
#[derive(Clone, Copy)]
pub(super) struct View<'f>(&'f [AtomicU64]);

impl View<'_> {
    #[inline]
    pub(super) fn may_hold(self, hash: u64) -> bool {
        let bits = bits(hash);
        self.0.get(place(self.0, hash)).is_some_and(|block| block.load(Ordering::Acquire) & bits == bits)
    }
}

/// The block for a hash.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "what is cut off is masked anyway")]
fn place(blocks: &[AtomicU64], hash: u64) -> usize {
    (hash >> 18) as usize & blocks.len().wrapping_sub(1)
}

/// Three bits of the block, from other bits of the hash than its place.
#[inline]
fn bits(hash: u64) -> u64 {
    (1 << (hash & 63)) | (1 << (hash >> 6 & 63)) | (1 << (hash >> 12 & 63))
}
