//! What is wrong with the configuration stops the start, in one line that names the key.

use std::net::TcpListener;

use crate::program::Home;

/// Starts a stack that must not start: its exit code and its one line.
#[track_caller]
fn refusal(home: &Home, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = home.command(&["--bind", "127.0.0.1:0"]);
    let output = command.args(arguments).envs(environment.iter().copied()).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.starts_with("signet: "), "{complaint}");
    (output.status.code().unwrap(), complaint)
}

#[test]
fn a_wrong_value_exits_with_78_names_its_key_and_writes_nothing() {
    const GOOD: &str = "KS3xQm0fT7vVw1nZc9yJp4rLd8hBg2aU6eXoYiNtWkM";
    for (name, value, key, what) in [
        ("SIGNET__TOKENS__SECRET", "too-brief-for-this", "tokens.secret", "32"),
        ("SIGNET__TOKENS__SECRET", "a-string-secret-at-least-256-bits-long", "tokens.secret", "published"),
        ("SIGNET__TOKENS__SECRET_FILE", "/nowhere/secret", "tokens.secret_file", "/nowhere/secret"),
        ("SIGNET__TOKENS__JWKS_FILE", "/nowhere/ring.json", "tokens.jwks_file", "/nowhere/ring.json"),
        ("SIGNET__TOKENS__SOURCES", "header,cookie", "tokens.sources", "cookie"),
        ("SIGNET__TOKENS__AUDIENCE", "auth-service", "tokens.audience", "user-service"),
        ("SIGNET__TOKENS__LEEWAY_SECONDS", "31", "tokens.leeway_seconds", "30"),
        ("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "a while", "tokens.access_ttl_seconds", "a while"),
        ("SIGNET__TOKENS__SECRE", GOOD, "tokens.secre ", "not a key"),
        ("SIGNET__TOKEN__SECRET", GOOD, "token ", "not a key"),
        ("SIGNET__REFRESH__SECRET", "too-brief-for-this", "refresh.secret", "32"),
        ("SIGNET__PASSWORDS__COST", "3", "passwords.cost", "4"),
        ("SIGNET__PASSWORDS__PEPPER", "too-brief-for-this", "passwords.pepper", "32"),
        ("SIGNET__BOOTSTRAP__ADMIN_EMAIL", "nobody", "bootstrap.admin_email", ""),
        ("SIGNET__USERS__DEFAULT_ROLES", "bad role!", "users.default_roles", ""),
        ("SIGNET__DATABASE__URL", "mysql://localhost/{service}", "database.url", "postgres"),
        ("SIGNET__DATABASE__URL", "sqlite:one.db", "database.url", "{service}"),
        ("SIGNET__DATABASE__POOL_SIZE", "0", "database.pool_size", "1"),
        ("SIGNET__SERVER__CORS_ORIGINS", "example.org", "server.cors_origins", "example.org"),
        ("SIGNET__SERVER__TRUSTED_PROXIES", "everybody", "server.trusted_proxies", "everybody"),
        ("SIGNET__SERVICES__USER_URL", "nowhere", "services.user_url", "http"),
        ("SIGNET__LOG__FORMAT", "xml", "log.format", "json"),
    ] {
        let home = Home::sqlite();
        let (code, complaint) = refusal(&home, &[], &[(name, value)]);
        assert_eq!(code, 78, "{name}={value}: {complaint}");
        assert!(complaint.contains(key) && complaint.contains(what), "{name}={value}: {complaint}");
        if name.ends_with("__SECRET") || name.ends_with("__PEPPER") {
            assert!(!complaint.contains(value), "{complaint}");
        }
        if name != "SIGNET__SERVICES__USER_URL" {
            assert!(!home.data_dir().exists(), "{name}={value} left something behind");
        }
    }
}

#[test]
fn a_configuration_file_that_is_wrong_exits_with_78() {
    let home = Home::sqlite();
    let file = home.directory.path().join("signet.toml");
    for (text, what) in [
        ("[server\n", "is not TOML"),
        ("[server]\nbin = \"127.0.0.1:0\"\n", "server.bin "),
        ("[passwords]\ncost = \"much\"\n", "passwords.cost"),
        ("[tokens]\nsecret = \"short\"\n", "tokens.secret"),
    ] {
        std::fs::write(&file, text).unwrap();
        // The environment would win over what the file says.
        let mut command = home.command(&["up", "--bind", "127.0.0.1:0", "--config", "signet.toml"]);
        let output = command.env_remove("SIGNET__PASSWORDS__COST").output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{complaint}");
        assert!(complaint.contains(what) && complaint.lines().count() == 1, "{text}: {complaint}");
    }
    let (code, complaint) = refusal(&home, &["--config", "missing.toml"], &[]);
    assert!(code == 78 && complaint.contains("missing.toml"), "{complaint}");
}

#[test]
fn a_database_that_cannot_be_reached_exits_with_1_and_says_where_to_look() {
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let postgres = format!("postgres://ada:lovelace@127.0.0.1:{port}/signet_{{service}}");
    for url in [postgres.as_str(), "sqlite:/nowhere/at/all/{service}.db", "sqlite:/dev/null/{service}.db"] {
        let (code, complaint) = refusal(&Home::sqlite(), &[], &[("SIGNET__DATABASE__URL", url)]);
        assert_eq!(code, 1, "{url}: {complaint}");
        assert!(complaint.contains("database.url") && !complaint.contains("lovelace"), "{url}: {complaint}");
    }
}

#[test]
fn a_port_that_is_taken_exits_with_1_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::sqlite();
    let output = home.command(&["--bind", &address]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.contains(&address) && complaint.contains("server.bind"), "{complaint}");
    assert!(complaint.contains("taken"), "{complaint}");
}

#[test]
fn a_data_directory_that_cannot_be_used_exits_with_1() {
    let home = Home::sqlite();
    std::fs::write(home.directory.path().join("file"), "").unwrap();
    let (code, complaint) = refusal(&home, &["--data-dir", "file"], &[]);
    assert!(code == 1 && complaint.contains("--data-dir"), "{complaint}");
}

#[test]
fn the_configuration_in_force_is_printed_without_a_secret_and_nothing_is_started() {
    const SECRET: &str = "KS3xQm0fT7vVw1nZc9yJp4rLd8hBg2aU6eXoYiNtWkM";
    let home = Home::sqlite();
    let output = home
        .command(&["up", "--print-config", "--bind", "127.0.0.1:9"])
        .env("SIGNET__TOKENS__SECRET", SECRET)
        .env("SIGNET__DATABASE__URL", "postgres://ada:lovelace@db/signet_{service}")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(printed.contains("bind = \"127.0.0.1:9\"") && printed.contains("cost = 4"), "{printed}");
    assert!(!printed.contains(SECRET) && !printed.contains("lovelace"), "{printed}");
    assert!(!home.data_dir().exists());
}
