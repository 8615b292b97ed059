//! A file that is dropped into the page.

use std::fmt::Write as _;

use serde_json::json;

use crate::{browser::Browsers, helpers::PASSWORD, stack::LiveStack};

/// 400 lines, every fortieth of them bad, from line 41 on.
fn file() -> (String, Vec<String>) {
    let mut text = "id,name,email,age\n".to_owned();
    let mut bad = Vec::new();
    for number in 1..=400 {
        let line = number + 1;
        if number % 40 == 0 {
            bad.push(line.to_string());
            writeln!(text, "p-{number},Person {number},,very old").unwrap();
        } else {
            writeln!(text, "p-{number},Person {number},p{number}@example.com,{}", 20 + number % 60).unwrap();
        }
    }
    (text, bad)
}

#[actix_web::test]
async fn a_dropped_file_is_imported_and_its_bad_lines_are_listed() {
    let Some(browsers) = Browsers::start().await else { return };
    let stack = LiveStack::start(&[]);
    stack.user("Ada", &["editor"]).await;
    let token = stack.tokens("ada").await;
    let window = browsers.open(stack.url()).await;
    window.log_in("ada", PASSWORD).await;
    window.press("Import").await;
    window.heading("Import persons").await;

    let (text, bad) = file();
    window
        .run(&format!(
            "window.progress = [];
             new MutationObserver(() => {{
                 const bar = document.querySelector('progress');
                 if (bar) window.progress.push(bar.position);
             }}).observe(document, {{ subtree: true, childList: true, attributes: true }});
             const data = new DataTransfer();
             data.items.add(new File([{}], 'many.csv', {{ type: 'text/csv' }}));
             const drop = document.getElementById('drop');
             for (const kind of ['dragover', 'drop']) {{
                 drop.dispatchEvent(new DragEvent(kind, {{ dataTransfer: data, bubbles: true, cancelable: true }}));
             }}",
            json!(text)
        ))
        .await;
    window.says("The import of many.csv is done.").await;
    assert_eq!(window.texts(".counts dd").await, ["390", "0", "0", "10"]);
    assert_eq!(window.texts("#rejected tbody th").await, bad);
    assert!(window.run("return window.progress.length > 0").await == true);
    assert_eq!(window.run("return document.activeElement.className").await, "outcome");
    let stored = stack.client.get("/persons?limit=200&sort=name", &token.access).await.expect(200).json();
    assert_eq!(stored["items"].as_array().unwrap().len(), 200);

    // Once more with the button, all or nothing: nothing new is stored.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("again.csv");
    std::fs::write(&path, text.replace("p-", "q-")).unwrap();
    window.tick("All or nothing: one bad line, and no line is stored").await;
    let chooser = window.driver.find(thirtyfour::By::Css("input[type=file]")).await.unwrap();
    chooser.send_keys(path.to_str().unwrap()).await.unwrap();
    window.says("Nothing was stored").await;
    assert_eq!(window.texts("#rejected tbody th").await, bad);
    stack.client.get("/persons/q-1", &token.access).await.expect_problem(404, "not_found");

    // A file of something else.
    std::fs::write(&path, "what,is,this\n1,2,3\n").unwrap();
    window.tick("All or nothing: one bad line, and no line is stored").await;
    let chooser = window.driver.find(thirtyfour::By::Css("input[type=file]")).await.unwrap();
    chooser.send_keys(path.to_str().unwrap()).await.unwrap();
    window.says("The header may name the columns id, name, email and age.").await;
    assert_eq!(window.texts("#rejected tbody th").await, ["1"]);
    window.close().await;
    stack.stop().await;
}
