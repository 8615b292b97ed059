//! A stand-in for auth-service, for services that follow its feed of revocations.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A feed on a port of its own. It takes whoever shows a bearer token, and has no other path.
#[derive(Debug)]
pub struct FakeFeed {
    url: String,
    entries: watch::Sender<Vec<Value>>,
    server: ServerHandle,
}

impl FakeFeed {
    /// A feed in which nothing is revoked yet.
    ///
    /// # Panics
    ///
    /// When there is no port to be had.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let entries = watch::Sender::new(Vec::new());
        let shared = web::Data::from(Arc::new(entries.clone()));
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let server = HttpServer::new(move || {
                App::new().app_data(shared.clone()).route("/internal/revocations", web::get().to(answer))
            });
            actix_web::rt::System::new().block_on(async {
                let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
                tell.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { url, entries, server: told.recv().unwrap() }
    }

    /// The URL of a feed in which nothing is ever revoked: one for the whole process.
    pub fn quiet() -> &'static str {
        static QUIET: OnceLock<FakeFeed> = OnceLock::new();
        QUIET.get_or_init(Self::start).url()
    }

    /// Where it listens, such as `http://127.0.0.1:40000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Revokes something, such as `{"kind": "session", "sid": "s1"}`, until the end of time.
    pub fn revoke(&self, mut revocation: Value) {
        self.entries.send_modify(|entries| {
            revocation["seq"] = json!(entries.len() + 1);
            revocation["until"] = json!(4_000_000_000_u64);
            entries.push(revocation);
        });
    }
}

impl Drop for FakeFeed {
    fn drop(&mut self) {
        // It stops by itself; nobody has to wait for it.
        drop(self.server.stop(false));
    }
}

#[derive(Deserialize)]
struct Query {
    after: usize,
    wait: u64,
}

async fn answer(
    request: HttpRequest,
    query: web::Query<Query>,
    entries: web::Data<watch::Sender<Vec<Value>>>,
) -> HttpResponse {
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if !authorization.is_some_and(|value| value.starts_with("Bearer ")) {
        return HttpResponse::Unauthorized().finish();
    }
    let mut entries = entries.subscribe();
    let news = entries.wait_for(|entries| entries.len() > query.after);
    // When nothing comes there is nothing to tell.
    let _ = tokio::time::timeout(Duration::from_secs(query.wait), news).await;
    let entries = entries.borrow();
    let new = entries.get(query.after..).unwrap_or_default();
    HttpResponse::Ok().json(json!({ "epoch": "e1", "seq": entries.len(), "entries": new }))
}
