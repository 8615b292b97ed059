//! Whether everybody can use it: by keyboard, with a screen reader, on a narrow screen, in the dark.

use serde_json::json;
use thirtyfour::Key;

use crate::{
    browser::{Browsers, Window},
    helpers::{ADMIN_EMAIL, ADMIN_PASSWORD, PASSWORD},
    stack::LiveStack,
};

const LOOKS: [(u32, u32, &str); 4] =
    [(1280, 900, "light"), (1280, 900, "dark"), (360, 780, "light"), (360, 780, "dark")];

/// Looks at the page in every size and both colour schemes.
async fn inspect(window: &Window, name: &str, found: &mut Vec<String>) {
    for (width, height, scheme) in LOOKS {
        window.look_like(width, height, scheme).await;
        window.picture(&format!("{name}-{width}-{scheme}")).await;
        for violation in window.violations().await {
            found.push(format!("{name} at {width}, {scheme}: {violation}"));
        }
        let overflow = window.run("return document.documentElement.scrollWidth - innerWidth").await;
        if overflow.as_i64().unwrap() > 0 {
            found.push(format!("{name} at {width}: {overflow} pixels too wide"));
        }
    }
    window.look_like(1280, 900, "light").await;
}

#[actix_web::test]
async fn axe_finds_nothing_in_any_view_at_any_size_in_any_colours() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.persons().await;
    stack.user("Ada", &["editor"]).await;
    let grace = stack.user("Grace", &[]).await;
    stack.change_user(&grace, json!({ "disabled": true })).await;
    let mut found = Vec::new();
    let window = browsers.open(stack.url()).await;

    window.heading("Log in").await;
    inspect(&window, "login", &mut found).await;
    window.press("Log in").await;
    window.until("document.querySelector('[aria-invalid]')").await;
    inspect(&window, "login-refused", &mut found).await;
    window.go("#/register").await;
    window.press("Register").await;
    window.until("document.querySelector('[aria-invalid]')").await;
    inspect(&window, "register-refused", &mut found).await;
    window.go("#/login").await;

    window.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    inspect(&window, "persons", &mut found).await;
    window.press("Add a person").await;
    window.press("Add").await;
    window.until("document.querySelector('dialog [aria-invalid]')").await;
    inspect(&window, "persons-add", &mut found).await;
    window.press("Cancel").await;
    window.press("Delete").await;
    inspect(&window, "persons-delete", &mut found).await;
    window.press("Cancel").await;
    window.fill("Name or e-mail address", "nobody at all").await;
    window.says("Nobody fits this search.").await;
    inspect(&window, "persons-none", &mut found).await;

    window.go("#/import").await;
    window.heading("Import persons").await;
    inspect(&window, "import", &mut found).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("persons.csv");
    std::fs::write(&path, "id,name,email,age\np-1,Ada,,36\np-2,,,1\np-3,Grace,grace,85\np-4,Joan,,old\n").unwrap();
    let chooser = window.driver.find(thirtyfour::By::Css("input[type=file]")).await.unwrap();
    chooser.send_keys(path.to_str().unwrap()).await.unwrap();
    window.until("document.getElementById('rejected')").await;
    inspect(&window, "import-done", &mut found).await;

    window.go("#/users").await;
    window.heading("Users").await;
    inspect(&window, "users", &mut found).await;
    window.press("Edit ada@example.com").await;
    inspect(&window, "users-edit", &mut found).await;
    window.press("Cancel").await;

    stack.client.log_in("ada@example.com", "not her password").await.expect_problem(401, "invalid_credentials");
    window.press("Log-ins of ada@example.com").await;
    window.heading("History").await;
    window.says("wrong name or password").await;
    inspect(&window, "history-user", &mut found).await;
    window.press("Of everybody").await;
    window.until("document.querySelectorAll('tbody tr').length > 3").await;
    inspect(&window, "history", &mut found).await;

    let elsewhere = browsers.open(stack.url()).await;
    elsewhere.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    window.go("#/sessions").await;
    window.heading("Sessions").await;
    inspect(&window, "sessions", &mut found).await;
    window.go("#/profile").await;
    window.heading("Profile").await;
    inspect(&window, "profile", &mut found).await;
    window.go("#/token").await;
    window.heading("Access token").await;
    inspect(&window, "token", &mut found).await;
    window.press("Refresh now").await;
    window.says("The token before this one had").await;
    window.says("There is a new access token.").await;
    inspect(&window, "token-refreshed", &mut found).await;

    elsewhere.go("#/sessions").await;
    elsewhere.press("Log out there").await;
    window.says("You were logged out from elsewhere").await;
    inspect(&window, "ended", &mut found).await;
    window.close().await;
    elsewhere.close().await;
    assert!(found.is_empty(), "{}", found.join("\n"));
    stack.stop().await;
}

#[actix_web::test]
async fn everything_can_be_done_with_the_keyboard() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &["editor"]).await;
    let window = browsers.open(stack.url()).await;
    window.heading("Log in").await;
    window.keys(Key::Tab + "").await;
    window.has_focus("Skip to the content").await;
    window.keys(Key::Enter + "").await;
    assert_eq!(window.run("return document.activeElement.id").await, "main");
    window.keys(Key::Tab + "").await;
    window.has_focus("E-mail address or user name").await;
    window.keys("ada").await;
    window.keys(Key::Tab + PASSWORD).await;
    window.keys(Key::Enter + "").await;
    window.heading("Persons").await;

    // On a new page the focus is at its heading.
    window.button("Sessions").await.send_keys(Key::Enter + "").await.unwrap();
    window.heading("Sessions").await;
    window.has_focus("Sessions").await;
    assert_eq!(window.driver.title().await.unwrap(), "Sessions · Signet");
    window.button("Persons").await.send_keys(Key::Enter + "").await.unwrap();
    window.heading("Persons").await;

    // A dialog takes the focus, keeps it, and gives it back.
    window.button("Add a person").await.send_keys(Key::Enter + "").await.unwrap();
    window.has_focus("Name").await;
    window.keys(Key::Escape + "").await;
    window.until("!document.querySelector('dialog')").await;
    window.has_focus("Add a person").await;
    window.keys(Key::Enter + "").await;
    window.keys("Joan Clarke").await;
    window.keys(Key::Enter + "").await;
    window.says("Joan Clarke was added.").await;
    window.button("Delete Joan Clarke").await.send_keys(Key::Enter + "").await.unwrap();
    window.has_focus("Cancel").await;
    window.keys(Key::Tab + "").await;
    window.has_focus("Delete").await;
    window.keys(Key::Enter + "").await;
    window.says("There is nobody yet.").await;
    window.has_focus("Persons").await;

    // What is new is said in a live region.
    let said = window.run("return document.querySelector('.news[role=status][aria-live=polite]').innerText").await;
    assert!(said.as_str().unwrap().contains("Joan Clarke was deleted."), "{said}");
    window.close().await;
    stack.stop().await;
}
