//! Every input that is kept, through its door, and the first changes that a fuzzer would make to it. No fuzzer is needed.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use fuzz::{DOORS, Door};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

fn corpus(door: &Door) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(door.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

#[test]
fn what_was_found_once_holds() {
    for door in DOORS {
        let corpus = corpus(door);
        assert!(corpus.len() >= 4, "{} has hardly any inputs", door.name);
        for (path, input) in corpus {
            let held = catch_unwind(AssertUnwindSafe(|| (door.enter)(&input)));
            assert!(held.is_ok(), "the input is {}", path.display());
        }
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_door() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    let folders: BTreeSet<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, DOORS.iter().map(|door| door.name.to_owned()).collect());
}

/// A change to an input: bytes taken out, bytes put in, or the rest of another one.
#[derive(Clone, Debug)]
enum Change {
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Join(Index, Index, Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..4),
        prop::collection::vec(prop::sample::select(b"\"\\{}[]:,.=&%+-_ \t\r\n\0$*0019eE\xc3\xa9\xff".to_vec()), 1..4),
    ];
    let change = prop_oneof![
        (any::<Index>(), 1usize..9).prop_map(|(place, count)| Change::Remove(place, count)),
        (any::<Index>(), bytes).prop_map(|(place, bytes)| Change::Insert(place, bytes)),
        (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(a, b, c)| Change::Join(a, b, c)),
    ];
    prop::collection::vec(change, 1..4)
}

fn apply(change: &Change, input: &mut Vec<u8>, corpus: &[(PathBuf, Vec<u8>)]) {
    match change {
        Change::Remove(place, count) => {
            let from = place.index(input.len() + 1);
            input.drain(from..(from + count).min(input.len()));
        }
        Change::Insert(place, bytes) => {
            let at = place.index(input.len() + 1);
            input.splice(at..at, bytes.iter().copied());
        }
        Change::Join(place, which, from) => {
            let other = &which.get(corpus).1;
            input.truncate(place.index(input.len() + 1));
            input.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
    }
}

#[test]
fn inputs_like_those_that_are_kept_do_no_harm() {
    for door in DOORS {
        let corpus = corpus(door);
        let mut runner =
            TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) });
        let outcome = runner.run(&(any::<Index>(), changes()), |(which, changes)| {
            let mut input = which.get(&corpus).1.clone();
            for change in &changes {
                apply(change, &mut input, &corpus);
            }
            let held = catch_unwind(AssertUnwindSafe(|| (door.enter)(&input)));
            prop_assert!(held.is_ok(), "the input is {:?}", String::from_utf8_lossy(&input));
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{}: {failure}", door.name);
        }
    }
}
