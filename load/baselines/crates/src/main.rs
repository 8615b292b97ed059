//! The crates that Signet is made of, used straight: actix-web, jsonwebtoken, diesel on an r2d2 pool inside `web::block`,
//! and bcrypt there as well. Refresh tokens are looked up and not rotated. `verify SECRET TOKEN ISSUER AUDIENCE` times
//! jsonwebtoken alone.

use std::{
    env,
    error::Error,
    hint::black_box,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, error, web};
use aws_lc_rs::{digest, rand};
use diesel::{
    connection::SimpleConnection as _,
    prelude::*,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;

diesel::table! { users (id) { id -> Integer, email -> Text, name -> Text, password_hash -> Text, } }
diesel::table! { roles (id) { id -> Integer, name -> Text, } }
diesel::table! { user_roles (user_id, role_id) { user_id -> Integer, role_id -> Integer, } }
diesel::table! { refresh_tokens (token) { token -> Text, user_id -> Integer, expires_at -> BigInt, } }
diesel::table! {
    persons (id) {
        id -> Text, name -> Text, email -> Nullable<Text>, age -> Nullable<Integer>,
        created_at -> BigInt, updated_at -> BigInt, version -> BigInt,
    }
}
diesel::allow_tables_to_appear_in_same_query!(users, roles, user_roles, refresh_tokens);
diesel::joinable!(user_roles -> users (user_id));
diesel::joinable!(user_roles -> roles (role_id));
diesel::joinable!(refresh_tokens -> users (user_id));

#[derive(diesel::MultiConnection)]
enum Db {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Without this, SQLite answers that it is locked as soon as two log-ins write at once.
#[derive(Debug)]
struct Patient;

impl CustomizeConnection<Db, diesel::r2d2::Error> for Patient {
    fn on_acquire(&self, db: &mut Db) -> Result<(), diesel::r2d2::Error> {
        match db {
            Db::Postgres(_) => Ok(()),
            Db::Sqlite(connection) => connection
                .batch_execute("PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
                .map_err(diesel::r2d2::Error::QueryError),
        }
    }
}

#[derive(Queryable, Serialize)]
struct Person {
    id: String,
    name: String,
    email: Option<String>,
    age: Option<i32>,
    created_at: i64,
    updated_at: i64,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    iat: i64,
    exp: i64,
    jti: String,
    scope: String,
    roles: Vec<String>,
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

#[derive(Deserialize)]
struct PageQuery {
    #[serde(default = "default_limit")]
    limit: i64,
    cursor: Option<String>,
}

fn default_limit() -> i64 {
    50
}

#[derive(Clone)]
struct State {
    pool: Pool<ConnectionManager<Db>>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

const SERVICES: [&str; 3] = ["auth-service", "user-service", "resource-service"];
const ISSUER: &str = "http://baseline";
const ACCESS_SECONDS: i64 = 86_400;
const REFRESH_SECONDS: i64 = 14 * 86_400;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().try_into().unwrap_or(i64::MAX))
}

fn random() -> String {
    let mut bytes = [0; 32];
    if rand::fill(&mut bytes).is_err() {
        panic!("the system gives no random numbers");
    }
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_of(token: &str) -> String {
    hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

fn scope_of(role: &str) -> &'static str {
    if role == "user" { "persons:read" } else { "persons:read persons:write" }
}

fn validation(issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation
}

impl State {
    fn authorize(&self, request: &HttpRequest, scope: &str) -> Result<Claims, actix_web::Error> {
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| error::ErrorUnauthorized("token_missing"))?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| error::ErrorUnauthorized("token_invalid"))?
            .claims;
        if scope.is_empty() || claims.scope.split(' ').any(|one| one == scope) {
            Ok(claims)
        } else {
            Err(error::ErrorForbidden("insufficient_scope"))
        }
    }

    fn tokens(&self, user: i32, role: &str, refresh_token: &str) -> Result<serde_json::Value, actix_web::Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: user.to_string(),
            aud: SERVICES.map(str::to_owned).to_vec(),
            iat: now(),
            exp: now() + ACCESS_SECONDS,
            jti: random(),
            scope: scope_of(role).to_owned(),
            roles: vec![role.to_owned()],
        };
        let access_token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(error::ErrorInternalServerError)?;
        Ok(json!({
            "access_token": access_token, "token_type": "Bearer", "expires_in": ACCESS_SECONDS,
            "refresh_token": refresh_token, "scope": claims.scope,
        }))
    }

    async fn database<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Db) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, actix_web::Error> {
        let pool = self.pool.clone();
        web::block(move || {
            let mut connection = pool.get().map_err(|error| error.to_string())?;
            query(&mut connection).map_err(|error| error.to_string())
        })
        .await?
        .map_err(error::ErrorInternalServerError)
    }
}

