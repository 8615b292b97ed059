//! The table of persons.

use reqwest::Method;
use serde_json::json;

use crate::{
    browser::{Browsers, Window},
    helpers::PASSWORD,
    stack::LiveStack,
};

async fn names(window: &Window) -> Vec<String> {
    window.settle().await;
    window.texts("tbody th").await
}

/// Presses "Next", and gives what was there as soon as the page said that it is the second: whether the table is being
/// loaded, and whether the button waits.
const NEXT_PAGE: &str = "
    const pager = document.querySelector('.pager');
    const next = [...pager.querySelectorAll('button')].at(-1);
    new MutationObserver((_, observer) => {
        if (!pager.innerText.includes('Page 2')) return;
        observer.disconnect();
        done([document.querySelector('.table').getAttribute('aria-busy'), next.disabled]);
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    next.click();";

#[actix_web::test]
async fn persons_are_sorted_searched_filtered_by_age_and_paged() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.persons().await;
    stack.user("Ada", &[]).await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;

    let first = names(&window).await;
    assert!(first.is_sorted() && first.len() == 20, "{first:?}");
    assert_eq!(
        window.run_to_its_end(NEXT_PAGE).await,
        json!(["true", true]),
        "the rows of another page pass for this one's"
    );
    let second = names(&window).await;
    assert!(second.is_sorted() && second[0] > first[19], "{second:?}");
    window.press("Previous").await;
    window.says("Page 1").await;
    assert_eq!(names(&window).await, first);

    window.press("Name").await;
    window.until("document.querySelector('th[aria-sort=descending]')").await;
    let backwards = names(&window).await;
    assert!(backwards.iter().rev().is_sorted(), "{backwards:?}");
    window.press("Age").await;
    window.until("document.querySelector('th[aria-sort=ascending]')?.innerText.trim() === 'Age'").await;

    window.fill("Age from", "40").await;
    window.fill("Age to", "50").await;
    let ages = "[...document.querySelectorAll('tbody td.number')].map((cell) => Number(cell.innerText))";
    window.until(&format!("{ages}.length && {ages}.every((age) => age >= 40 && age <= 50)")).await;
    window.fill("Age from", "old").await;
    window.until("document.querySelector('input[name=min_age]').getAttribute('aria-invalid')").await;
    window.fill("Age from", "").await;
    window.fill("Age to", "").await;
    window.fill("Name or e-mail address", &first[3].to_uppercase()).await;
    window.until("document.querySelectorAll('tbody tr').length === 1").await;
    assert_eq!(names(&window).await, [first[3].clone()]);
    window.fill("Name or e-mail address", "nobody at all").await;
    window.says("Nobody fits this search.").await;
    window.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn who_may_adds_changes_and_deletes_persons_and_never_overwrites_somebody_else_s_change() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &["editor"]).await;
    let token = stack.tokens("ada").await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;
    window.says("There is nobody yet.").await;

    window.press("Add a person").await;
    window.fill("Name", " ").await;
    window.fill("Age", "ten").await;
    window.press("Add").await;
    window.until("document.querySelector('dialog [aria-invalid]')").await;
    assert_eq!(window.complaint("Age").await, "An age is a whole number of years.");
    window.fill("Age", "900").await;
    window.press("Add").await;
    window.until("document.querySelectorAll('dialog [aria-invalid]').length === 2").await;
    assert_eq!(window.complaint("Name").await, "A name must not be blank.");
    window.fill("Name", "Grace Hopper").await;
    window.fill("Age", "85").await;
    window.fill("Id", "p-1").await;
    window.press("Add").await;
    window.says("Grace Hopper was added.").await;
    window.says("85").await;
    let stored = stack.client.get("/persons/p-1", &token.access).await.expect(200).json();
    assert_eq!((&stored["name"], &stored["age"], &stored["email"]), (&json!("Grace Hopper"), &json!(85), &json!(null)));

    window.press("Add a person").await;
    window.fill("Name", "Another").await;
    window.fill("Id", "p-1").await;
    window.press("Add").await;
    window.until("document.querySelector('dialog input[name=id]').getAttribute('aria-invalid')").await;
    window.press("Cancel").await;

    // Somebody else is faster.
    window.press("Edit Grace Hopper").await;
    let change = json!({ "email": "grace@example.com" });
    stack.client.call(Method::PATCH, "/persons/p-1", &token.access, Some(change)).await.expect(200);
    window.fill("Age", "86").await;
    window.press("Save").await;
    window.says("Somebody else was faster").await;
    window.press("Begin again from there").await;
    window.until("document.querySelector('dialog input[name=email]').value === 'grace@example.com'").await;
    window.fill("Age", "86").await;
    window.press("Save").await;
    window.says("Grace Hopper was saved.").await;
    let stored = stack.client.get("/persons/p-1", &token.access).await.expect(200).json();
    assert_eq!((&stored["age"], &stored["email"]), (&json!(86), &json!("grace@example.com")));

    window.settle().await;
    window.until("document.querySelector('tbody td.number').innerText === '86'").await;
    window.press("Delete Grace Hopper").await;
    let change = json!({ "age": 87 });
    stack.client.call(Method::PATCH, "/persons/p-1", &token.access, Some(change)).await.expect(200);
    window.press_in_dialog("Delete").await;
    window.until("document.querySelector('dialog [role=alert]')").await;
    window.press("Cancel").await;
    stack.client.get("/persons/p-1", &token.access).await.expect(200);
    window.reload().await;
    window.press("Delete Grace Hopper").await;
    window.press_in_dialog("Delete").await;
    window.says("Grace Hopper was deleted.").await;
    stack.client.get("/persons/p-1", &token.access).await.expect_problem(404, "not_found");
    window.close().await;
    stack.stop().await;
}

#[actix_web::test]
async fn an_export_is_the_file_that_the_service_gives() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.persons().await;
    stack.user("Ada", &[]).await;
    let token = stack.tokens("ada").await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;
    let directory = tempfile::tempdir().unwrap();
    let behaviour = json!({ "behavior": "allow", "downloadPath": directory.path() });
    window.driver.cdp().send_raw("Browser.setDownloadBehavior", behaviour).await.unwrap();
    for (format, name, accept) in
        [("CSV", "persons.csv", "text/csv"), ("NDJSON", "persons.ndjson", "application/x-ndjson")]
    {
        window.press(&format!("Export as {format}")).await;
        window.says(&format!("{name} was saved.")).await;
        let request = stack.client.request(Method::GET, "/persons/export").bearer_auth(&token.access);
        let expected = stack.client.send(request.header("accept", accept)).await.expect(200).text;
        let path = directory.path().join(name);
        // The browser renames the file when all of it is there.
        let saved = loop {
            match std::fs::read_to_string(&path) {
                Ok(saved) => break saved,
                Err(_) => window.run_to_its_end("requestAnimationFrame(() => done(true))").await,
            };
        };
        assert_eq!(saved, expected);
    }
    window.close().await;
    stack.stop().await;
}
