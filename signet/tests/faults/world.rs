//! The services of a run, the load on them, and what has to hold when it is over.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::rt::{spawn, task::spawn_blocking};
use futures_util::future::{join_all, join4};
use rand::rngs::StdRng;
use shared_claims::Claims;
use test_support::{Backend, TestCluster};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    accounts::Visitor,
    client::Client,
    imports::Importer,
    journal::{Doors, Journal},
    members::Admin,
    persons::Editor,
    relay::Relay,
    seeds::choices,
    site::{ADMIN_EMAIL, ADMIN_PASSWORD, BREATH, PATIENCE, Service, Site, Stack},
};

/// A service says that it can work again within this time of the end of a fault.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// How long clients are at it before the fault begins, and when everything is well again.
const BEFORE: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_millis(700);

const VISITORS: usize = 4;
const EDITORS: usize = 2;

/// The part of a run that chooses when what breaks.
const FAULT: u64 = 0;

/// What a run needs besides the services.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Relays between the services and PostgreSQL, and between the clients and the services.
    pub(crate) relays: bool,
    /// A relay between auth-service and user-service.
    pub(crate) relay_to_users: bool,
    /// A library that shows each process another clock, and where the processes find what it shows.
    pub(crate) clocks: Option<&'static str>,
}

/// Where everything runs.
pub(crate) struct World {
    pub(crate) stack: Stack,
    pub(crate) doors: Doors,
    pub(crate) journal: Rc<Journal>,
    pub(crate) to_database: Option<Relay>,
    pub(crate) to_services: Vec<Relay>,
    pub(crate) to_users: Option<Relay>,
    seed: u64,
}