async fn log_in(state: web::Data<State>, body: web::Json<Credentials>) -> Result<HttpResponse, actix_web::Error> {
    let email = body.email.clone();
    let found = state.database(move |db| {
        users::table
            .inner_join(user_roles::table.inner_join(roles::table))
            .filter(users::email.eq(email))
            .order(roles::id.desc())
            .select((users::id, users::password_hash, roles::name))
            .first::<(i32, String, String)>(db)
            .optional()
    });
    let (id, hash, role) = found.await?.ok_or_else(|| error::ErrorUnauthorized("invalid_credentials"))?;
    let matches = web::block(move || bcrypt::verify(&body.password, &hash)).await?;
    if !matches.unwrap_or(false) {
        return Err(error::ErrorUnauthorized("invalid_credentials"));
    }
    let token = random();
    let row = (
        refresh_tokens::token.eq(hash_of(&token)),
        refresh_tokens::user_id.eq(id),
        refresh_tokens::expires_at.eq(now() + REFRESH_SECONDS),
    );
    state.database(move |db| diesel::insert_into(refresh_tokens::table).values(row).execute(db)).await?;
    Ok(HttpResponse::Ok().json(state.tokens(id, &role, &token)?))
}

async fn refresh(state: web::Data<State>, form: web::Form<Refresh>) -> Result<HttpResponse, actix_web::Error> {
    let hash = hash_of(&form.refresh_token);
    let found = state.database(move |db| {
        refresh_tokens::table
            .inner_join(users::table.inner_join(user_roles::table.inner_join(roles::table)))
            .filter(refresh_tokens::token.eq(hash).and(refresh_tokens::expires_at.gt(now())))
            .order(roles::id.desc())
            .select((users::id, roles::name))
            .first::<(i32, String)>(db)
            .optional()
    });
    let (id, role) = found.await?.ok_or_else(|| error::ErrorBadRequest("invalid_grant"))?;
    Ok(HttpResponse::Ok().json(state.tokens(id, &role, &form.refresh_token)?))
}

async fn me(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, actix_web::Error> {
    Ok(HttpResponse::Ok().json(state.authorize(&request, "")?))
}

async fn page(
    state: web::Data<State>,
    request: HttpRequest,
    query: web::Query<PageQuery>,
) -> Result<HttpResponse, actix_web::Error> {
    state.authorize(&request, "persons:read")?;
    let limit = query.limit.clamp(1, 200);
    let after = query.into_inner().cursor.unwrap_or_default();
    // Ids are not empty, so the first page comes after the empty one.
    let load = move |db: &mut Db| {
        persons::table.filter(persons::id.gt(after)).order(persons::id).limit(limit + 1).load::<Person>(db)
    };
    let mut items = state.database(load).await?;
    let more = i64::try_from(items.len()).is_ok_and(|count| count > limit);
    if more {
        items.pop();
    }
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.clone());
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next_cursor": next_cursor })))
}

fn time_verification(secret: &str, token: &str, validation: &Validation) -> Result<(), Box<dyn Error>> {
    const RUN: u32 = 1_000;
    let key = DecodingKey::from_secret(secret.as_bytes());
    let mut times = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        for _ in 0..RUN {
            black_box(jsonwebtoken::decode::<Claims>(black_box(token), &key, validation)?);
        }
        times.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(RUN));
    }
    times.sort_by(f64::total_cmp);
    println!("{:.1}", times[times.len() / 2]);
    Ok(())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, command, secret, token, issuer, audience] = &arguments[..]
        && command == "verify"
    {
        return time_verification(secret, token, &validation(issuer, audience));
    }
    let secret = env::var("TOKEN_SECRET")?;
    let url = env::var("DATABASE_URL")?;
    let pool = Pool::builder()
        .max_size(8)
        .connection_customizer(Box::new(Patient))
        .build(ConnectionManager::new(url.trim_start_matches("sqlite:")))?;
    let state = State {
        pool,
        encoding: EncodingKey::from_secret(secret.as_bytes()),
        decoding: DecodingKey::from_secret(secret.as_bytes()),
        validation: validation(ISSUER, SERVICES[0]),
    };
    let workers = env::var("WORKERS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(state.clone()))
            .route("/auth/login", web::post().to(log_in))
            .route("/auth/token", web::post().to(refresh))
            .route("/auth/me", web::get().to(me))
            .route("/persons", web::get().to(page))
    })
    .workers(workers)
    .bind(("127.0.0.1", env::var("PORT")?.parse()?))?
    .run()
    .await?;
    Ok(())
}
