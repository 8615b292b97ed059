//! One keep-alive connection to a server, and what is sent over it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Failure;

/// A connection that is made when it is first needed, and made again after the server has closed it.
pub(crate) struct Client {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Sent with every request.
    common: Vec<(HeaderName, HeaderValue)>,
}

/// What came back, with the whole body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The text of a member at the top of a JSON body.
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get(name)?.as_str()?.to_owned())
    }
}

impl Client {
    /// A client of `address`, such as `127.0.0.1:8081`, that has not connected yet.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), sender: None, common: Vec::new() }
    }

    /// Says to come from `address`, to a server that believes so.
    pub(crate) fn forwarded_for(mut self, address: &str) -> Result<Self, Failure> {
        self.common.push((HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(address)?));
        Ok(self)
    }

    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<Answer, Failure> {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Full::default())?).await
    }

    pub(crate) async fn form(&mut self, path: &str, form: String) -> Result<Answer, Failure> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Full::from(form))?).await
    }

    /// Sends a body of the media type `kind`, or nothing where that is empty, with a token if there is one.
    pub(crate) async fn with_body(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        kind: &'static str,
        body: String,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Full::from(body))?).await
    }

    pub(crate) async fn log_in(&mut self, email: &str, password: &str) -> Result<Answer, Failure> {
        let body = serde_json::json!({ "email": email, "password": password }).to_string();
        self.with_body(Method::POST, "/auth/login", None, "application/json", body).await
    }

    /// A log-in of somebody who says to come from `from`: the connection is one of many clients of a proxy.
    pub(crate) async fn log_in_from(
        &mut self,
        email: &str,
        password: &str,
        from: Option<&str>,
    ) -> Result<Answer, Failure> {
        self.common.clear();
        if let Some(from) = from {
            self.common.push((HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(from)?));
        }
        self.log_in(email, password).await
    }

    pub(crate) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&self.address)?);
        for (name, value) in &self.common {
            headers.insert(name, value.clone());
        }
        let sender = self.sender().await?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok(Answer { status, body })
        }
        .await;
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let ready = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            self.sender = None;
        }
        match &mut self.sender {
            Some(sender) => Ok(sender),
            vacant @ None => {
                let stream = TcpStream::connect(&self.address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(async move {
                    // Whoever waits for an answer is told.
                    let _ = connection.await;
                });
                Ok(vacant.insert(sender))
            }
        }
    }
}
