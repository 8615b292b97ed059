//! The three services and one origin in front of them, in one process.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
};

use service_kit::{
    Clock, ConfigError, Service,
    config::{Configuration as _, ServerConfig},
    server::{self, StartError},
};
use tokio::sync::watch;
use user_service::BootstrapOutcome;

/// What a stack is made of. The addresses under `server` of the services are not used: they follow the origin's.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Where the one origin listens, and for whom.
    pub origin: ServerConfig,
    /// auth-service. An empty `services.user_url` is filled in with the stack's own user-service.
    pub auth: auth_service::Config,
    /// user-service. An empty `services.auth_url` is filled in with the stack's own auth-service.
    pub user: user_service::Config,
    /// resource-service. So is its `services.auth_url`; and an empty `tokens.issuer` of each is the origin.
    pub resource: resource_service::Config,
}

impl StackConfig {
    /// Checks the configuration of every service.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.origin.validate()?;
        self.auth.validate()?;
        self.user.validate()?;
        self.resource.validate()
    }
}

/// Where a stack listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// All that clients may call.
    pub origin: SocketAddr,
    /// auth-service's own port.
    pub auth: SocketAddr,
    /// user-service's own port.
    pub user: SocketAddr,
    /// resource-service's own port.
    pub resource: SocketAddr,
}

/// A stack that listens. It answers while [`Stack::run_until`] is awaited.
pub struct Stack {
    addresses: Addresses,
    bootstrap: BootstrapOutcome,
    origin: Service,
    auth: Service,
    user: Service,
    resource: Service,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Stack {
    /// Listens on the origin's address and on the three ports after it (all chosen freely for port 0), opens the
    /// databases, brings their schemas up to date and makes the first admin if there is none.
    ///
    /// The origin serves what clients may call, straight from the three services. `/internal`, health and metrics are
    /// on the services' own ports alone.
    pub fn start(mut config: StackConfig, clock: &Clock) -> Result<Self, StartError> {
        let [origin, auth, user, resource] = listen(config.origin.bind)?;
        let addresses = Addresses {
            origin: address(&origin)?,
            auth: address(&auth)?,
            user: address(&user)?,
            resource: address(&resource)?,
        };
        fill_in(&mut config.auth.tokens.issuer, addresses.origin);
        fill_in(&mut config.user.tokens.issuer, addresses.origin);
        fill_in(&mut config.resource.tokens.issuer, addresses.origin);
        fill_in(&mut config.auth.services.user_url, addresses.user);
        fill_in(&mut config.user.services.auth_url, addresses.auth);
        fill_in(&mut config.resource.services.auth_url, addresses.auth);
        config.validate()?;

        let auth_app = auth_service::App::new(config.auth, clock.clone())?;
        let resource_app = resource_service::App::new(config.resource, clock.clone())?;
        // Last, for it may make an admin whose password is shown only if all else goes well.
        let user_app = user_service::App::new(config.user, clock.clone())?;
        let (auth_routes, user_routes, resource_routes) =
            (auth_app.public_routes(), user_app.public_routes(), resource_app.public_routes());
        let origin = Service::start(&config.origin, origin, None, move |routes| {
            auth_routes(routes);
            user_routes(routes);
            resource_routes(routes);
        })
        .map_err(|cause| StartError::Unavailable(format!("the origin cannot be started: {cause}")))?
        .with_preparation(user_app.first_news())
        .with_preparation(resource_app.first_news());
        Ok(Self {
            addresses,
            bootstrap: user_app.bootstrap_outcome(),
            origin,
            auth: auth_app.start(auth)?,
            user: user_app.start(user)?,
            resource: resource_app.start(resource)?,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether the first admin was made at this start.
    pub fn bootstrap_outcome(&self) -> BootstrapOutcome {
        self.bootstrap
    }

    /// Answers requests until `stop` is done. Then no new ones are taken, those in flight are finished and the
    /// background tasks are ended.
    ///
    /// The origin stops first, and user-service after auth-service, which calls it: whoever still works finds whom it
    /// needs.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { origin, auth, user, resource, .. } = self;
        let (origin_stopped, auth_stopped) = (Event::new(), Event::new());
        // One that ends on its own takes the others with it.
        let ended = Event::new();

        let origin = async {
            let result = origin
                .run_until(async {
                    tokio::select! {
                        () = stop => {}
                        () = ended.happened() => {}
                    }
                })
                .await;
            origin_stopped.announce();
            result
        };
        let auth = async {
            let result = auth.run_until(origin_stopped.happened()).await;
            ended.announce();
            auth_stopped.announce();
            result
        };
        let user = async {
            let result = user.run_until(auth_stopped.happened()).await;
            ended.announce();
            result
        };
        let resource = async {
            let result = resource.run_until(origin_stopped.happened()).await;
            ended.announce();
            result
        };
        let (origin, auth, user, resource) = tokio::join!(origin, auth, user, resource);
        origin.and(auth).and(user).and(resource)
    }
}

/// Something that happens once, and that several may wait for.
struct Event(watch::Sender<bool>);

impl Event {
    fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    fn announce(&self) {
        self.0.send_replace(true);
    }

    async fn happened(&self) {
        // It fails when the sender is gone, and that is held here.
        let _ = self.0.subscribe().wait_for(|happened| *happened).await;
    }
}

/// Listeners for the origin and the services, so that a port that is taken is noticed before anything is written.
fn listen(origin: SocketAddr) -> Result<[TcpListener; 4], StartError> {
    let port = |offset: u16| match origin.port() {
        0 => Ok(0),
        first => first.checked_add(offset).ok_or_else(|| {
            let problem = format_args!("must leave room for the services' own ports: {} at most", u16::MAX - 3);
            StartError::from(ConfigError::new("server.bind", problem))
        }),
    };
    port(3)?;
    let bind = |offset: u16| server::bind("server.bind", SocketAddr::new(origin.ip(), port(offset)?));
    Ok([bind(0)?, bind(1)?, bind(2)?, bind(3)?])
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|cause| StartError::Unavailable(format!("a listener has no address: {cause}")))
}

fn fill_in(url: &mut String, address: SocketAddr) {
    if url.is_empty() {
        *url = url_of(address);
    }
}

/// The URL to reach a listener under from this machine.
pub(crate) fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_under_the_loopback_one() {
        for (address, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.0.2.7:8080", "http://192.0.2.7:8080"),
        ] {
            assert_eq!(url_of(address.parse().unwrap()), url);
        }
    }

    #[test]
    fn the_services_have_the_three_ports_after_the_origins() {
        // Below the ports that systems hand out by themselves.
        let listeners = (20_000..30_000)
            .step_by(4)
            .find_map(|port| listen(SocketAddr::from(([127, 0, 0, 1], port))).ok())
            .expect("four ports in a row that are free");
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        assert_eq!(ports, [ports[0], ports[0] + 1, ports[0] + 2, ports[0] + 3]);
    }

    #[test]
    fn the_services_ports_must_fit_behind_the_origins() {
        let refusal = listen("127.0.0.1:65533".parse().unwrap()).unwrap_err();
        assert!(matches!(refusal, StartError::Config(_)));
        assert!(refusal.to_string().contains("server.bind"), "{refusal}");
    }
}
