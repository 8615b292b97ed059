//! The page on another origin than the API.

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::{browser::Browsers, helpers::PASSWORD, stack::LiveStack};

const CONSOLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../console");

async fn file(api: web::Data<String>, name: web::Path<String>) -> HttpResponse {
    let name = if name.is_empty() { "index.html" } else { &name };
    let Ok(content) = std::fs::read_to_string(format!("{CONSOLE}/{name}")) else {
        return HttpResponse::NotFound().finish();
    };
    let content_type = match name.rsplit('.').next().unwrap() {
        "html" => "text/html",
        "js" => "text/javascript",
        "css" => "text/css",
        _ => "image/svg+xml",
    };
    // All that a page elsewhere has to be told.
    let content =
        content.replace(r#"name="signet-api" content="""#, &format!(r#"name="signet-api" content="{}""#, api.as_str()));
    HttpResponse::Ok().content_type(content_type).body(content)
}

#[actix_web::test]
async fn the_console_works_from_another_origin_that_the_stack_knows_of() {
    let Some(browsers) = Browsers::start().await else { return };
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let stack = LiveStack::start(&[("SIGNET__SERVER__CORS_ORIGINS", &origin)]);
    stack.persons().await;
    stack.user("Ada", &["editor"]).await;
    let api = web::Data::new(stack.url().to_owned());
    let pages = HttpServer::new(move || App::new().app_data(api.clone()).route("/{name:.*}", web::get().to(file)))
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
    actix_web::rt::spawn(pages);

    let window = browsers.open(&origin).await;
    window.log_in("ada", PASSWORD).await;
    assert_eq!(window.texts("tbody tr").await.len(), 20);
    window.reload().await;
    window.heading("Persons").await;
    window.press("Add a person").await;
    window.fill("Name", "Aaron Abel").await;
    window.press("Add").await;
    window.says("Aaron Abel was added.").await;
    window.press("Edit Aaron Abel").await;
    window.fill("Age", "900").await;
    window.press("Save").await;
    window.says("Request id").await;
    window.press("Cancel").await;
    window.press("Export as CSV").await;
    window.says("persons.csv was saved.").await;
    window.press("Log out").await;
    window.heading("Log in").await;
    window.reload().await;
    window.heading("Log in").await;
    window.close().await;
    stack.stop().await;
}
