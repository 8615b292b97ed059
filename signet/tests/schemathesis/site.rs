//! A stack on a thread of its own, with a user of each kind.

use std::{sync::mpsc, thread};

use actix_web::rt::System;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use service_kit::{Clock, config::Sources};
use signet::{Stack, config::UpConfig};
use tokio::sync::oneshot;

const ADMIN_EMAIL: &str = "admin@localhost";
const PASSWORD: &str = "brass-lantern-over-quiet-water";

/// Somebody who calls.
pub(crate) struct Caller {
    pub(crate) role: &'static str,
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) access_token: String,
}

/// A stack that runs until it is stopped.
pub(crate) struct Site {
    pub(crate) origin: String,
    stop: oneshot::Sender<()>,
    running: thread::JoinHandle<()>,
}

impl Site {
    pub(crate) fn start() -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = thread::spawn(move || {
            System::new().block_on(async {
                let home = tempfile::Builder::new().prefix("signet-schemathesis.").tempdir().unwrap();
                let stack = Stack::start(configuration().for_stack(home.path()), &Clock::system()).unwrap();
                tell.send(stack.addresses().origin).unwrap();
                let stop = async {
                    // A test that has failed drops the sender.
                    let _ = stopped.await;
                };
                stack.run_until(stop).await.unwrap();
            });
        });
        Self { origin: format!("http://{}", told.recv().unwrap()), stop, running }
    }

    pub(crate) fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.join().unwrap();
    }

    /// A user, an editor and an admin, logged in.
    pub(crate) fn callers(&self) -> Vec<Caller> {
        System::new().block_on(async {
            let admin = self.log_in(ADMIN_EMAIL).await;
            let mut callers = Vec::new();
            for role in ["user", "editor", "admin"] {
                let email = format!("{role}@example.com");
                let body = json!({ "email": email, "password": PASSWORD, "roles": [role] });
                let made = self.request(Method::POST, "/users").bearer_auth(&admin).json(&body).send().await.unwrap();
                assert_eq!(made.status(), 201);
                let access_token = self.log_in(&email).await;
                let claims = self.request(Method::GET, "/auth/me").bearer_auth(&access_token).send().await.unwrap();
                let claims: Value = claims.json().await.unwrap();
                let text = |name: &str| claims[name].as_str().unwrap().to_owned();
                callers.push(Caller { role, id: text("sub"), session: text("sid"), access_token });
            }
            callers
        })
    }

    /// A run whose token has died on the way has shown nothing from there on.
    pub(crate) fn assert_still_logged_in(&self, callers: &[Caller]) {
        System::new().block_on(async {
            for caller in callers {
                let asked = self.request(Method::GET, "/auth/me").bearer_auth(&caller.access_token);
                assert_eq!(asked.send().await.unwrap().status(), 200, "{}", caller.role);
            }
        });
    }

    async fn log_in(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = self.request(Method::POST, "/auth/login").json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().request(method, format!("{}{path}", self.origin))
    }
}

fn configuration() -> UpConfig {
    let environment = [
        ("SIGNET__SERVER__BIND", "127.0.0.1:0"),
        ("SIGNET__TOKENS__SECRET", "KS3xQm0fT7vVw1nZc9yJp4rLd8hBg2aU6eXoYiNtWkM"),
        // A long run outlives a token of the usual age.
        ("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "86400"),
        ("SIGNET__REFRESH__SECRET", "pE5uRz8cHw2yNq7dFk4tLm1vBj9xGs3aVo6iTeUcXfQ"),
        ("SIGNET__PASSWORDS__COST", "4"),
        ("SIGNET__BOOTSTRAP__ADMIN_EMAIL", ADMIN_EMAIL),
        ("SIGNET__BOOTSTRAP__ADMIN_PASSWORD", PASSWORD),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Sources { environment, ..Sources::default() }.load().unwrap()
}
