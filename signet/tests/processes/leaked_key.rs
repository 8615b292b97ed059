//! A key has leaked: what it signed is refused everywhere, and everything goes on with another one.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use shared_claims::Claims;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Person, Tokens},
    site::{BREATH, Site, Stack, alone},
};

/// How long anything may still be as it was before the command ended.
const AT_ONCE: Duration = Duration::from_secs(1);

#[actix_web::test]
async fn a_leaked_key_is_of_no_use_within_a_second_and_everything_goes_on_with_another() {
    let _alone = alone().await;
    let Some(site) = Site::new("HS256") else { return };
    let stack = Stack::start(site, 2, &[]).await;
    let auth = stack.auth[0].client();
    let person = Person::register(&auth, "ada").await;
    let admin = stack.admin().await;
    let leaked = stack.site.signing_kid();

    let claims =
        Claims { ver: Some(1), ..Site::claims(&person.id, "persons:read persons:write users:read users:write") };
    let forged = stack.site.sign_with(&leaked, &claims);
    let forged_service = stack.site.service_token();
    let everywhere = stack.everywhere();
    for (client, path) in &everywhere {
        client.get(path, &forged).await.unwrap().expect(200);
    }
    auth.get("/internal/keys", &forged_service).await.unwrap().expect(200);

    let out = stack.site.signet_keys(&["revoke", &leaked]).await;
    let ended = Instant::now();
    assert!(out.contains("every verifier that follows the feed refuses what it signed"), "{out}");
    assert!(!out.contains("Bring the file"), "the services have the file: {out}");
    for (client, path) in &everywhere {
        for token in [&forged, &person.tokens.access] {
            loop {
                let answer = client.get(path, token).await.unwrap();
                if answer.status == 401 {
                    break;
                }
                answer.expect(200);
                assert!(ended.elapsed() < AT_ONCE, "{path} still takes it");
            }
        }
    }
    println!("refused everywhere {:?} after the command had ended", ended.elapsed());
    assert_eq!(auth.get("/internal/keys", &forged_service).await.unwrap().status, 401);

    let renewed = Tokens::of(&auth.refresh(&person.tokens.refresh).await.unwrap().expect(200));
    assert_eq!(renewed.kid(), stack.site.signing_kid());
    assert_ne!(renewed.kid(), leaked);
    assert!(!stack.site.keys().key_ids().any(|kid| kid == leaked));
    for (client, path) in &everywhere {
        client.get(path, &renewed.access).await.unwrap().expect(200);
    }
    // auth-service asks user-service, with a service token of its own.
    for replica in &stack.auth {
        person.log_in(&replica.client()).await;
    }
    // user-service tells auth-service, and the verifier hears of it.
    let admin = Tokens::of(&auth.refresh(&admin.refresh).await.unwrap().expect(200));
    let path = format!("/users/{}", person.id);
    let change = json!({ "roles": ["editor"] });
    stack.user.client().call(Method::PATCH, &path, &admin.access, Some(&change)).await.unwrap().expect(200);
    let changed = Instant::now();
    while !stack.resource.client().get("/persons", &renewed.access).await.unwrap().is_revoked() {
        assert!(changed.elapsed() < AT_ONCE, "the verifier has not heard of the change");
        sleep(BREATH).await;
    }
    let renewed = Tokens::of(&auth.refresh(&renewed.refresh).await.unwrap().expect(200));
    assert_eq!(renewed.claim("roles"), json!(["editor"]));
}
