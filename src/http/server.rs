//! Accepts connections, each for one request.
//!
//! In:  a site, an address
//! Out: its answers
//!
//! A connection has a few seconds from its first byte to its last, and when there are too many,
//! the oldest one ends: a probe lasts milliseconds, so that is one that does not hurry.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Settings;
use super::site::{Answer, Site};
use crate::model::Mentions;

/// How many connections are served at once.
const CONNECTIONS: usize = 32;
/// How long one may last.
const LIFE: Duration = Duration::from_secs(10);
/// The longest request line with its headers, in bytes. hyper takes no less.
const LONGEST_HEAD: usize = 8192;
/// How long no connection is accepted after the system had none to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens, and is ready to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Listens on `HTTP_Listen` and `HTTP_Port`.
    pub async fn bind(settings: &Settings) -> io::Result<Self> {
        let address = (settings.listen.as_str(), settings.port);
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn run(self, site: Site) -> Infallible {
        let site = Arc::new(site);
        tokio::select! {
            // Losing drops the server, with all connections.
            never = site.watch_health() => never,
            never = self.accept(&site) => never,
        }
    }

    async fn accept(&self, site: &Arc<Site>) -> Infallible {
        let mut connections = JoinSet::new();
        let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
        let mut mentions = Mentions::default();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if let Some(times) = mentions.due(error.kind(), Instant::now()) {
                        warn!(%error, times, "[http_server] cannot accept a connection");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            oldest_first.retain(|connection| !connection.is_finished());
            if oldest_first.len() >= CONNECTIONS
                && let Some(oldest) = oldest_first.pop_front()
            {
                oldest.abort();
            }
            oldest_first.push_back(connections.spawn(serve(stream, Arc::clone(site))));
        }
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>) {
    let answer = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(respond(&site, &request).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(LONGEST_HEAD);
    // However it ended, whoever asked knows.
    timeout(LIFE, http.serve_connection(TokioIo::new(stream), answer)).await.ok();
}

async fn respond<B>(site: &Site, request: &Request<B>) -> Response<Full<Bytes>> {
    // The answer to HEAD is the same, and hyper leaves its body out.
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = response(Answer::empty(405));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    response(site.answer(request.uri().path()).await)
}

fn response(Answer { status, content_type, body }: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("ours are between 100 and 999");
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}
