//! TLS to PostgreSQL: what `sslmode` and `sslrootcert` ask for is what both clients do.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking, and its name says what it shows")]

use std::{fs, net::Ipv4Addr};

use diesel::{QueryableByName, RunQueryDsl as _, sql_types::Bool};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use openssl::{
    asn1::Asn1Time,
    base64::encode_block,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{X509, X509NameBuilder, extension::SubjectAlternativeName},
};
use service_kit::{
    Error,
    db::{Database, DatabaseUrl, Db, Migrations},
};
use test_support::{TestCluster, TestDatabase};

static MIGRATIONS: EmbeddedMigrations = embed_migrations!("tests/migrations");

const IS_ENCRYPTED: &str = "SELECT ssl AS encrypted FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[derive(QueryableByName)]
struct Encrypted {
    #[diesel(sql_type = Bool)]
    encrypted: bool,
}

/// A certificate for this address that is its own root.
fn certificate(address: Ipv4Addr) -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", &address.to_string()).unwrap();
    let name = name.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap()).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    let names = SubjectAlternativeName::new().ip(&address.to_string()).build(&certificate.x509v3_context(None, None));
    certificate.append_extension(names.unwrap()).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    (key, certificate.build())
}

/// Has the server speak TLS with this certificate, to those who connect from now on.
fn serve(database: &TestDatabase, key: &PKey<Private>, certificate: &X509) {
    let file = |name: &str, content: Vec<u8>| {
        let text = encode_block(&content).replace('\n', "");
        let program = format!("umask 077; base64 -d > {name}");
        database.execute(&format!("COPY (SELECT '{text}') TO PROGRAM '{program}'"));
    };
    file("server.key", key.private_key_to_pem_pkcs8().unwrap());
    file("server.crt", certificate.to_pem().unwrap());
    database.execute("ALTER SYSTEM SET ssl = on");
    database.execute("SELECT pg_reload_conf()");
}

/// Fails if libpq cannot connect; the worker's own client does so when it is first asked.
fn open(database: &TestDatabase, parameters: &str) -> anyhow::Result<Database> {
    let url = DatabaseUrl::parse(&format!("{}{parameters}", database.url())).unwrap();
    Ok(Database::open(&url, 1, Migrations { sqlite: &MIGRATIONS, postgres: &MIGRATIONS })?)
}

async fn is_pooled_encrypted(database: &Database) -> bool {
    let read = |db: &mut Db| {
        let Db::Postgres(connection) = db else { return Ok(false) };
        let row: Encrypted = diesel::sql_query(IS_ENCRYPTED).get_result(connection)?;
        Ok::<_, Error>(row.encrypted)
    };
    database.read(read).await.unwrap()
}

/// Nothing where there is no connection.
async fn is_pipelined_encrypted(database: &Database) -> Option<bool> {
    let query = diesel::sql_query(IS_ENCRYPTED);
    let rows = database.read_pipelined(&query, |row| Ok(row.try_get::<_, bool>(0)?)).await;
    rows.ok().map(|rows| rows[0])
}

#[actix_web::test]
async fn connections_are_encrypted_as_the_url_asks_and_the_server_is_checked() {
    let Some(cluster) = TestCluster::start() else { return };
    let database = cluster.create_database();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (here, elsewhere) = (certificate(Ipv4Addr::LOCALHOST), certificate(Ipv4Addr::new(192, 0, 2, 1)));
    let [here_pem, elsewhere_pem] = [&here, &elsewhere].map(|(_, certificate)| certificate.to_pem().unwrap());
    fs::write(path("here"), &here_pem).unwrap();
    fs::write(path("elsewhere"), &elsewhere_pem).unwrap();
    fs::write(path("both"), [here_pem, elsewhere_pem].concat()).unwrap();
    let by = |mode: &str, roots: &str| format!("&sslmode={mode}&sslrootcert={}", path(roots));
    let plain = ["", "&sslmode=allow", "&sslmode=prefer", "&sslmode=disable"];

    for parameters in plain {
        let database = open(&database, parameters).unwrap();
        assert!(!is_pooled_encrypted(&database).await, "{parameters}");
        assert_eq!(is_pipelined_encrypted(&database).await, Some(false), "{parameters}");
    }
    assert!(open(&database, "&sslmode=require").is_err());

    serve(&database, &here.0, &here.1);
    assert!(open(&database, &by("require", "elsewhere")).is_err());
    assert!(open(&database, &by("verify-ca", "elsewhere")).is_err());
    let disabled = open(&database, "&sslmode=disable").unwrap();
    assert_eq!(is_pipelined_encrypted(&disabled).await, Some(false));
    // Each with what becomes of it once the server has another certificate, for another address.
    let asked = [
        ("&sslmode=prefer".to_owned(), Some(true)),
        ("&sslmode=require".to_owned(), Some(true)),
        (by("require", "here"), None),
        (by("require", "both"), Some(true)),
        (by("verify-ca", "here"), None),
        (by("verify-ca", "both"), Some(true)),
        (by("verify-full", "both"), None),
    ];
    let mut opened = Vec::new();
    for (parameters, later) in asked {
        let now = open(&database, &parameters).unwrap();
        assert!(is_pooled_encrypted(&now).await, "{parameters}");
        assert_eq!(is_pipelined_encrypted(&now).await, Some(true), "{parameters}");
        opened.push((open(&database, &parameters).unwrap(), parameters, later));
    }
    serve(&database, &elsewhere.0, &elsewhere.1);
    for (database, parameters, expected) in opened {
        assert_eq!(is_pipelined_encrypted(&database).await, expected, "{parameters}");
    }
}

#[test]
fn a_file_of_roots_that_cannot_be_read_is_refused_at_the_start() {
    let url = "postgres://127.0.0.1/signet?sslmode=verify-full&sslrootcert=/nowhere/root.pem";
    let refused = DatabaseUrl::parse(url).unwrap_err().to_string();
    assert!(refused.contains("/nowhere/root.pem"), "{refused}");
}
