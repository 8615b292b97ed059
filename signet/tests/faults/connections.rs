//! Connections that are reset in the middle of what they carry.

use rand::RngExt as _;
use tokio::time::sleep;

use crate::{
    relay::{Manner, Relay},
    seeds::{between, each_seed},
    world::{Cluster, Needs, World},
};

const ROUNDS: usize = 4;

#[actix_web::test]
async fn reset_connections_to_the_database_and_to_clients_lose_and_double_nothing() {
    each_seed("reset_connections", async |seed| {
        let Some(cluster) = Cluster::start() else { return };
        let needs = Needs { relays: true, ..Needs::default() };
        let world = World::start(cluster.site(), needs, seed).await;
        world
            .under_load(async |world| {
                let mut random = world.choices();
                for _ in 0..ROUNDS {
                    // A connection to the database lives long and is opened with some kilobytes.
                    let to_database = random.random_range(4_000..100_000);
                    let to_services = random.random_range(500..20_000);
                    let (which, lasting) = (random.random_range(0..3), between(300, 1000, &mut random));
                    if which != 0 {
                        let relay = world.to_database.as_ref().unwrap();
                        relay.treat(Manner::Reset { most_bytes: to_database });
                    }
                    if which != 1 {
                        for relay in &world.to_services {
                            relay.treat(Manner::Reset { most_bytes: to_services });
                        }
                    }
                    sleep(lasting).await;
                    for relay in world.to_services.iter().chain(&world.to_database) {
                        relay.treat(Manner::Faithful);
                    }
                    sleep(between(0, 300, &mut random)).await;
                }
                let resets: usize = world.to_services.iter().chain(&world.to_database).map(Relay::resets).sum();
                println!("{resets} connections were reset");
                assert!(resets > 0);
            })
            .await;
    })
    .await;
}
