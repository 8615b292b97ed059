//! Clocks that are stepped by an hour, of one process or of all, forward and back.

use std::path::Path;

use rand::{RngExt as _, seq::IndexedRandom as _};
use tokio::time::sleep;

use crate::{
    seeds::{between, each_seed, say_skipped},
    world::{Cluster, Needs, World},
};

/// Where Debian, Fedora and Arch have libfaketime.
const LIBRARIES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
    "/opt/homebrew/lib/faketime/libfaketime.so.1",
];

const PROCESSES: [&str; 4] = ["auth-service-a", "auth-service-b", "user-service", "resource-service"];

const HOUR: i64 = 3_600;

const STEPS: usize = 4;

#[actix_web::test]
async fn a_clock_that_is_stepped_brings_nothing_back_that_has_ended() {
    let test = "a_clock_that_is_stepped";
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        say_skipped(test, "install libfaketime");
        return;
    };
    each_seed(test, async move |seed| {
        let Some(cluster) = Cluster::start() else { return };
        let needs = Needs { clocks: Some(library), ..Needs::default() };
        let world = World::start(cluster.site(), needs, seed).await;
        world
            .under_load(async |world| {
                let mut random = world.choices();
                for _ in 0..STEPS {
                    let stepped: Vec<&str> = if random.random() {
                        PROCESSES.to_vec()
                    } else {
                        vec![*PROCESSES.choose(&mut random).unwrap()]
                    };
                    let by = if random.random() { HOUR } else { -HOUR };
                    println!("{by:+} s for {stepped:?}");
                    for name in &stepped {
                        world.set_clock(name, by);
                    }
                    // Longer than the second after which each service sees to what is over.
                    sleep(between(300, 1800, &mut random)).await;
                    for name in &stepped {
                        world.set_clock(name, 0);
                    }
                    sleep(between(0, 600, &mut random)).await;
                }
            })
            .await;
    })
    .await;
}
