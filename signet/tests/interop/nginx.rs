//! nginx, with the configuration of the page.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    page::{self, replaced},
    ring::Kind,
    stack::TestStack,
    tools,
    upstream::{Gate, Upstream},
};

/// An nginx that runs by itself until it is told to stop.
struct Nginx {
    program: &'static Path,
    place: TempDir,
}

impl Nginx {
    /// Starts it with the page's configuration, behind a socket in the file system, as no port is free for sure. When
    /// this returns, it listens.
    fn start(program: &'static Path, auth_service: &str, orders: &str) -> Self {
        let place = tempfile::Builder::new().prefix("signet-nginx.").tempdir().unwrap();
        let snippet = page::file("signet.conf");
        let snippet = replaced(&snippet, "server 127.0.0.1:8081;", &format!("server {auth_service};"));
        let snippet = replaced(&snippet, "server 127.0.0.1:9000;", &format!("server {orders};"));
        let socket = format!("listen unix:{};", socket_in(place.path()).display());
        let snippet = replaced(&snippet, "listen 8000;", &socket);
        fs::create_dir(place.path().join("conf.d")).unwrap();
        fs::write(place.path().join("conf.d/signet.conf"), snippet).unwrap();
        fs::write(place.path().join("nginx.conf"), MAIN).unwrap();
        let nginx = Self { program, place };
        nginx.run(&[]);
        nginx
    }

    fn run(&self, arguments: &[&str]) {
        let log = self.place.path().join("error.log");
        let status = Command::new(self.program)
            .arg("-p")
            .arg(self.place.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .args(arguments)
            .stderr(fs::File::options().create(true).append(true).open(&log).unwrap())
            .status()
            .unwrap();
        assert!(status.success(), "{status}: {}", fs::read_to_string(log).unwrap_or_default());
    }

    fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().unix_socket(socket_in(self.place.path())).build().unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.place.path().join("nginx.pid").exists() {
            self.run(&["-s", "stop"]);
        }
    }
}

fn socket_in(place: &Path) -> PathBuf {
    place.join("nginx.sock")
}

/// What is around the files of `conf.d`: as little as will do, and nothing outside the directory.
const MAIN: &str = "
worker_processes 1;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    include conf.d/*.conf;
}
";

#[actix_web::test]
async fn nginx_asks_auth_service_before_it_lets_a_request_pass() {
    let Some(program) = tools::nginx() else { return };
    let mut stack = TestStack::start(Kind::CommonSecret);
    let upstream = Upstream::start();
    let auth_service = stack.auth_url.strip_prefix("http://").unwrap();
    let nginx = Nginx::start(program, auth_service, &upstream.address);
    let gate = Gate { http: nginx.client(), base: "http://orders.example".to_owned(), upstream: &upstream };

    // The way to auth-service is nginx's own.
    let response = gate.http.get(format!("{}/.signet-verify", gate.base)).send().await.unwrap();
    assert_eq!(response.status(), 404);
    gate.is_tight(&mut stack).await;
}
