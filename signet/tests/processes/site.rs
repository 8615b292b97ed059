//! A place where the services run: databases, a ring of keys in a file, ports, and the processes themselves.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use actix_web::rt::task::spawn_blocking;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::Pid;
use serde_json::{Value, json};
use service_kit::Clock;
use shared_claims::{Claims, KeyRing, Signer};
use tempfile::TempDir;
use test_support::{Backend, TestCluster, TestDatabase};
use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Instant, sleep},
};

use crate::{
    client::{Client, Outcome, Tokens},
    programs,
};

pub(crate) const ADMIN_EMAIL: &str = "admin@localhost";
pub(crate) const ADMIN_PASSWORD: &str = "brass-lantern-over-quiet-water";

/// How long a condition may take to come true before the test has failed: much longer than it should.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
pub(crate) const BREATH: Duration = Duration::from_millis(10);

/// The issuer that is the default of all programs.
const ISSUER: &str = "http://127.0.0.1:8080";

/// The databases of the services; the replicas of one share its own.
struct Databases {
    auth: TestDatabase,
    user: TestDatabase,
    resource: TestDatabase,
}

/// A port that is held until the process to listen there is started.
struct Reserved(TcpListener);

impl Reserved {
    /// Ports from below those that the system hands out by itself, so that one can be left and taken again.
    fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Other test processes begin elsewhere.
        let first = u16::try_from(std::process::id() % 10_000).unwrap();
        loop {
            let port = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                return Self(listener);
            }
        }
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// Where services run. Dropped after them.
pub(crate) struct Site {
    pub(crate) directory: TempDir,
    databases: Databases,
    ports: Ports,
    /// The words before those that start a service.
    pub(crate) launcher: Vec<String>,
}

/// Everybody knows from the start where the others will be.
struct Ports {
    auth: [u16; 2],
    user: u16,
    resource: u16,
    reserved: std::sync::Mutex<Vec<Reserved>>,
}

impl Ports {
    fn reserve() -> Self {
        let reserved: [Reserved; 4] = std::array::from_fn(|_| Reserved::new());
        let [a, b, user, resource] = std::array::from_fn(|place| reserved[place].port());
        Self { auth: [a, b], user, resource, reserved: std::sync::Mutex::new(reserved.into()) }
    }

    fn release(&self, port: u16) {
        self.reserved.lock().unwrap().retain(|reserved| reserved.port() != port);
    }
}

impl Site {
    /// A site on schemas of its own, with a new key of that kind; `None` where there is no PostgreSQL.
    pub(crate) fn new(algorithm: &str) -> Option<Self> {
        let create = || TestDatabase::create(Backend::Postgres);
        Some(Self::on(Databases { auth: create()?, user: create()?, resource: create()? }, algorithm))
    }

    /// A site on a cluster that the test may kill.
    pub(crate) fn in_cluster(cluster: &TestCluster, algorithm: &str) -> Self {
        let create = || cluster.create_database();
        Self::on(Databases { auth: create(), user: create(), resource: create() }, algorithm)
    }

    /// A site on files.
    pub(crate) fn on_sqlite(algorithm: &str) -> Self {
        let create = || TestDatabase::create(Backend::Sqlite).unwrap();
        Self::on(Databases { auth: create(), user: create(), resource: create() }, algorithm)
    }

    fn on(databases: Databases, algorithm: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("signet-site.").tempdir().unwrap();
        let site = Self { directory, databases, ports: Ports::reserve(), launcher: Vec::new() };
        let ring = site.ring();
        site.signet_succeeds(&["keys", "generate", "--alg", algorithm, "--file", ring.to_str().unwrap()]);
        site
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file with the keys.
    pub(crate) fn ring(&self) -> PathBuf {
        self.file("ring.json")
    }

    /// Adds that many common secrets to the file, which verify and do not sign. Their ids are `spare-0` and so on.
    pub(crate) fn add_spare_keys(&self, count: usize) {
        let mut ring: Value = serde_json::from_slice(&fs::read(self.ring()).unwrap()).unwrap();
        for number in 0..count {
            let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
            let key = json!({ "kty": "oct", "alg": "HS256", "kid": format!("spare-{number}"), "k": secret });
            ring["keys"].as_array_mut().unwrap().push(key);
        }
        fs::write(self.ring(), ring.to_string()).unwrap();
    }

    /// Signs claims with any key of the file.
    pub(crate) fn sign_with(&self, kid: &str, claims: &Claims) -> String {
        let mut ring: Value = serde_json::from_slice(&fs::read(self.ring()).unwrap()).unwrap();
        ring["keys"].as_array_mut().unwrap().retain(|key| key["kid"] == kid);
        let ring = KeyRing::from_jwk_set(ring.to_string().as_bytes()).unwrap();
        Signer::new(&ring).unwrap().sign(claims).unwrap()
    }

    /// The keys in the file, as they are now.
    pub(crate) fn keys(&self) -> KeyRing {
        KeyRing::from_jwk_set(&fs::read(self.ring()).unwrap()).unwrap()
    }

    pub(crate) fn signing_kid(&self) -> String {
        self.keys().key_ids().next().unwrap().to_owned()
    }

    /// Where a replica of auth-service is.
    pub(crate) fn auth_url(&self, replica: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports.auth[replica])
    }

