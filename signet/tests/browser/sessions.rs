//! What a refresh and a "log out there" do in other windows.

use std::io::Write as _;

use serde_json::json;

use crate::{browser::Browsers, helpers::PASSWORD, stack::LiveStack};

#[actix_web::test]
async fn two_tabs_that_refresh_at_once_stay_logged_in() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &[]).await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;
    window.go("#/token").await;
    window.heading("Access token").await;
    let token_id =
        "[...document.querySelectorAll('.claims dt')].find((dt) => dt.innerText.includes('jti')).nextSibling.innerText";
    let before = window.run(&format!("return {token_id}")).await;

    // The other tab is opened by this one, so that one script presses the button in both.
    window.run("window.other = open(location.href)").await;
    let tabs = window.driver.windows().await.unwrap();
    let first = window.driver.window().await.unwrap();
    let second = tabs.into_iter().find(|tab| *tab != first).unwrap();
    window.to(&second).await;
    window.heading("Access token").await;
    window.to(&first).await;
    window.until("Boolean(window.other.document.getElementById('refresh'))").await;
    window
        .run("document.getElementById('refresh').click(); window.other.document.getElementById('refresh').click()")
        .await;
    for tab in [&first, &second] {
        window.to(tab).await;
        window.says("There is a new access token.").await;
        window.says("You asked for a refresh.").await;
    }
    let after = window.run(&format!("return {token_id}")).await;
    assert_ne!(after, before);

    // Without the page's own good manners: both tabs present the same cookie in the same instant, ten times.
    window.to(&first).await;
    let statuses = window
        .run_to_its_end(
            "const ask = (tab) => tab.fetch('/auth/token', {
                 method: 'POST', headers: { 'x-session': 'cookie' },
                 body: new tab.URLSearchParams({ grant_type: 'refresh_token' }),
             }).then((response) => response.status);
             (async () => {
                 const statuses = [];
                 for (let round = 0; round < 10; round++) statuses.push(...await Promise.all([ask(window), ask(window.other)]));
                 done(statuses);
             })()",
        )
        .await;
    assert_eq!(statuses, json!(vec![200; 20]));
    for tab in [&first, &second] {
        window.to(tab).await;
        window.reload().await;
        window.heading("Access token").await;
    }
    let token = stack.tokens("ada").await;
    let sessions = stack.client.get("/auth/sessions", &token.access).await.expect(200).json();
    // Registered, in the browser, and just now.
    assert_eq!(sessions["items"].as_array().unwrap().len(), 3, "{sessions}");
    window.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn a_log_out_there_is_seen_in_the_other_window_within_a_second() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &[]).await;
    let (here, there) = (browsers.open(stack.url()).await, browsers.open(stack.url()).await);
    here.log_in("ada", PASSWORD).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        there.log_in("ada", PASSWORD).await;
        there
            .run(
                "window.seen = null;
                 new MutationObserver((_, observer) => {
                     if (!document.getElementById('ended')) return;
                     window.seen = Date.now();
                     observer.disconnect();
                 }).observe(document, { subtree: true, childList: true });",
            )
            .await;
        here.go("#/profile").await;
        here.go("#/sessions").await;
        here.heading("Sessions").await;
        // The newest session is the first; the one of the registration is the last.
        let pressed = here
            .run(
                "const button = [...document.querySelectorAll('.sessions button')]
                     .find((button) => button.ariaLabel?.startsWith('Log out there: Chrome'));
                 const now = Date.now();
                 button.click();
                 return now;",
            )
            .await;
        here.says("is logged out.").await;
        let seen = there.until("window.seen").await;
        took.push(seen.as_i64().unwrap() - pressed.as_i64().unwrap());
        there.says("You were logged out from elsewhere").await;
        there.says("401 token_revoked").await;
    }
    let line = format!("a log-out there was seen after {took:?} ms\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(took.iter().all(|took| *took < 1_000), "{took:?}");
    // This window has noticed nothing of it all.
    here.press("Persons").await;
    here.heading("Persons").await;

    here.press("Sessions").await;
    here.press("Log out everywhere").await;
    here.press_in_dialog("Log out everywhere").await;
    here.heading("Log in").await;
    here.close().await;
    there.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn a_refresh_shows_what_is_different_in_the_new_token() {
    let Some(browsers) = Browsers::start().await else { return };
    // A token that lives for seconds: it is renewed before it is over, and the page counts down.
    let stack = LiveStack::start(&[("SIGNET__TOKENS__ACCESS_TTL_SECONDS", "60")]);
    stack.user("Ada", &[]).await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;
    window.press("Token").await;
    window.heading("Access token").await;
    window.until("/^0:5\\d$/.test(document.querySelector('.clock .big').innerText)").await;
    window.press("Refresh now").await;
    window.says("The token before this one had").await;
    let changed = window.texts(".claims .changed dt code").await;
    for claim in ["jti", "iat", "exp"] {
        let same_second = claim != "jti";
        assert!(changed.iter().any(|name| name == claim) || same_second, "{claim} in {changed:?}");
    }
    for claim in ["iss", "sub", "aud", "sid", "scope", "roles", "ver", "auth_time"] {
        assert!(changed.iter().all(|name| name != claim), "{claim} in {changed:?}");
    }
    window.close().await;
    stack.stop().await;
}
