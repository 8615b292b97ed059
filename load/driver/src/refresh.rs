//! Sessions that are refreshed again and again, each over a connection of its own.

use std::{cell::Cell, rc::Rc, time::Instant};

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
    /// The refresh token of each session. The server may answer with a new one, which is then presented next.
    sessions: Vec<String>,
    requests: usize,
}

pub(crate) async fn run(plan: Plan) -> Result<Value, Failure> {
    let left = Rc::new(Cell::new(plan.requests));
    let tasks = LocalSet::new();
    let begin = Instant::now();
    let clients: Vec<_> = plan
        .sessions
        .into_iter()
        .map(|token| tasks.spawn_local(one_session(plan.address.clone(), token, Rc::clone(&left))))
        .collect();
    let (times, answers, tokens) = tasks
        .run_until(async {
            let (mut times, mut answers, mut tokens) = (Times::default(), Answers::default(), Vec::new());
            for client in clients {
                if let Ok((theirs, got, token)) = client.await {
                    times.absorb(theirs);
                    answers.absorb(got);
                    tokens.push(token);
                }
            }
            (times, answers, tokens)
        })
        .await;
    let seconds = begin.elapsed().as_secs_f64();
    // The tokens that are good now, for whoever goes on with these sessions.
    Ok(json!({ "seconds": seconds, "times": times.report(), "answers": answers.report(), "sessions": tokens }))
}

async fn one_session(address: String, mut token: String, left: Rc<Cell<usize>>) -> (Times, Answers, String) {
    let (mut times, mut answers) = (Times::default(), Answers::default());
    let mut client = Client::new(&address);
    while let Some(rest) = left.get().checked_sub(1) {
        left.set(rest);
        let begin = Instant::now();
        let answer = client.form("/auth/token", format!("grant_type=refresh_token&refresh_token={token}")).await;
        times.add(begin.elapsed());
        match answer {
            Ok(answer) => {
                answers.add(answer.status.as_str());
                if let Some(next) = answer.member("refresh_token") {
                    token = next;
                }
            }
            Err(_) => answers.add("failed"),
        }
    }
    (times, answers, token)
}
