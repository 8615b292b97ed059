//! The YAML of the page, with a stand-in for Traefik that does what its documentation says of `ForwardAuth` and of the
//! middleware for headers. Traefik itself cannot be installed from a registry.

use std::net::TcpListener;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use yaml_rust2::{Yaml, YamlLoader};

use crate::{
    page::{self, replaced},
    ring::Kind,
    stack::TestStack,
    upstream::{Gate, Upstream},
};

/// What concerns one connection only and is not handed on.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "te", "trailers", "transfer-encoding", "upgrade", "proxy-connection"];

/// A middleware of the dynamic configuration.
#[derive(Clone, Debug)]
enum Middleware {
    ForwardAuth {
        address: Url,
        request_headers: Vec<HeaderName>,
        response_headers: Vec<HeaderName>,
    },
    /// Headers to set or, if the value is empty, to take away.
    Headers(Vec<(HeaderName, HeaderValue)>),
}

/// The one router, its middlewares in order, and the service behind it.
#[derive(Clone, Debug)]
struct Router {
    prefix: String,
    /// Whether headers with a name that could be taken for another's are dropped.
    without_aliases: bool,
    middlewares: Vec<Middleware>,
    service: Url,
}

impl Router {
    /// Reads both files. A member that the stand-in does not know is none that Traefik is known to have.
    fn read(static_file: &str, dynamic_file: &str) -> Self {
        let document = parsed(static_file);
        let [entry_points, providers] = members(&document, ["entryPoints", "providers"]);
        let (entry_point, [_address, options]) = only(entry_points, |point| members(point, ["address", "http"]));
        let [aliases] = members(options, ["aliasHeadersStrategy"]);
        let [file] = members(providers, ["file"]);
        let [filename] = members(file, ["filename"]);
        assert!(text(filename).ends_with("/signet.yaml"));

        let document = parsed(dynamic_file);
        let [http] = members(&document, ["http"]);
        let [routers, middlewares, services] = members(http, ["routers", "middlewares", "services"]);
        let (_, [rule, entry_points, chain, service]) =
            only(routers, |router| members(router, ["rule", "entryPoints", "middlewares", "service"]));
        assert_eq!(texts(entry_points), [entry_point]);
        let prefix = text(rule).strip_prefix("PathPrefix(`").and_then(|rule| rule.strip_suffix("`)")).unwrap();
        let (name, [balancer]) = only(services, |service| members(service, ["loadBalancer"]));
        assert_eq!(text(service), name);
        let [servers] = members(balancer, ["servers"]);
        let [url] = members(&servers[0], ["url"]);
        Self {
            prefix: prefix.to_owned(),
            without_aliases: text(aliases) == "delete",
            middlewares: texts(chain).into_iter().map(|name| Middleware::read(&middlewares[name])).collect(),
            service: text(url).parse().unwrap(),
        }
    }
}

impl Middleware {
    fn read(middleware: &Yaml) -> Self {
        if !middleware["forwardAuth"].is_badvalue() {
            let [auth] = members(middleware, ["forwardAuth"]);
            let [address, request_headers, response_headers, limit] =
                members(auth, ["address", "authRequestHeaders", "authResponseHeaders", "maxResponseBodySize"]);
            assert!(limit.as_i64().unwrap() > 0);
            let names = |list| texts(list).into_iter().map(|name| name.parse().unwrap()).collect();
            return Self::ForwardAuth {
                address: text(address).parse().unwrap(),
                request_headers: names(request_headers),
                response_headers: names(response_headers),
            };
        }
        let [headers] = members(middleware, ["headers"]);
        let [custom] = members(headers, ["customRequestHeaders"]);
        let pair = |(name, value)| (text(name).parse().unwrap(), text(value).parse().unwrap());
        Self::Headers(custom.as_hash().unwrap().iter().map(pair).collect())
    }

