//! A fixed number of requests over so many connections, each of which sends its next when it has its answer.

use std::{cell::Cell, rc::Rc, time::Instant};

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    Failure,
    client::Client,
    sample::{Answers, Times},
};

#[derive(Deserialize)]
pub(crate) struct Plan {
    address: String,
    connections: usize,
    requests: usize,
    /// What is sent, in turn.
    targets: Vec<Target>,
    #[serde(default)]
    token: Option<String>,
    /// Whether each connection says to come from an address of its own.
    #[serde(default)]
    forwarded: bool,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

pub(crate) async fn run(plan: Plan) -> Result<Value, Failure> {
    if plan.targets.is_empty() {
        return Err("a plan of requests has at least one target".into());
    }
    let plan = Rc::new(plan);
    let next = Rc::new(Cell::new(0));
    let tasks = LocalSet::new();
    let begin = Instant::now();
    let clients: Vec<_> = (0..plan.connections)
        .map(|number| tasks.spawn_local(one_client(Rc::clone(&plan), Rc::clone(&next), number)))
        .collect();
    let (times, answers) = tasks
        .run_until(async {
            let (mut times, mut answers) = (Times::default(), Answers::default());
            for client in clients {
                if let Ok((theirs, got)) = client.await {
                    times.absorb(theirs);
                    answers.absorb(got);
                }
            }
            (times, answers)
        })
        .await;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(json!({ "seconds": seconds, "times": times.report(), "answers": answers.report() }))
}

async fn one_client(plan: Rc<Plan>, next: Rc<Cell<usize>>, number: usize) -> (Times, Answers) {
    let (mut times, mut answers) = (Times::default(), Answers::default());
    let mut client = Client::new(&plan.address);
    if plan.forwarded {
        match client.forwarded_for(&address_of(number)) {
            Ok(known) => client = known,
            Err(_) => return (times, answers),
        }
    }
    loop {
        let turn = next.get();
        if turn >= plan.requests {
            return (times, answers);
        }
        next.set(turn + 1);
        let target = &plan.targets[turn % plan.targets.len()];
        let begin = Instant::now();
        let answer = match (&target.body, &plan.token) {
            (None, Some(token)) if target.method == "GET" => client.get(&target.path, token).await,
            (body, token) => {
                let method = Method::from_bytes(target.method.as_bytes()).unwrap_or(Method::POST);
                let body = body.clone().unwrap_or_default();
                client.with_body(method, &target.path, token.as_deref(), "application/json", body).await
            }
        };
        times.add(begin.elapsed());
        match answer {
            Ok(answer) => answers.add(answer.status.as_str()),
            Err(_) => answers.add("failed"),
        }
    }
}

/// An address for each pretended client: of the network that RFC 2544 keeps for benchmarks, in which nobody lives.
pub(crate) fn address_of(number: usize) -> String {
    format!("198.{}.{}.{}", 18 + number / 62_500 % 2, number / 250 % 250, 1 + number % 250)
}