    /// Where user-service is.
    pub(crate) fn user_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.user)
    }

    /// The databases of auth-service, user-service and resource-service.
    pub(crate) fn databases(&self) -> [&TestDatabase; 3] {
        [&self.databases.auth, &self.databases.user, &self.databases.resource]
    }

    /// Takes the table away that tells which migrations were applied to resource-service's database.
    pub(crate) fn forget_migrations_of_resource(&self) {
        self.databases.resource.execute("DROP TABLE __diesel_schema_migrations");
    }

    /// The operator's program, with nothing of this process's environment.
    pub(crate) fn signet(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::path_of("signet"));
        command.args(arguments).env_clear().current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// What the operator's program prints when it succeeds.
    #[track_caller]
    pub(crate) fn signet_succeeds(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.signet(arguments).output().unwrap();
        assert!(status.success(), "signet {arguments:?}: {status}, {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// What `signet keys` prints of this site's ring and its first replica, while everything else goes on.
    pub(crate) async fn signet_keys(&self, arguments: &[&str]) -> String {
        let mut command = self.signet(&["keys"]);
        command.args(arguments).arg("--file").arg(self.ring()).args(["--auth-url", &self.auth_url(0)]);
        let Output { status, stdout, stderr } = spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(status.success(), "signet keys {arguments:?}: {status}, {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// The claims of a token that would be taken now.
    pub(crate) fn claims(sub: &str, scope: &str) -> Claims {
        let now = Clock::system().now().as_seconds();
        Claims {
            iss: ISSUER.to_owned(),
            sub: sub.to_owned(),
            aud: ["auth-service", "user-service", "resource-service"].map(str::to_owned).into(),
            iat: now,
            exp: now + 3_600,
            jti: format!("{:032x}", rand::random::<u128>()),
            scope: scope.to_owned(),
            ..Claims::default()
        }
    }

    /// A service token, signed with the first key of the file.
    pub(crate) fn service_token(&self) -> String {
        let claims = Claims { client_id: Some("test".to_owned()), ..Self::claims("test", "signet:internal") };
        self.sign_with(&self.signing_kid(), &claims)
    }

    /// Starts a replica of auth-service; environment variables come on top.
    pub(crate) fn start_auth(&self, replica: usize, environment: &[(&str, &str)]) -> Service {
        let user_url = format!("http://127.0.0.1:{}", self.ports.user);
        let mut pairs = vec![
            ("SIGNET__DATABASE__URL", self.databases.auth.url()),
            ("SIGNET__REFRESH__SECRET", "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ"),
            ("SIGNET__SERVICES__USER_URL", &user_url),
        ];
        pairs.extend(environment);
        let name = if replica == 0 { "auth-service-a" } else { "auth-service-b" };
        self.start("auth-service", name, self.ports.auth[replica], &pairs)
    }

    /// Starts user-service, which tells a replica of auth-service of changes and follows the feed there.
    pub(crate) fn start_user(&self, replica: usize, environment: &[(&str, &str)]) -> Service {
        let auth_url = self.auth_url(replica);
        let mut pairs = vec![
            ("SIGNET__DATABASE__URL", self.databases.user.url()),
            ("SIGNET__PASSWORDS__PEPPER", "Zt6nWb3qYf9kMr1xHd8vJc5pLg2sUa7eQo4iVyTwNzE"),
            ("SIGNET__PASSWORDS__COST", "4"),
            ("SIGNET__BOOTSTRAP__ADMIN_EMAIL", ADMIN_EMAIL),
            ("SIGNET__BOOTSTRAP__ADMIN_PASSWORD", ADMIN_PASSWORD),
            ("SIGNET__SERVICES__AUTH_URL", &auth_url),
        ];
        pairs.extend(environment);
        self.start("user-service", "user-service", self.ports.user, &pairs)
    }

    /// Starts resource-service, which follows the feed of a replica of auth-service.
    pub(crate) fn start_resource(&self, replica: usize, environment: &[(&str, &str)]) -> Service {
        let auth_url = self.auth_url(replica);
        let mut pairs =
            vec![("SIGNET__DATABASE__URL", self.databases.resource.url()), ("SIGNET__SERVICES__AUTH_URL", &auth_url)];
        pairs.extend(environment);
        self.start("resource-service", "resource-service", self.ports.resource, &pairs)
    }

    fn start(&self, program: &str, name: &'static str, port: u16, environment: &[(&str, &str)]) -> Service {
        let bind = format!("127.0.0.1:{port}");
        let ring = self.ring();
        let mut pairs = vec![
            ("RUST_LOG", "info"),
            ("SIGNET__SERVER__BIND", bind.as_str()),
            ("SIGNET__SERVER__WORKERS", "1"),
            ("SIGNET__DATABASE__POOL_SIZE", "4"),
            ("SIGNET__TOKENS__JWKS_FILE", ring.to_str().unwrap()),
        ];
        pairs.retain(|(key, _)| environment.iter().all(|(other, _)| key != other));
        pairs.extend(environment);
        let mut service = Service {
            name,
            launcher: self.launcher.clone(),
            program: programs::path_of(program),
            environment: pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            url: format!("http://{bind}"),
            directory: self.directory.path().to_owned(),
            log: self.file(&format!("{name}.log")),
            child: None,
        };
        self.ports.release(port);
        service.start();
        service
    }
}

/// A service that runs as a process of its own, and ends with this value.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    launcher: Vec<String>,
    program: PathBuf,
    environment: Vec<(String, String)>,
    pub(crate) url: String,
    directory: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Service {
    /// Starts it, the first time or again. It takes a moment until it listens.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = match self.launcher.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let child = command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its process. It must run.
    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Whether its process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some())
    }

    /// Waits until it ends by itself, and says with which code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// What its program does with this flag, in the same environment but for what comes on top.
    pub(crate) fn run(&self, flag: &str, environment: &[(&str, &str)]) -> Output {
        Command::new(&self.program)
            .arg(flag)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(environment.iter().copied())
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it says of its readiness, if it says anything.
    pub(crate) async fn readiness(&self) -> Outcome {
        let client = self.client();
        client.send(client.request(reqwest::Method::GET, "/readyz")).await
    }

    /// Waits until it says that it can do its work, the following of the feed included.
    pub(crate) async fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.readiness().await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{} has ended: {ended:?}\n{}", self.name, self.log());
            assert!(Instant::now() < deadline, "{} is not ready: {answer:?}", self.name);
            sleep(BREATH).await;
        }
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.url.clone())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- what {} wrote:\n{}", self.name, self.log());
        }
    }
}

