//! Services that are killed, one or several at once, and come back after a while.

use rand::{RngExt as _, seq::SliceRandom as _};
use tokio::time::sleep;

use crate::{
    seeds::{between, each_seed},
    site::Site,
    world::{Cluster, Needs, World},
};

const ROUNDS: usize = 4;

async fn killed(world: World) {
    world
        .under_load(async |world| {
            let mut random = world.choices();
            for _ in 0..ROUNDS {
                sleep(between(0, 500, &mut random)).await;
                let mut places = [0, 1, 2, 3];
                places.shuffle(&mut random);
                let killed = &places[..random.random_range(1..=2)];
                let absence = between(0, 800, &mut random);
                for (place, service) in world.stack.services().enumerate() {
                    if killed.contains(&place) {
                        println!("{} is killed", service.name);
                        service.kill();
                    }
                }
                sleep(absence).await;
                for (place, service) in world.stack.services().enumerate() {
                    if killed.contains(&place) {
                        service.start();
                    }
                }
            }
        })
        .await;
}

#[actix_web::test]
async fn killed_services_come_back_with_all_that_was_acknowledged() {
    each_seed("killed_services_come_back", async |seed| {
        let Some(cluster) = Cluster::start() else { return };
        killed(World::start(cluster.site(), Needs::default(), seed).await).await;
    })
    .await;
}

#[actix_web::test]
async fn killed_services_on_sqlite_come_back_with_all_that_was_acknowledged() {
    each_seed("killed_services_on_sqlite", async |seed| {
        killed(World::start(Site::on_sqlite("HS256"), Needs::default(), seed).await).await;
    })
    .await;
}