    /// Changes the headers of a request, or answers it.
    async fn apply(
        &self,
        http: &reqwest::Client,
        request: &HttpRequest,
        headers: &mut HeaderMap,
    ) -> Option<HttpResponse> {
        match self {
            Self::Headers(custom) => {
                for (name, value) in custom {
                    if value.is_empty() {
                        headers.remove(name);
                    } else {
                        headers.insert(name, value.clone());
                    }
                }
                None
            }
            Self::ForwardAuth { address, request_headers, response_headers } => {
                let mut asked = HeaderMap::new();
                for name in request_headers.iter().filter(|name| !HOP_BY_HOP.contains(&name.as_str())) {
                    for value in headers.get_all(name) {
                        asked.append(name, value.clone());
                    }
                }
                let peer = request.peer_addr().unwrap().ip().to_string();
                for (name, value) in [
                    ("x-forwarded-for", peer.as_str()),
                    ("x-forwarded-method", request.method().as_str()),
                    ("x-forwarded-proto", "http"),
                    ("x-forwarded-host", request.connection_info().host()),
                    ("x-forwarded-uri", &request.uri().to_string()),
                ] {
                    asked.insert(name, value.parse().unwrap());
                }
                let Ok(response) = http.get(address.clone()).headers(asked).send().await else {
                    return Some(HttpResponse::InternalServerError().finish());
                };
                if response.status().is_success() {
                    for name in response_headers {
                        headers.remove(name);
                        for value in response.headers().get_all(name) {
                            headers.append(name, value.clone());
                        }
                    }
                    return None;
                }
                Some(answer(response).await)
            }
        }
    }
}

/// Hands an answer on.
async fn answer(response: reqwest::Response) -> HttpResponse {
    let mut answer = HttpResponse::build(response.status().as_u16().try_into().unwrap());
    for (name, value) in response.headers() {
        if !HOP_BY_HOP.contains(&name.as_str()) && name != "content-length" {
            answer.append_header((name.as_str(), value.as_bytes()));
        }
    }
    answer.body(response.bytes().await.unwrap())
}

async fn pass(state: web::Data<(Router, reqwest::Client)>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let (router, http) = &**state;
    if !request.path().starts_with(&router.prefix) {
        return HttpResponse::NotFound().finish();
    }
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let is_alias = name.as_str().contains(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        if name != "host" && name != "content-length" && !(router.without_aliases && is_alias) {
            let name: HeaderName = name.as_str().parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
    }
    for middleware in &router.middlewares {
        if let Some(answer) = middleware.apply(http, &request, &mut headers).await {
            return answer;
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let url = router.service.join(&request.uri().to_string()).unwrap();
    let method: Method = request.method().as_str().parse().unwrap();
    answer(http.request(method, url).headers(headers).body(body).send().await.unwrap()).await
}

fn parsed(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// The members of a mapping, which has these and no others.
#[track_caller]
fn members<'y, const N: usize>(mapping: &'y Yaml, names: [&str; N]) -> [&'y Yaml; N] {
    let there: Vec<&str> = mapping.as_hash().unwrap().keys().map(text).collect();
    assert!(there.len() == N && names.iter().all(|name| there.contains(name)), "{there:?}, not {names:?}");
    names.map(|name| &mapping[name])
}

/// The only member of a mapping, whatever it is called.
fn only<'y, T>(mapping: &'y Yaml, read: impl FnOnce(&'y Yaml) -> T) -> (&'y str, T) {
    let mut pairs = mapping.as_hash().unwrap().iter();
    let (name, value) = pairs.next().unwrap();
    assert!(pairs.next().is_none(), "there are several");
    (text(name), read(value))
}

fn text(value: &Yaml) -> &str {
    value.as_str().unwrap()
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().unwrap().iter().map(text).collect()
}

#[actix_web::test]
async fn what_traefik_sends_for_the_documented_yaml_is_enough_to_let_a_request_pass_or_not() {
    let mut stack = TestStack::start(Kind::CommonSecret);
    let upstream = Upstream::start();
    let dynamic = page::file("signet.yaml");
    let dynamic = replaced(&dynamic, "http://127.0.0.1:8081/", &format!("{}/", stack.auth_url));
    let dynamic = replaced(&dynamic, "http://127.0.0.1:9000", &format!("http://{}", upstream.address));
    let router = Router::read(&page::file("traefik.yaml"), &dynamic);
    let state = web::Data::new((router, stack.http.clone()));
    let server = HttpServer::new(move || App::new().app_data(state.clone()).default_service(web::to(pass)))
        .workers(1)
        .disable_signals()
        .listen(TcpListener::bind(("127.0.0.1", 0)).unwrap())
        .unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    actix_web::rt::spawn(server.run());

    let gate = Gate { http: stack.http.clone(), base, upstream: &upstream };
    gate.is_tight(&mut stack).await;
}
