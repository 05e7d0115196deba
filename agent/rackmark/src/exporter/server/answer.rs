//! Request to response.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::counters::Refusal;
use crate::exporter::auth::{Doorkeeper, Verdict};
use crate::exporter::page;
use crate::exporter::scrape::Exporter;
use crate::exporter::web_config::{InForce, Live};

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers requests.
pub struct Answers {
    /// What is shown.
    pub exporter: Exporter,
    /// Who is let in.
    pub door: Doorkeeper,
}

impl Answers {
    /// Answers one request on a connection that was accepted under `accepted_under`.
    pub async fn answer<B: Body>(
        &self,
        request: Request<B>,
        accepted_under: Option<&Arc<InForce>>,
    ) -> Response<Full<Bytes>> {
        let in_force = self.exporter.web.as_ref().map(Live::now);
        let mut response = match self.refusal(&request, in_force.as_ref()).await {
            None => self.content(&request),
            Some(refusal) => {
                self.exporter.counters.refuse(refusal);
                refused(refusal)
            }
        };
        let headers = response.headers_mut();
        if let Some(in_force) = &in_force {
            for (name, value) in &in_force.config.headers {
                headers.insert(name, value.clone());
            }
            // Made under other certificates: answered once more, so that no scrape is lost.
            if accepted_under.is_none_or(|old| !Arc::ptr_eq(old, in_force)) {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        response
    }

    /// Why a request gets no content, if so. Who asks comes before what is asked.
    async fn refusal<B: Body>(
        &self,
        request: &Request<B>,
        in_force: Option<&Arc<InForce>>,
    ) -> Option<Refusal> {
        if let Some(in_force) = in_force {
            if !in_force.allows_request() {
                return Some(Refusal::RateLimit);
            }
            if let Some(users) = &in_force.config.users {
                let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
                match self.door.admit(users, authorization).await {
                    Verdict::Known => {}
                    Verdict::Unknown => return Some(Refusal::Unauthorized),
                    Verdict::Busy => return Some(Refusal::AuthBusy),
                }
            }
        }
        if !request.body().is_end_stream() {
            return Some(Refusal::Body);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Some(Refusal::Method);
        }
        (!matches!(request.uri().path(), "/" | "/metrics" | "/metrics/dcgm")).then_some(Refusal::Path)
    }

    fn content<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/" {
            let mut response = response(StatusCode::OK, HTML, self.exporter.page());
            page::guard(response.headers_mut());
            return response;
        }
        if request.uri().path() == "/metrics/dcgm" {
            // Never OpenMetrics: its counters end in `_total`, these do not.
            return response(StatusCode::OK, CLASSIC, self.exporter.dcgm());
        }
        let wants_openmetrics = request
            .headers()
            .get(ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if !wants_openmetrics {
            return response(StatusCode::OK, CLASSIC, self.exporter.classic());
        }
        match self.exporter.openmetrics() {
            Ok(text) => response(StatusCode::OK, OPENMETRICS, text),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "cannot write OpenMetrics\n"),
        }
    }
}

/// The answer to what is refused. The connection is closed after it: only clients
/// that get what they ask for keep a place.
fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    let (status, text) = match refusal {
        Refusal::Body => (StatusCode::PAYLOAD_TOO_LARGE, "requests have no body here\n"),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
        Refusal::Path => (StatusCode::NOT_FOUND, "only /metrics\n"),
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, "a user and a password are needed\n"),
        Refusal::RateLimit => (StatusCode::TOO_MANY_REQUESTS, "too many requests\n"),
        Refusal::AuthBusy => (StatusCode::SERVICE_UNAVAILABLE, "too many passwords to check\n"),
        Refusal::Connections | Refusal::Tls | Refusal::Timeout | Refusal::HeaderSize | Refusal::Malformed => {
            (StatusCode::BAD_REQUEST, "refused\n")
        }
    };
    let mut response = response(status, PLAIN, text);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    match refusal {
        Refusal::Method => headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD")),
        Refusal::Unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"rackmark\""))
        }
        _ => None,
    };
    response
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
