//! A stack by the computer's own clock, with users and persons to look at.

use actix_web::rt::task::JoinHandle;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use service_kit::Clock;
use signet::Stack;
use test_support::{Backend, TestDatabase};
use tokio::sync::oneshot;

use crate::helpers::{Client, Databases, PASSWORD, Tokens};

/// A stack that runs until it is stopped or dropped.
pub(crate) struct LiveStack {
    pub(crate) client: Client,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    _databases: Databases,
}

impl LiveStack {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let databases = Databases::next_to(TestDatabase::create(Backend::Sqlite).unwrap());
        let stack = Stack::start(databases.configuration(environment), &Clock::system()).unwrap();
        let client = Client::new(format!("http://{}", stack.addresses().origin));
        let (stop, stopped) = oneshot::channel::<()>();
        let running = actix_web::rt::spawn(async move {
            let stop = async {
                // A test that has failed drops the sender.
                let _ = stopped.await;
            };
            stack.run_until(stop).await.unwrap();
        });
        Self { client, stop, running, _databases: databases }
    }

    pub(crate) fn url(&self) -> &str {
        &self.client.base
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    /// Registers a user with a name, an e-mail address at example.com and the password of all tests; gives the id.
    pub(crate) async fn user(&self, name: &str, roles: &[&str]) -> String {
        let email = format!("{}@example.com", name.to_lowercase());
        let body = json!({ "email": email, "username": name.to_lowercase(), "name": name, "password": PASSWORD });
        let answer = self.client.post("/auth/register", body).await.expect(201);
        let id = answer.json()["user"]["id"].as_str().unwrap().to_owned();
        if !roles.is_empty() {
            self.change_user(&id, json!({ "roles": roles })).await;
        }
        id
    }

    pub(crate) async fn change_user(&self, id: &str, change: Value) {
        let admin = self.client.admin().await;
        self.client.call(Method::PATCH, &format!("/users/{id}"), &admin.access, Some(change)).await.expect(200);
    }

    pub(crate) async fn tokens(&self, name: &str) -> Tokens {
        let email = format!("{}@example.com", name.to_lowercase());
        Tokens::of(&self.client.log_in(&email, PASSWORD).await.expect(200))
    }

    /// Stores the sample persons.
    pub(crate) async fn persons(&self) {
        let admin = self.client.admin().await;
        let file = include_str!("../../demo/persons.csv");
        let request = self.client.request(Method::POST, "/persons/import").bearer_auth(&admin.access);
        self.client.send(request.header(CONTENT_TYPE, "text/csv").body(file)).await.expect(200);
    }
}
