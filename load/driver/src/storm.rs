//! Log-ins at a rate that no slow server slows down, while others read.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    Failure,
    client::Client,
    requests::address_of,
    sample::{Answers, Times},
};

#[derive(Deserialize)]
pub(crate) struct Plan {
    /// Where log-ins go, and with what.
    logins: Logins,
    reads: Reads,
    /// Seconds of reads alone, before and after the storm; between the storm's end and the latter, `calm_seconds`.
    quiet_seconds: f64,
    storm_seconds: f64,
    #[serde(default)]
    calm_seconds: f64,
}

#[derive(Clone, Deserialize)]
struct Logins {
    address: String,
    emails: Vec<String>,
    password: String,
    /// Per second.
    rate: f64,
    /// Log-ins that may wait for their answers at once. One that would be over it is not sent, and counted.
    outstanding: usize,
    /// A refusal that takes longer than this was not made at once.
    at_once_ms: u64,
    /// Whether each user says to come from an address of its own.
    forwarded: bool,
}

#[derive(Clone, Deserialize)]
struct Reads {
    address: String,
    path: String,
    token: String,
    connections: u32,
    /// Per second, all connections together.
    rate: f64,
}

/// What became of the log-ins.
#[derive(Default)]
struct Outcome {
    answers: Answers,
    taken: Times,
    refused: Times,
    refused_late: u64,
    not_sent: u64,
    /// Of those that were taken, those that were finished before the storm was over.
    taken_during: u64,
}

pub(crate) async fn run(plan: Plan) -> Result<Value, Failure> {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            println!("{}", json!({ "phase": "quiet" }));
            let quiet = reads(&plan.reads, plan.quiet_seconds).await;
            println!("{}", json!({ "phase": "storm" }));
            let begin = Instant::now();
            let during = tokio::task::spawn_local({
                let (reads_of, seconds) = (plan.reads.clone(), plan.storm_seconds);
                async move { reads(&reads_of, seconds).await }
            });
            let outcome = Rc::new(RefCell::new(Outcome::default()));
            let waiting = storm(&plan.logins, plan.storm_seconds, &outcome).await;
            let during = during.await?;
            println!("{}", json!({ "phase": "calm" }));
            tokio::time::sleep(Duration::from_secs_f64(plan.calm_seconds)).await;
            println!("{}", json!({ "phase": "after" }));
            let still_waiting = waiting.get();
            // What was taken shortly before the end may be finished after it, and is to be counted.
            let mut client = Client::new(&plan.logins.address);
            let login_begin = Instant::now();
            let login = client.log_in(&plan.logins.emails[0], &plan.logins.password).await;
            let login_ms = login_begin.elapsed().as_secs_f64() * 1000.0;
            let after = reads(&plan.reads, plan.quiet_seconds).await;
            while waiting.get() > 0 && begin.elapsed() < Duration::from_secs_f64(plan.storm_seconds + 120.0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let outcome = std::mem::take(&mut *outcome.borrow_mut());
            Ok(json!({
                "quiet": report(quiet), "during": report(during), "after": report(after),
                "logins": {
                    "answers": outcome.answers.report(),
                    "taken": outcome.taken.report(),
                    "taken_during": outcome.taken_during,
                    "refused": outcome.refused.report(),
                    "refused_late": outcome.refused_late,
                    "not_sent": outcome.not_sent,
                    "waiting_when_calm": still_waiting,
                    "unanswered": waiting.get(),
                },
                "login_after": {
                    "status": login.map_or_else(|_| "failed".to_owned(), |answer| answer.status.as_str().to_owned()),
                    "ms": login_ms,
                },
            }))
        })
        .await
}

fn report((times, answers): (Times, Answers)) -> Value {
    json!({ "times": times.report(), "answers": answers.report() })
}