/// All services, with one or two replicas of auth-service.
pub(crate) struct Stack {
    pub(crate) auth: Vec<Service>,
    pub(crate) user: Service,
    pub(crate) resource: Service,
    /// Declared last: it goes when nothing uses it any more.
    pub(crate) site: Site,
}

impl Stack {
    /// Starts everything and waits until it is ready. user-service tells the last replica of auth-service of changes;
    /// resource-service follows the first.
    pub(crate) async fn start(site: Site, replicas: usize, auth_environment: &[(&str, &str)]) -> Self {
        let mut stack = Self {
            auth: (0..replicas).map(|replica| site.start_auth(replica, auth_environment)).collect(),
            user: site.start_user(replicas - 1, &[]),
            resource: site.start_resource(0, &[]),
            site,
        };
        stack.ready().await;
        stack
    }

    pub(crate) async fn ready(&mut self) {
        for service in self.services() {
            service.ready().await;
        }
    }

    pub(crate) fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        self.auth.iter_mut().chain([&mut self.user, &mut self.resource])
    }

    /// Every process that verifies tokens, with a path that a user's token opens.
    pub(crate) fn everywhere(&self) -> Vec<(Client, &'static str)> {
        let auth = self.auth.iter().map(|replica| (replica.client(), "/auth/me"));
        auth.chain([(self.user.client(), "/users/me"), (self.resource.client(), "/persons?limit=1")]).collect()
    }

    /// The admin's tokens.
    pub(crate) async fn admin(&self) -> Tokens {
        Tokens::of(&self.auth[0].client().log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.unwrap().expect(200))
    }
}

static RUNNING: RwLock<()> = RwLock::const_new(());

/// Lets a test run while no other one of this target does: it measures, or puts a heavy load on the machine.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNNING.write().await
}

/// Lets a test run beside others that do not mind.
pub(crate) async fn beside_others() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().await
}

/// A number from the environment, for the long form of a test.
#[allow(clippy::disallowed_methods, reason = "tests have no configuration but such variables")]
pub(crate) fn number_from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Asks until the answer is yes.
pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "this did not come true: {what}");
        sleep(BREATH).await;
    }
}
