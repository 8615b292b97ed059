//! The service behind a proxy, and what a proxy has to do for it.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::stack::TestStack;

/// A service that tells what reaches it.
pub(crate) struct Upstream {
    pub(crate) address: String,
    reached: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let state = web::Data::from(reached.clone());
        let server = HttpServer::new(move || App::new().app_data(state.clone()).default_service(web::to(tell)))
            .workers(1)
            .disable_signals()
            .listen(TcpListener::bind(("127.0.0.1", 0)).unwrap())
            .unwrap();
        let address = server.addrs()[0].to_string();
        actix_web::rt::spawn(server.run());
        Self { address, reached }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

async fn tell(reached: web::Data<AtomicUsize>, request: HttpRequest, body: String) -> HttpResponse {
    reached.fetch_add(1, Ordering::SeqCst);
    let mut headers = serde_json::Map::new();
    for (name, value) in request.headers() {
        headers.insert(name.to_string(), value.to_str().unwrap().into());
    }
    HttpResponse::Ok().json(json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "headers": headers,
        "body": body,
    }))
}

/// What a client may not say of itself: the headers that the proxy sets, and names that become the same variable in a
/// program behind CGI, WSGI and the like.
const FORGED: [&str; 5] = ["x-auth-subject", "x-auth-scope", "x-auth-roles", "x_auth_subject", "x.auth.roles"];

/// The way through a proxy to [`Upstream`].
pub(crate) struct Gate<'a> {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) upstream: &'a Upstream,
}

impl Gate<'_> {
    async fn send(&self, method: Method, tokens: &[&str]) -> Response {
        let mut request = self.http.request(method, format!("{}/orders/7?of=may&with=a%20space", self.base));
        for token in tokens {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for name in FORGED {
            request = request.header(name, "forged");
        }
        request = request.header("x-access-token", "another token");
        request.body("two of each").send().await.unwrap()
    }

    /// That a request does not get through, and how it is answered.
    async fn refuses(&self, tokens: &[&str]) -> Response {
        let before = self.upstream.reached();
        let response = self.send(Method::POST, tokens).await;
        assert_eq!(self.upstream.reached(), before, "it got through, and was answered {}", response.status());
        response
    }

    /// That a request gets through as it was sent, and which headers about the caller come with it.
    async fn lets_pass(&self, token: &str) -> [String; 3] {
        let response = self.send(Method::POST, &[token]).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["method"], "POST");
        assert_eq!(told["uri"], "/orders/7?of=may&with=a%20space");
        assert_eq!(told["body"], "two of each");
        let headers = told["headers"].as_object().unwrap();
        assert!(headers.values().all(|value| value != "forged"), "{headers:?}");
        let header = |name: &str| told["headers"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!([header("authorization"), header("x-access-token")], ["", ""], "the token goes no further");
        [header("x-auth-subject"), header("x-auth-scope"), header("x-auth-roles")]
    }

    /// Everything that is asked of a proxy. In the end the stack has stopped.
    pub(crate) async fn is_tight(&self, stack: &mut TestStack) {
        let ada = stack.register("ada@example.com").await;
        let challenge = |response: &Response| response.headers()["www-authenticate"].to_str().unwrap().to_owned();

        let response = self.refuses(&[]).await;
        assert_eq!(response.status(), 401);
        assert!(challenge(&response).starts_with("Bearer"));
        let damaged = format!("{}x", ada.access);
        let response = self.refuses(&[&damaged]).await;
        assert_eq!(response.status(), 401);
        assert!(challenge(&response).contains(r#"error="invalid_token""#));
        let response = self.refuses(&[&ada.refresh]).await;
        assert_eq!(response.status(), 401);
        // Which of them is meant, nobody should guess.
        assert!(!self.refuses(&[&ada.access, &damaged]).await.status().is_success());
        assert!(!self.refuses(&[&damaged, &ada.access]).await.status().is_success());

        let form = [("grant_type", "refresh_token"), ("refresh_token", &ada.refresh), ("scope", "persons:read")];
        let narrow = stack.grant(None, &form).await;
        let response = self.refuses(&[narrow["access_token"].as_str().unwrap()]).await;
        assert_eq!(response.status(), 403);

        assert_eq!(self.lets_pass(&ada.access).await, [&ada.subject, "orders:read persons:read", "user"]);
        let head = self.send(Method::HEAD, &[&ada.access]).await;
        assert_eq!(head.status(), 200);

        // A client has no roles, and cannot make any up.
        let client = stack.client("orders:read").await;
        let own = stack.grant(Some(&client), &[("grant_type", "client_credentials")]).await;
        let told = self.lets_pass(own["access_token"].as_str().unwrap()).await;
        assert_eq!(told, [&client.id, "orders:read", ""]);

        stack.log_out(&ada.access).await;
        assert_eq!(self.refuses(&[&ada.access]).await.status(), 401);

        let eve = stack.register("eve@example.com").await;
        self.lets_pass(&eve.access).await;
        stack.stop().await;
        assert_eq!(self.refuses(&[&eve.access]).await.status(), 500);
    }
}
