//! A user-service that is slow or half dead: log-ins are told so in time, and nothing else notices.

use std::time::Duration;

use rand::seq::SliceRandom as _;
use rustix::process::{Signal, kill_process};
use tokio::time::sleep;

use crate::{
    relay::Manner,
    seeds::{between, each_seed},
    world::{Cluster, Needs, World},
};

/// A log-in is answered within this time: what auth-service waits for user-service (`services.timeout_ms`), and some more
/// for a machine that is busy.
const LOG_IN_WITHIN: Duration = Duration::from_millis(3500);

/// What user-service has no part in.
const ELSEWHERE: [&str; 8] = [
    "refreshed",
    "who am I",
    "proxy asks",
    "persons listed",
    "person read",
    "person made",
    "person changed",
    "logged out",
];

#[derive(Clone, Copy, Debug)]
enum Way {
    Treated(Manner),
    Stopped,
}

#[actix_web::test]
async fn a_slow_or_half_dead_user_service_holds_up_log_ins_alone_and_not_for_long() {
    each_seed("a_slow_or_half_dead_user_service", async |seed| {
        let Some(cluster) = Cluster::start() else { return };
        let needs = Needs { relay_to_users: true, ..Needs::default() };
        let world = World::start(cluster.site(), needs, seed).await;
        world
            .under_load(async |world| {
                let mut random = world.choices();
                let late = Manner::Late { most: Duration::from_secs(3) };
                let mut ways = [
                    Way::Treated(late),
                    Way::Treated(Manner::Silent),
                    Way::Treated(Manner::HalfAnswered),
                    Way::Stopped,
                ];
                ways.shuffle(&mut random);
                let user_service = world.stack.user.process();
                for way in ways {
                    println!("user-service: {way:?}");
                    let relay = world.to_users.as_ref().unwrap();
                    let lasting = between(800, 2500, &mut random);
                    match way {
                        Way::Treated(manner) => relay.treat(manner),
                        Way::Stopped => kill_process(user_service, Signal::STOP).unwrap(),
                    }
                    sleep(lasting).await;
                    match way {
                        Way::Treated(_) => relay.treat(Manner::Faithful),
                        Way::Stopped => kill_process(user_service, Signal::CONT).unwrap(),
                    }
                    sleep(between(0, 500, &mut random)).await;
                }
                for kind in ELSEWHERE {
                    let tally = world.journal.tally(kind);
                    assert_eq!(tally.unknown, 0, "{kind}: {tally:?}");
                }
                for kind in ["logged in", "registered"] {
                    let tally = world.journal.tally(kind);
                    assert!(tally.slowest < LOG_IN_WITHIN, "{kind}: {tally:?}");
                }
            })
            .await;
    })
    .await;
}
