//! The same through the origin that is deployed: nginx with the configuration of `deploy/nginx`.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use crate::{
    installed::{available, program},
    site::{Site, assert_problem, post},
    wire::{Answer, Connection},
};

/// nginx in front of a stack, until it is dropped.
struct Origin {
    place: TempDir,
    address: SocketAddr,
}

impl Origin {
    fn start(nginx: &Path, site: &Site) -> Self {
        let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nginx");
        let place = tempfile::Builder::new().prefix("signet-origin.").tempdir().unwrap();
        let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(path("conf.d")).unwrap();
        // A port that is free now; nothing else of this test takes one.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        for name in ["nginx.conf", "origin.conf"] {
            let mut text = fs::read_to_string(deployed.join(name)).unwrap();
            for (deployed, here) in [
                // First, because that is where this place is.
                ("/tmp", place.path().to_str().unwrap()),
                ("/etc/nginx/signet", place.path().to_str().unwrap()),
                ("/dev/stderr", &path("error.log")),
                ("/dev/stdout", &path("access.log")),
                ("listen origin:8080", &format!("listen {address}")),
                ("listen 127.0.0.1:8090", &format!("listen unix:{}", path("health.sock"))),
                ("resolver 127.0.0.11", "resolver 127.0.0.1"),
            ] {
                text = text.replace(deployed, here);
            }
            for service in ["auth-service:8081", "user-service:8082", "resource-service:8083"] {
                text = text.replace(service, &site.address().to_string());
            }
            fs::write(path(name), text).unwrap();
        }
        let origin = Self { place, address };
        origin.run(nginx, &[]);
        origin
    }

    fn run(&self, nginx: &Path, arguments: &[&str]) {
        let done = Command::new(nginx)
            .arg("-p")
            .arg(self.place.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn statuses(&self, sent: &str) -> Vec<u16> {
        let mut connection = Connection::to(self.address);
        connection.send(sent.as_bytes());
        connection.all().0.iter().map(|answer| answer.status).collect()
    }
}

/// Whether nginx answers or a service behind it, and once each.
fn assert_guarded(answer: &Answer) {
    assert_eq!(answer.all("x-content-type-options"), ["nosniff"], "{answer:?}");
    assert_eq!(answer.all("cache-control"), ["no-store"], "{answer:?}");
    assert_eq!(answer.all("server"), ["nginx"], "without its version: {answer:?}");
    assert_eq!(answer.all("x-powered-by"), [""; 0], "{answer:?}");
}

#[test]
fn behind_the_deployed_origin_a_request_ends_where_nginx_says_it_does() {
    let Some(nginx) = available("the abuse test with nginx", "REQUIRE_INTEROP", program("nginx")) else { return };
    let site = Site::start_with(&[("SIGNET__SERVER__TRUSTED_PROXIES", "127.0.0.1")]);
    let origin = Origin::start(&nginx, &site);
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

    // Refused here, so that the service need not be trusted to see it in the same way.
    for lines in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "content-length: +2\r\n\r\n{}",
        "content-length : 2\r\n\r\n{}",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
        "x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        assert_eq!(origin.statuses(&format!("{head}{lines}{}", site.me())), [400], "{lines:?}");
    }
    for lines in [
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(origin.statuses(&format!("{head}{lines}{}", site.me())), [501], "{lines:?}");
    }
    // What is read, is read alike, and the next request as well.
    for lines in [
        "content-length: 2\r\n\r\n{}",
        "transfer-encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        assert_eq!(origin.statuses(&format!("{head}{lines}{}", site.me())), [422, 200], "{lines:?}");
    }
    for (path, status) in [
        ("/auth/me", 200),
        ("/auth/%6de", 200),
        ("/auth/./me", 404),
        ("/auth/%2e%2e/auth/me", 404),
        ("//auth/me", 404),
        ("/persons/..%2finternal/users", 404),
        ("/persons/%00", 400),
        ("/persons/%zz", 400),
        ("/.bad-request", 404),
        ("/internal/users", 404),
        ("/%69nternal/users", 404),
        ("/INTERNAL/users", 404),
        ("/healthz", 404),
        ("/metrics", 404),
    ] {
        let mut connection = Connection::to(origin.address);
        let token = &site.token;
        connection.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n").as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status != 200 {
            assert_problem(&answer, status);
        }
        assert_guarded(&answer);
    }
    for (request, status) in [
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000)), 414),
        (format!("GET /auth/me HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(100_000)), 400),
        (post("/auth/login", &"a".repeat(70_000)), 413),
    ] {
        let mut connection = Connection::to(origin.address);
        connection.send(request.as_bytes());
        let answer = connection.answer();
        assert_problem(&answer, status);
        assert_guarded(&answer);
    }
    origin.run(&nginx, &["-s", "stop"]);
    site.check();
}
