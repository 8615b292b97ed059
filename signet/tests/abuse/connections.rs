//! More connections than there is anything to do on them.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::site::Site;

/// Files that both this process and the stack may open, whatever the shell says.
fn raise_limit() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(20_000, |maximum| maximum.min(20_000));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    usize::try_from(wanted).unwrap()
}

#[test]
fn thousands_of_idle_connections_keep_nobody_waiting() {
    let connections = (raise_limit() - 200).min(6_000);
    let site = Site::start();
    let before = site.megabytes();
    let half = b"GET /auth/me HTTP/1.1\r\nhost: a\r\nx: half a head".as_slice();
    let idle: Vec<_> = (0..connections)
        .map(|number| {
            let mut connection = site.connect();
            match number % 3 {
                // Says nothing, breaks off in the middle, or has been answered and stays.
                0 => {}
                1 => connection.send(half),
                _ => {
                    connection.send(site.me().as_bytes());
                    assert_eq!(connection.answer().status, 200);
                }
            }
            connection
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let asked = Instant::now();
        site.serves();
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?} beside {connections} idle connections");
    let each = site.megabytes().saturating_sub(before) * 1024 / u64::try_from(connections).unwrap();
    assert!(each < 64, "{each} KiB for each of {connections} idle connections");
    drop(idle);
    site.serves();
}
