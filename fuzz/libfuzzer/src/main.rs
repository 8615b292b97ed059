//! One program for all doors: `SIGNET_FUZZ_DOOR` chooses. Linking one is quicker than linking eighteen.
#![no_main]

use std::sync::OnceLock;

use fuzz::Door;

static DOOR: OnceLock<&'static Door> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("SIGNET_FUZZ_DOOR").unwrap_or_default();
        let door = fuzz::door(&name).unwrap_or_else(|| {
            eprintln!("SIGNET_FUZZ_DOOR names no door: {name:?}");
            std::process::exit(2);
        });
        DOOR.get_or_init(|| door);
    },
    |data: &[u8]| (DOOR.get().expect("it was chosen").enter)(data)
);
