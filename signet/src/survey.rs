//! The services of a stack, each looked at on its own port: is it there, is it ready, what does it know.

use std::{collections::BTreeMap, time::Duration};

use actix_web::http::header::HttpDate;
use clap::Args;
use reqwest::{Response, Url, header};
use serde::Deserialize;
use service_kit::{Clock, FieldError, Problem};

use crate::{
    config::SERVICES,
    connection::{http_client, is_loopback, parse_url},
    failure::Failure,
};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a stack is, and where its services' own ports are.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ports {
    /// Where the stack is
    #[arg(long, env = "SIGNET_URL", default_value = "http://127.0.0.1:8080", value_parser = parse_url)]
    pub(crate) url: Url,
    /// auth-service's own port [default on this machine: the one after the stack's]
    #[arg(long, env = "SIGNET_AUTH_URL", value_parser = parse_url)]
    auth_url: Option<Url>,
    /// user-service's own port [default on this machine: the second after the stack's]
    #[arg(long, env = "SIGNET_USER_URL", value_parser = parse_url)]
    user_url: Option<Url>,
    /// resource-service's own port [default on this machine: the third after the stack's]
    #[arg(long, env = "SIGNET_RESOURCE_URL", value_parser = parse_url)]
    resource_url: Option<Url>,
}

impl Ports {
    /// Each service with the URL of its own port, where that is known.
    pub(crate) fn services(&self) -> [(&'static str, Option<Url>); 3] {
        let given = [&self.auth_url, &self.user_url, &self.resource_url];
        let mut place = 0;
        SERVICES.map(|name| {
            place += 1;
            (name, given[usize::from(place) - 1].clone().or_else(|| self.next_to_origin(place)))
        })
    }

    /// The ports of `signet up` follow the origin's.
    fn next_to_origin(&self, offset: u16) -> Option<Url> {
        let mut url = self.url.clone();
        let port = url.port()?.checked_add(offset)?;
        (is_loopback(&url) && url.scheme() == "http" && url.set_port(Some(port)).is_ok()).then_some(url)
    }

    /// The option that names a service's own port.
    pub(crate) fn option(service: &str) -> String {
        format!("--{}-url", service.trim_end_matches("-service"))
    }
}

/// What was seen of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) version: Option<String>,
    /// Why it is not ready.
    pub(crate) faults: Vec<FieldError>,
    /// What it says of the feed of revocations.
    pub(crate) feed: Option<Feed>,
    /// Its clock minus ours, to the second.
    pub(crate) clock_ahead_seconds: Option<i64>,
    pub(crate) metrics: Metrics,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Feed {
    pub(crate) age_seconds: Option<u64>,
    pub(crate) entries: u64,
}

#[derive(Deserialize)]
struct Ready {
    feed: Option<Feed>,
}

/// The values that a service publishes for Prometheus, by name and labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        // A label's value may hold a blank, what follows the labels does not.
        Self(
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// A value without labels.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A label of a metric that has one series.
    fn label(&self, name: &str, label: &str) -> Option<String> {
        let series = self.0.keys().find(|series| series.starts_with(name))?;
        let (_, rest) = series.split_once(&format!("{label}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    }
}

/// Looks at a service; an error says in words why it could not be seen.
pub(crate) async fn look(url: &Url) -> Result<Seen, String> {
    let client = http_client(url).map_err(|failure: Failure| failure.to_string())?;
    let get = async |path: &str| -> Result<Response, String> {
        let address = url.join(path).map_err(|cause| cause.to_string())?;
        client.get(address).timeout(TIMEOUT).send().await.map_err(|cause| {
            if cause.is_connect() {
                format!("nothing answers at {url}")
            } else {
                format!("no answer from {url} in time")
            }
        })
    };
    let answer = get("readyz").await?;
    let clock_ahead_seconds = clock_ahead_seconds(&answer);
    let ready = answer.status().is_success();
    let body = answer.bytes().await.map_err(|_| format!("the answer of {url} broke off"))?;
    let mut seen = Seen { clock_ahead_seconds, ..Seen::default() };
    if ready {
        let ready: Ready = serde_json::from_slice(&body).map_err(|_| not_a_service(url))?;
        seen.feed = ready.feed;
    } else {
        let problem: Problem = serde_json::from_slice(&body).map_err(|_| not_a_service(url))?;
        if problem.status == 404 {
            return Err(not_a_service(url));
        }
        seen.faults = problem.errors;
    }
    let text = get("metrics").await?.text().await.map_err(|_| format!("the answer of {url} broke off"))?;
    seen.metrics = Metrics::parse(&text);
    seen.version = seen.metrics.label("signet_build_info", "version");
    Ok(seen)
}

fn not_a_service(url: &Url) -> String {
    format!("{url} is not a service's own port")
}

/// What a response says of the clock of whoever sent it.
fn clock_ahead_seconds(answer: &Response) -> Option<i64> {
    let date: HttpDate = answer.headers().get(header::DATE)?.to_str().ok()?.parse().ok()?;
    let theirs = std::time::SystemTime::from(date).duration_since(std::time::UNIX_EPOCH).ok()?;
    let ours = Clock::system().now().as_seconds();
    Some(i64::try_from(theirs.as_secs()).ok()? - i64::try_from(ours).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(url: &str, auth_url: Option<&str>) -> Vec<Option<String>> {
        let ports = Ports {
            url: parse_url(url).unwrap(),
            auth_url: auth_url.map(|url| parse_url(url).unwrap()),
            user_url: None,
            resource_url: None,
        };
        ports.services().into_iter().map(|(_, url)| url.map(String::from)).collect()
    }

    #[test]
    fn the_services_of_this_machine_have_the_ports_after_the_origins_unless_told() {
        let told = |urls: [&str; 3]| urls.map(|url| Some(url.to_owned()).filter(|url| !url.is_empty())).to_vec();
        assert_eq!(
            ports("http://127.0.0.1:8080", None),
            told(["http://127.0.0.1:8081/", "http://127.0.0.1:8082/", "http://127.0.0.1:8083/"])
        );
        assert_eq!(ports("https://id.example", Some("http://10.0.0.1:8081")), told(["http://10.0.0.1:8081/", "", ""]));
    }

    #[test]
    fn metrics_are_read_by_name() {
        let metrics = Metrics::parse(
            "# TYPE signet_build info\nsignet_build_info{service=\"user-service\",version=\"0.1.0\"} 1\n\
             signet_outbox_events 3\nsignet_feed_age_seconds inf\n# EOF\n",
        );
        assert_eq!(metrics.label("signet_build_info", "version").as_deref(), Some("0.1.0"));
        assert_eq!(metrics.value("signet_outbox_events"), Some(3.0));
        assert_eq!(metrics.value("signet_feed_age_seconds"), Some(f64::INFINITY));
        assert_eq!(metrics.value("signet_nothing"), None);
    }
}
