//! PostgreSQL goes away in each way that it has, and comes back.

use rand::{RngExt as _, seq::SliceRandom as _};
use test_support::TestCluster;
use tokio::time::sleep;

use crate::{
    seeds::{between, each_seed},
    world::{Cluster, Needs, World},
};

#[derive(Clone, Copy, Debug)]
enum Way {
    StoppedFast,
    StoppedImmediately,
    Killed,
    Paused,
}

#[actix_web::test]
async fn a_database_that_stops_crashes_or_pauses_loses_nothing() {
    each_seed("a_database_that_stops", async |seed| {
        let Some(cluster) = Cluster::start() else { return };
        let world = World::start(cluster.site(), Needs::default(), seed).await;
        world
            .under_load(async |world| {
                let mut random = world.choices();
                let mut ways = [Way::StoppedFast, Way::StoppedImmediately, Way::Killed, Way::Paused];
                ways.shuffle(&mut random);
                for way in ways {
                    // A pause shorter than the time-outs, or longer than some of them.
                    let absence = if random.random_ratio(1, 3) { (1500, 4000) } else { (0, 500) };
                    let absence = between(absence.0, absence.1, &mut random);
                    println!("PostgreSQL: {way:?} for {absence:?}");
                    cluster
                        .make(match way {
                            Way::StoppedFast => TestCluster::stop_fast,
                            Way::StoppedImmediately => TestCluster::stop_immediately,
                            Way::Killed => TestCluster::kill,
                            Way::Paused => TestCluster::pause,
                        })
                        .await;
                    sleep(absence).await;
                    cluster
                        .make(if matches!(way, Way::Paused) { TestCluster::resume } else { TestCluster::restart })
                        .await;
                    sleep(between(200, 800, &mut random)).await;
                }
            })
            .await;
    })
    .await;
}