/// Environment variables of a service.
type Environment = Vec<(&'static str, String)>;

fn borrowed(environment: &Environment) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Host and port of a URL.
pub(crate) fn address_of(url: &str) -> SocketAddr {
    let rest = url.rsplit_once('@').or(url.split_once("//")).unwrap().1;
    rest.split(['/', '?']).next().unwrap().parse().unwrap()
}

impl World {
    /// The services on that site, ready.
    pub(crate) async fn start(site: Site, needs: Needs, seed: u64) -> Self {
        let [auth, user, resource] = site.databases().map(|database| database.url().to_owned());
        let is_postgres = site.databases()[0].backend() == Backend::Postgres;
        let to_database =
            if needs.relays && is_postgres { Some(Relay::start(address_of(&auth), seed).await) } else { None };
        let through = |url: &str| match &to_database {
            Some(relay) => url.replacen(&address_of(url).to_string(), &relay.address().to_string(), 1),
            None => url.to_owned(),
        };
        Self::start_on(site, [through(&auth), through(&user), through(&resource)], to_database, needs, seed).await
    }

    /// The same on these databases.
    pub(crate) async fn start_on(
        site: Site,
        urls: [String; 3],
        to_database: Option<Relay>,
        needs: Needs,
        seed: u64,
    ) -> Self {
        let [auth_url, user_url, resource_url] = urls;
        let to_users =
            if needs.relay_to_users { Some(Relay::start(address_of(&site.user_url()), seed).await) } else { None };
        let users_at = to_users.as_ref().map_or(site.user_url(), |relay| format!("http://{}", relay.address()));
        let with_clock = |name: &str| -> Environment {
            match needs.clocks {
                Some(library) => {
                    let file = clock_file(&site, name);
                    fs::write(&file, "+0s").unwrap();
                    vec![
                        ("LD_PRELOAD", library.to_owned()),
                        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap().to_owned()),
                        ("FAKETIME_NO_CACHE", "1".to_owned()),
                        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
                        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
                    ]
                }
                None => Vec::new(),
            }
        };
        let clocks = ["auth-service-a", "auth-service-b", "user-service", "resource-service"].map(with_clock);
        let [clock_a, clock_b, user_clock, resource_clock] = &clocks;
        let with = |clock: &Environment, url: &'_ str, more: &[(&'static str, &'_ str)]| {
            let own = [("SIGNET__DATABASE__URL", url)];
            let pairs = own.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned()));
            pairs.chain(clock.iter().cloned()).collect::<Environment>()
        };
        let more = [
            ("SIGNET__SERVICES__USER_URL", users_at.as_str()),
            // Wrong passwords are tried from one address for everybody.
            ("SIGNET__LIMITS__FAILURES_PER_ADDRESS", "0"),
        ];
        let mut stack = Stack {
            auth: vec![
                site.start_auth(0, &borrowed(&with(clock_a, &auth_url, &more))),
                site.start_auth(1, &borrowed(&with(clock_b, &auth_url, &more))),
            ],
            user: site.start_user(1, &borrowed(&with(user_clock, &user_url, &[]))),
            resource: site.start_resource(0, &borrowed(&with(resource_clock, &resource_url, &[]))),
            site,
        };
        stack.ready().await;

        let mut to_services = Vec::new();
        let mut clients = Vec::new();
        for (number, service) in stack.services().enumerate() {
            if needs.relays {
                let relay = Relay::start(address_of(&service.url), seed + 1 + number as u64).await;
                clients.push(Client::new(format!("http://{}", relay.address())));
                to_services.push(relay);
            } else {
                clients.push(service.client());
            }
        }
        let admin = stack.auth[0].client().log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.unwrap().expect(200);
        let id = admin.json()["user"]["id"].as_str().unwrap().to_owned();
        let claims = Site::claims(&id, "persons:read persons:write users:read users:write");
        // Good by every clock that a process may be shown.
        let claims = Claims { ver: Some(1_000_000), iat: claims.iat - 7_200, exp: claims.exp + 86_400, ..claims };
        let [a, b, user, resource] = <[Client; 4]>::try_from(clients).ok().unwrap();
        let admin = stack.site.sign_with(&stack.site.signing_kid(), &claims);
        let journal = Journal::new(needs.clocks.is_some());
        Self {
            stack,
            doors: Doors { auth: [a, b], user, resource, admin },
            journal: Rc::new(journal),
            to_database,
            to_services,
            to_users,
            seed,
        }
    }

    /// The choices of what breaks and when.
    pub(crate) fn choices(&self) -> StdRng {
        choices(self.seed, FAULT)
    }

    /// What the named process takes for the time, from now on: this many seconds off.
    pub(crate) fn set_clock(&self, name: &str, seconds: i64) {
        let file = clock_file(&self.stack.site, name);
        let new = file.with_extension("new");
        fs::write(&new, format!("{seconds:+}s")).unwrap();
        // It may be read at any moment.
        fs::rename(&new, &file).unwrap();
    }

    /// Lets clients work while `fault` happens, and judges when it is over.
    pub(crate) async fn under_load(mut self, fault: impl AsyncFnOnce(&mut Self)) {
        let journal = self.journal.clone();
        let with = |number: usize| (self.doors.clone(), journal.clone(), choices(self.seed, 1 + number as u64));
        let visitors: Vec<_> = (0..VISITORS)
            .map(|number| {
                let (doors, journal, random) = with(number);
                spawn(Visitor::new(&format!("visitor-{number}"), doors, journal, random).work())
            })
            .collect();
        let editors: Vec<_> = (0..EDITORS)
            .map(|number| {
                let (doors, journal, random) = with(100 + number);
                spawn(Editor::new(&format!("editor-{number}"), doors, journal, random).work())
            })
            .collect();
        let (doors, its_journal, random) = with(200);
        let admin = spawn(Admin::new("member", doors, its_journal, random).work());
        let (doors, its_journal, random) = with(300);
        let importer = spawn(Importer::new(doors, its_journal, random).work());

        sleep(BEFORE).await;
        let started = Instant::now();
        fault(&mut self).await;
        let over = started.elapsed();
        self.is_ready_soon().await;
        let ready = started.elapsed();
        sleep(AFTER).await;
        journal.end();
        let finish = async {
            let mut all = (Vec::new(), Vec::new());
            for visitor in visitors {
                all.0.push(visitor.await.unwrap());
            }
            for editor in editors {
                all.1.push(editor.await.unwrap());
            }
            (all, admin.await.unwrap(), importer.await.unwrap())
        };
        let ((mut visitors, editors), admin, importer) =
            timeout(2 * PATIENCE, finish).await.expect("a client never gets an answer");
        self.is_calm().await;
        let calm = started.elapsed();
        let visitors = visitors.iter_mut().map(Visitor::check);
        let editors = editors.iter().map(Editor::check);
        join4(join_all(visitors), join_all(editors), admin.check(), importer.check()).await;
        self.check_tables();
        for service in self.stack.services() {
            assert!(!service.has_ended(), "{} has ended by itself", service.name);
            let log = service.log();
            assert!(!log.contains("panicked"), "{} has panicked:\n{log}", service.name);
        }
        journal.print();
        println!("over after {over:.1?}, ready {ready:.1?}, calm {calm:.1?}, judged {:.1?}", started.elapsed());
    }

    /// That every service can do its work again, soon.
    pub(crate) async fn is_ready_soon(&mut self) {
        let started = Instant::now();
        for service in self.stack.services() {
            loop {
                let answer = service.readiness().await;
                if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                    break;
                }
                assert!(!service.has_ended(), "{} has ended:\n{}", service.name, service.log());
                assert!(started.elapsed() < READY_WITHIN, "{} is not ready: {answer:?}", service.name);
                sleep(BREATH).await;
            }
        }
    }

    /// That no process turns in circles while there is nothing to do.
    async fn is_calm(&mut self) {
        const LOOK: Duration = Duration::from_millis(500);
        let used = |stack: &mut Stack| -> Vec<u64> { stack.services().map(|service| cpu_ticks(service)).collect() };
        // What was under way may still be finished, as may what was put off during the fault.
        for _ in 0..10 {
            let before = used(&mut self.stack);
            sleep(LOOK).await;
            // A hundred ticks are a second of one core.
            let busy = used(&mut self.stack).iter().zip(before).any(|(after, before)| after - before > 20);
            if !busy {
                return;
            }
        }
        panic!("a service is busy with nothing");
    }

    /// What holds for the tables however they came about.
    fn check_tables(&self) {
        let [auth, user, _] = self.stack.site.databases();
        if auth.backend() == Backend::Postgres {
            auth.execute(
                "CREATE TEMPORARY TABLE must (hold BOOLEAN CHECK (hold)); \
                 INSERT INTO must SELECT previous_number < current_number FROM sessions; \
                 INSERT INTO must SELECT COUNT(*) = COUNT(DISTINCT seq) FROM revocations; \
                 INSERT INTO must SELECT ended_at IS NOT NULL FROM sessions JOIN subjects USING (user_id) \
                 WHERE disabled OR deleted;",
            );
            user.execute(
                "CREATE TEMPORARY TABLE must (hold BOOLEAN CHECK (hold)); \
                 INSERT INTO must SELECT COUNT(*) = COUNT(DISTINCT lower(email)) FROM users; \
                 INSERT INTO must SELECT COUNT(*) = 0 FROM outbox;",
            );
        }
    }
}

fn clock_file(site: &Site, name: &str) -> PathBuf {
    site.file(&format!("clock-of-{name}"))
}

/// Processor time that a process has used, in hundredths of a second.
fn cpu_ticks(service: &Service) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.process().as_raw_nonzero())).unwrap();
    // The second field is a name in brackets; the fourteenth and fifteenth are the times.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// A cluster that can be handed to a thread, because its commands block.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Mutex<TestCluster>>);

impl Cluster {
    pub(crate) fn start() -> Option<Self> {
        Some(Self::of(TestCluster::start()?))
    }

    pub(crate) fn of(cluster: TestCluster) -> Self {
        Self(Arc::new(Mutex::new(cluster)))
    }

    pub(crate) fn site(&self) -> Site {
        Site::in_cluster(&self.0.lock().unwrap(), "HS256")
    }

    /// Does that to the server, while everything else goes on.
    pub(crate) async fn make(&self, change: fn(&mut TestCluster)) {
        let cluster = self.0.clone();
        spawn_blocking(move || change(&mut cluster.lock().unwrap())).await.unwrap();
    }
}
