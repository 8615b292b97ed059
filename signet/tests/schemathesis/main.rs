//! Schemathesis against the three OpenAPI documents: it makes up requests that the documents allow and requests that they
//! do not, and holds every answer against them. As a user, as an editor and as an admin.
//!
//! It is installed once into `target/interop`. Where it cannot be, one line on standard error says so; with
//! `REQUIRE_INTEROP=1` that is a failure. `SIGNET_SCHEMATHESIS_CASES=2000` makes at least so many requests to each
//! service, and `SIGNET_SCHEMATHESIS_SEED` others than those of every run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../installed/mod.rs"]
mod installed;
mod site;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use self::site::{Caller, Site};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");
/// A service's prefix, and how many operations it has at least: so many cases come for each example that is asked for.
const SERVICES: [(&str, u32); 3] = [("auth", 10), ("users", 8), ("persons", 7)];

#[test]
fn every_answer_is_one_that_the_documents_tell_of() {
    let installing = installed::install_python("schemathesis", &Path::new(HERE).join("requirements.txt"));
    let Some(python) = installed::available("the test with Schemathesis", "REQUIRE_INTEROP", installing) else {
        return;
    };
    let wanted = installed::environment("SIGNET_SCHEMATHESIS_CASES").map(|cases| cases.parse::<u32>().unwrap());
    let site = Site::start();
    let callers = site.callers();

    let runs: Vec<_> = thread::scope(|scope| {
        let start = |(service, operations)| {
            let (python, site, callers) = (&python, &site, &callers);
            scope.spawn(move || {
                let examples = wanted.map_or(2, |cases| cases.div_ceil(operations * 3));
                callers
                    .iter()
                    .map(|caller| run(python, site, service, caller, callers, examples, wanted))
                    .collect::<Vec<_>>()
            })
        };
        let started: Vec<_> = SERVICES.into_iter().map(start).collect();
        started.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    let mut cases = BTreeMap::<&str, u32>::new();
    let mut failures = String::new();
    for Run { service, caller, report, passed, generated } in runs {
        *cases.entry(service).or_default() += generated;
        if !passed {
            write!(failures, "{service} as {caller}:\n{report}").unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
    site.assert_still_logged_in(&callers);
    site.stop();
    println!("cases: {cases:?}");
    assert_eq!(cases.len(), SERVICES.len());
    assert!(cases.values().all(|cases| *cases >= wanted.unwrap_or(100)), "{cases:?}");
}

struct Run {
    service: &'static str,
    caller: &'static str,
    report: String,
    passed: bool,
    generated: u32,
}

fn run(
    python: &Path,
    site: &Site,
    service: &'static str,
    caller: &Caller,
    callers: &[Caller],
    examples: u32,
    wanted: Option<u32>,
) -> Run {
    let program: PathBuf = python.with_file_name("schemathesis");
    let seed = installed::environment("SIGNET_SCHEMATHESIS_SEED").unwrap_or_else(|| "1".to_owned());
    let needed: Vec<&str> = callers.iter().flat_map(|caller| [caller.id.as_str(), caller.session.as_str()]).collect();
    // What is made up without chance is the same for everybody: in a short run the admin, who may do everything, does it.
    let phases = if wanted.is_some() || caller.role == "admin" {
        "examples,coverage,fuzzing,stateful"
    } else {
        "examples,fuzzing"
    };
    let output = Command::new(program)
        // It keeps files where it runs.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("PYTHONPATH", HERE)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SIGNET_ORIGIN", &site.origin)
        .env("SIGNET_ACCESS_TOKEN", &caller.access_token)
        .env("SIGNET_NEEDED_IDS", needed.join(","))
        .args(["--config-file", &format!("{HERE}/schemathesis.toml"), "run", &format!("{}/{service}/openapi.json", site.origin)])
        .args(["--checks", "all", "--phases", phases, "--no-color", "--seed", &seed])
        .args(["--max-examples", &examples.to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let generated = report
        .lines()
        .find_map(|line| line.trim().split_once(" generated")?.0.parse().ok())
        .unwrap_or_else(|| panic!("no number of cases:\n{report}"));
    Run { service, caller: caller.role, passed: output.status.success(), report, generated }
}
