//! Coming in, staying in, and what one can do with one's own account and with others'.

use serde_json::json;

use crate::{
    browser::Browsers,
    helpers::{ADMIN_EMAIL, ADMIN_PASSWORD, PASSWORD},
    stack::LiveStack,
};

#[actix_web::test]
async fn somebody_registers_logs_in_again_and_loads_persons() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.persons().await;
    let window = browsers.open(stack.url()).await;

    window.press("Register").await;
    window.heading("Register").await;
    window.fill("E-mail address", "ada@example.com").await;
    window.fill("User name", "a").await;
    window.fill("Password", "password").await;
    window.fill("Password once more", "passwort").await;
    window.press("Register").await;
    window.says("The two passwords differ.").await;
    assert_eq!(window.complaint("Password once more").await, "The two passwords differ.");
    window.has_focus("Password once more").await;

    // What the services have against it stands beside the field, with the request id above.
    window.fill("Password once more", "password").await;
    window.press("Register").await;
    window.says("A user name has at least 3 characters.").await;
    assert_eq!(window.complaint("User name").await, "A user name has at least 3 characters.");
    assert_eq!(window.complaint("E-mail address").await, "");
    window.has_focus("User name").await;
    window.says("Request id").await;

    window.fill("User name", "ada").await;
    window.press("Register").await;
    window.until("document.querySelector('input[name=password]').getAttribute('aria-invalid')").await;
    window.has_focus("Password").await;
    window.fill("Password", PASSWORD).await;
    window.fill("Password once more", PASSWORD).await;
    window.press("Register").await;
    window.heading("Persons").await;
    assert_eq!(window.texts("tbody tr").await.len(), 20);

    window.press("Log out").await;
    window.heading("Log in").await;
    assert_eq!(window.texts("#ended").await, [""; 0]);
    window.fill("E-mail address or user name", "ada").await;
    window.fill("Password", "seventeen wooden owls at dawn").await;
    window.press("Log in").await;
    window.until("document.querySelector('[role=alert]')").await;
    window.fill("Password", PASSWORD).await;
    window.press("Log in").await;
    window.heading("Persons").await;
    window.says("Page 1").await;

    // A name that is taken is said beside the field, too.
    window.press("Log out").await;
    window.press("Register").await;
    window.heading("Register").await;
    window.fill("E-mail address", "ADA@example.com").await;
    window.fill("Password", PASSWORD).await;
    window.fill("Password once more", PASSWORD).await;
    window.press("Register").await;
    window.until("document.querySelector('input[name=email]').getAttribute('aria-invalid')").await;
    assert!(!window.complaint("E-mail address").await.is_empty());
    window.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn a_reload_and_another_tab_find_the_session_and_a_log_out_ends_it_in_all_tabs() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &[]).await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;
    // Nothing of the tokens is where scripts or the disk keep things.
    let kept = window.run("return [document.cookie, localStorage.length, sessionStorage.length]").await;
    assert_eq!(kept, json!(["", 0, 0]));

    window.go("#/token").await;
    window.heading("Access token").await;
    window.reload().await;
    window.heading("Access token").await;
    window.says("The page was loaded").await;

    let (first, second) = window.another_tab().await;
    window.heading("Persons").await;
    window.press("Log out").await;
    window.heading("Log in").await;
    window.to(&first).await;
    window.says("You logged out in another tab").await;
    window.log_in("ada", PASSWORD).await;
    window.to(&second).await;
    window.heading("Persons").await;
    window.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn a_new_password_ends_the_other_sessions_and_this_one_goes_on() {
    const NEW: &str = "nineteen copper herons by noon";
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &[]).await;
    let (here, there) = (browsers.open(stack.url()).await, browsers.open(stack.url()).await);
    here.log_in("ada", PASSWORD).await;
    there.log_in("ada", PASSWORD).await;

    here.press("Profile").await;
    here.heading("Profile").await;
    here.fill("Name", "Ada Lovelace").await;
    here.press("Save").await;
    here.says("Your profile was saved.").await;
    assert_eq!(here.text(".who .name").await, "Ada Lovelace");

    here.fill("Present password", "not the present one").await;
    here.fill("New password", NEW).await;
    here.fill("New password once more", NEW).await;
    here.press("Change the password").await;
    here.until("document.querySelector('input[name=current_password]').getAttribute('aria-invalid')").await;
    here.has_focus("Present password").await;
    here.fill("Present password", PASSWORD).await;
    here.press("Change the password").await;
    here.says("Your password was changed").await;
    there.says("You were logged out from elsewhere").await;
    // The access token of this window is void as well, and a new one comes without anybody's doing.
    here.press("Token").await;
    here.heading("Access token").await;
    here.says("The access token was revoked before its time. A refresh brought a new one.").await;
    there.log_in("ada", NEW).await;

    here.press("Profile").await;
    here.press("Delete my account").await;
    here.press_in_dialog("Delete my account").await;
    here.heading("Log in").await;
    there.says("You were logged out from elsewhere").await;
    stack.client.log_in("ada@example.com", NEW).await.expect_problem(401, "invalid_credentials");
    here.close().await;
    there.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn an_admin_s_change_of_roles_reaches_the_user_s_window_and_so_does_a_disabled_account() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.persons().await;
    for name in ["Ada", "Grace", "Katherine"] {
        stack.user(name, &[]).await;
    }
    let (admin, ada) = (browsers.open(stack.url()).await, browsers.open(stack.url()).await);
    admin.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    ada.log_in("ada", PASSWORD).await;
    assert_eq!(ada.texts("nav[aria-label^=Pages] a").await, ["Persons", "Sessions", "Token", "Profile"]);
    ada.says("Your token’s scope has no persons:write").await;

    admin.press("Users").await;
    admin.heading("Users").await;
    assert_eq!(admin.texts("tbody tr").await.len(), 4);
    admin.fill("Name or e-mail address", "ada").await;
    admin.until("document.querySelectorAll('tbody tr').length === 1").await;
    admin.settle().await;
    admin.press("Edit ada@example.com").await;
    admin.tick("editor").await;
    admin.press("Save").await;
    admin.says("ada@example.com was saved.").await;
    admin.settle().await;
    assert_eq!(admin.texts("tbody .badge").await, ["user", "editor"]);

    ada.says("Your roles are now: user, editor.").await;
    ada.button("Add a person").await;

    admin.press("Edit ada@example.com").await;
    admin.tick("Disabled: cannot log in, and is logged out everywhere").await;
    admin.press("Save").await;
    admin.until("document.querySelector('tbody .badge.bad')?.innerText === 'disabled'").await;
    ada.says("You were logged out from elsewhere").await;
    ada.fill("E-mail address or user name", "ada").await;
    ada.fill("Password", PASSWORD).await;
    ada.press("Log in").await;
    ada.says("account is disabled").await;

    admin.settle().await;
    admin.press("Delete ada@example.com").await;
    admin.says("is logged out everywhere. This cannot be undone.").await;
    admin.press_in_dialog("Delete").await;
    admin.says("Nobody fits this search.").await;
    ada.close().await;
    admin.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn an_admin_sees_who_logged_in_from_where_and_who_was_refused() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    let grace = stack.user("Grace", &[]).await;
    stack.user("Ada", &[]).await;
    let (admin, ada) = (browsers.open(stack.url()).await, browsers.open(stack.url()).await);
    ada.fill("E-mail address or user name", "ada").await;
    ada.fill("Password", "nine wrong herons").await;
    ada.press("Log in").await;
    ada.says("Invalid credentials").await;
    ada.log_in("ada", PASSWORD).await;
    admin.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    stack.change_user(&grace, json!({ "roles": ["user", "editor"] })).await;

    admin.press("Users").await;
    admin.heading("Users").await;
    admin.press("Log-ins of ada@example.com").await;
    admin.heading("History").await;
    admin.until("document.querySelectorAll('tbody tr').length === 3").await;
    admin.until("document.querySelector('tbody td').innerText.startsWith('ada@example.com')").await;
    let rows = admin.texts("tbody th").await;
    assert_eq!(rows, ["Logged in", "Log-in refused\nwrong name or password", "Logged in"]);
    assert!(admin.text("tbody tr td.wide").await.starts_with("127.0.0.1"), "{}", admin.text("tbody tr td.wide").await);

    admin.press("Of everybody").await;
    admin.choose("What", "Changes of roles").await;
    admin.says("from user to user, editor").await;
    admin.says("by ").await;
    ada.go("#/history").await;
    ada.heading("Persons").await;
    ada.close().await;
    admin.close().await;
    stack.stop().await;
}
