//! A disk that is full: what has to be written is refused, what is only read goes on, and all is well when there is room.

use std::time::Duration;

use reqwest::Method;
use test_support::{SmallDisk, TestCluster};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    journal::Told,
    seeds::{between, each_seed, say_skipped},
    site::Site,
    world::{Cluster, Needs, World, address_of},
};

/// Room for databases that have just been made, and some for what is written to them.
const SQLITE_MEGABYTES: u32 = 48;
const POSTGRES_MEGABYTES: u32 = 192;

/// How long the disk stays full, and how often what has become free is taken again.
const TIMES: usize = 8;

fn disk(test: &str, megabytes: u32) -> Option<SmallDisk> {
    SmallDisk::new(megabytes).inspect_err(|reason| say_skipped(test, reason)).ok()
}

impl World {
    /// Reads that write nothing. Whether all of them were answered.
    async fn reads(&self) -> bool {
        let mut all = true;
        for (client, path) in self.doors.everywhere() {
            let started = Instant::now();
            let outcome = client.get(path, &self.doors.admin).await;
            match self.journal.told("read while full", started, outcome) {
                Told::Done(_) => {}
                Told::Refused(answer) => panic!("{path}: {answer:?}"),
                Told::Unknown => all = false,
            }
        }
        all
    }

    /// A few hundred persons at once: more than fits into what was free within the files.
    async fn writes(&self, number: usize) -> bool {
        let lines = (0..300).map(|line| format!("full-{number}-{line},{}\n", "n".repeat(200)));
        let request = self.doors.resource.request(Method::POST, "/persons/import").bearer_auth(&self.doors.admin);
        let request =
            request.header("content-type", "text/csv").body(format!("id,name\n{}", lines.collect::<String>()));
        let started = Instant::now();
        let outcome = self.doors.resource.send(request).await;
        match self.journal.told("written while full", started, outcome) {
            Told::Done(_) => true,
            Told::Refused(answer) => panic!("{answer:?}"),
            Told::Unknown => false,
        }
    }
}

#[actix_web::test]
async fn with_sqlite_on_a_full_disk_reads_go_on_and_writes_come_back() {
    let test = "with_sqlite_on_a_full_disk";
    each_seed(test, async move |seed| {
        let Some(disk) = disk(test, SQLITE_MEGABYTES) else { return };
        let mut site = Site::on_sqlite("HS256");
        site.launcher = disk.launcher();
        let urls = ["auth", "user", "resource"].map(|name| format!("sqlite:{}/{name}.db", disk.path().display()));
        let world = World::start_on(site, urls, None, Needs::default(), seed).await;
        world
            .under_load(async |world| {
                let mut random = world.choices();
                let mut written = 0;
                for number in 0..TIMES {
                    disk.fill();
                    written += usize::from(world.writes(number).await);
                    assert!(world.reads().await, "a read is not answered");
                    sleep(between(50, 250, &mut random)).await;
                }
                // Some find room where something was before.
                assert!(written < TIMES, "nothing was refused");
                disk.free();
            })
            .await;
    })
    .await;
}

#[actix_web::test]
async fn with_postgres_on_a_full_disk_nothing_is_lost() {
    let test = "with_postgres_on_a_full_disk";
    each_seed(test, async move |seed| {
        let Some(disk) = disk(test, POSTGRES_MEGABYTES) else { return };
        if !disk.is_for_postgres() {
            say_skipped(test, "only root can run PostgreSQL on a small disk");
            return;
        }
        let Some(cluster) = TestCluster::start_on(&disk) else { return };
        let cluster = Cluster::of(cluster);
        let world = World::start(cluster.site(), Needs::default(), seed).await;
        world
            .under_load(async |world| {
                let mut random = world.choices();
                let mut written = 0;
                for number in 0..TIMES {
                    disk.fill();
                    written += usize::from(world.writes(number).await);
                    sleep(between(50, 250, &mut random)).await;
                }
                println!("{written} of {TIMES} were written");
                assert!(written < TIMES, "nothing was refused");
                disk.free();
                // Without room for its log the server gives up. If it has not, nothing has to be started again.
                sleep(Duration::from_millis(500)).await;
                let address = address_of(world.stack.site.databases()[0].url());
                let gave_up = TcpStream::connect(address).await.is_err();
                println!("PostgreSQL has given up: {gave_up}");
                if gave_up {
                    cluster
                        .make(|cluster| {
                            cluster.stop_immediately();
                            cluster.restart();
                        })
                        .await;
                }
            })
            .await;
    })
    .await;
}