/// Sends log-ins for so long, and gives the number of those that wait for an answer still.
async fn storm(plan: &Logins, seconds: f64, outcome: &Rc<RefCell<Outcome>>) -> Rc<Cell<usize>> {
    let waiting = Rc::new(Cell::new(0));
    let idle: Rc<RefCell<Vec<Client>>> = Rc::default();
    let begin = Instant::now();
    let mut sent = 0_u32;
    loop {
        let due = Duration::from_secs_f64(f64::from(sent) / plan.rate);
        if due.as_secs_f64() >= seconds {
            return waiting;
        }
        tokio::time::sleep_until((begin + due).into()).await;
        let user = sent as usize % plan.emails.len();
        sent += 1;
        if waiting.get() >= plan.outstanding {
            outcome.borrow_mut().not_sent += 1;
            continue;
        }
        waiting.set(waiting.get() + 1);
        tokio::task::spawn_local(one_log_in(
            plan.clone_for(user, begin + Duration::from_secs_f64(seconds)),
            Rc::clone(&idle),
            Rc::clone(&waiting),
            Rc::clone(outcome),
        ));
    }
}

/// What one log-in needs to know.
struct One {
    address: String,
    email: String,
    password: String,
    from: Option<String>,
    at_once: Duration,
    storm_ends: Instant,
}

impl Logins {
    fn clone_for(&self, user: usize, storm_ends: Instant) -> One {
        One {
            address: self.address.clone(),
            email: self.emails[user].clone(),
            password: self.password.clone(),
            from: self.forwarded.then(|| address_of(user)),
            at_once: Duration::from_millis(self.at_once_ms),
            storm_ends,
        }
    }
}

async fn one_log_in(one: One, idle: Rc<RefCell<Vec<Client>>>, waiting: Rc<Cell<usize>>, outcome: Rc<RefCell<Outcome>>) {
    let reused = idle.borrow_mut().pop();
    let mut client = reused.unwrap_or_else(|| Client::new(&one.address));
    let begin = Instant::now();
    let answer = client.log_in_from(&one.email, &one.password, one.from.as_deref()).await;
    let took = begin.elapsed();
    {
        let mut outcome = outcome.borrow_mut();
        match answer {
            Ok(answer) => {
                outcome.answers.add(answer.status.as_str());
                match answer.status.as_u16() {
                    200 => {
                        outcome.taken.add(took);
                        outcome.taken_during += u64::from(Instant::now() < one.storm_ends);
                    }
                    429 | 503 => {
                        outcome.refused.add(took);
                        if took > one.at_once {
                            outcome.refused_late += 1;
                        }
                    }
                    _ => {}
                }
                idle.borrow_mut().push(client);
            }
            Err(_) => outcome.answers.add("failed"),
        }
    }
    waiting.set(waiting.get() - 1);
}

/// Reads at a steady rate. A read that was due while its connection waited for an answer counts from when it was due:
/// otherwise a server that stalls would be asked less and look better.
async fn reads(plan: &Reads, seconds: f64) -> (Times, Answers) {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let every = Duration::from_secs_f64(f64::from(plan.connections) / plan.rate);
    let readers: Vec<_> = (0..plan.connections)
        .map(|number| {
            let first = begin + every * number / plan.connections;
            tokio::task::spawn_local(one_reader(plan.clone(), first, every, end))
        })
        .collect();
    let (mut times, mut answers) = (Times::default(), Answers::default());
    for reader in readers {
        if let Ok((theirs, got)) = reader.await {
            times.absorb(theirs);
            answers.absorb(got);
        }
    }
    (times, answers)
}

async fn one_reader(plan: Reads, first: Instant, every: Duration, end: Instant) -> (Times, Answers) {
    let (mut times, mut answers) = (Times::default(), Answers::default());
    let mut client = Client::new(&plan.address);
    let mut due = first;
    let mut free = Instant::now();
    while due < end {
        if free >= end {
            // It was due and there was no time left to send it: it would have taken at least so long.
            times.add(free - due);
            due += every;
            continue;
        }
        let counts_from = if due < free {
            due
        } else {
            tokio::time::sleep_until(due.into()).await;
            Instant::now()
        };
        let answer = client.get(&plan.path, &plan.token).await;
        free = Instant::now();
        times.add(free - counts_from);
        match answer {
            Ok(answer) => answers.add(answer.status.as_str()),
            Err(_) => answers.add("failed"),
        }
        due += every;
    }
    (times, answers)
}
