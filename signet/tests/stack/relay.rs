//! A proxy that stands in front of a stack, and that has its ways.

use std::{net::IpAddr, time::SystemTime};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    http::header::{self, HttpDate},
    web,
};
use service_kit::Clock;

/// What a proxy does besides handing on.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Where it leads to.
    target: String,
    client: reqwest::Client,
    /// By how much the `Date` that it hands back is off.
    date_ahead_seconds: i64,
}

impl Proxy {
    /// One that calls the stack from an address of its own, and says on whose behalf.
    pub(crate) fn calling_from(address: &str, target: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().local_address(address).build().unwrap();
        Self { target: target.to_owned(), client, date_ahead_seconds: 0 }
    }

    /// One that makes it look as if the clock behind it were off.
    pub(crate) fn with_date_off(target: &str, date_ahead_seconds: i64) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { target: target.to_owned(), client, date_ahead_seconds }
    }

    /// Listens, and gives its URL.
    pub(crate) fn start(self) -> String {
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(self.clone())).default_service(web::to(hand_on))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        url
    }
}

async fn hand_on(proxy: web::Data<Proxy>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes()).unwrap();
    let mut outgoing = proxy.client.request(method, format!("{}{}", proxy.target, request.uri()));
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::USER_AGENT] {
        if let Some(value) = request.headers().get(&name) {
            outgoing = outgoing.header(name.as_str(), value.as_bytes());
        }
    }
    let caller = request.peer_addr().unwrap().ip().to_string();
    let answer = outgoing.header("x-forwarded-for", caller).body(body.to_vec()).send().await.unwrap();
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap());
    if let Some(media_type) = answer.headers().get("content-type") {
        response.insert_header((header::CONTENT_TYPE, media_type.as_bytes()));
    }
    if proxy.date_ahead_seconds != 0 {
        let now = i64::try_from(Clock::system().now().as_seconds()).unwrap() + proxy.date_ahead_seconds;
        let date = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now.unsigned_abs());
        response.insert_header((header::DATE, HttpDate::from(date).to_string()));
    }
    response.body(answer.bytes().await.unwrap())
}
