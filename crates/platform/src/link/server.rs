//! The learner's end: takes moments in, says when they are safe, offers weights.
//!
//! It runs in a thread of its own. A moment is acknowledged when [`Intake::sync`] has put it, and all
//! before it, on disk; as long as more are waiting they are taken in together.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use embody_core::{Intake, Moment, Result};
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::codegen::{Body, BoxFuture, BoxStream, Service, StdError, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::access::ServerAccess;
use super::error::LinkError;
use super::message::{Down, LIVE, PULL, Part, SERVICE, Up, Want, up};

/// Moments taken in before they are made safe and acknowledged, while more are waiting.
const AT_ONCE: usize = 64;
/// Bytes of weights in a message.
const PART_BYTES: usize = 512 << 10;

/// How a learner listens.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address to listen on, such as `0.0.0.0:7420`; port 0 for any free one.
    pub address: String,
    /// Largest message that is read, in bytes: a moment with its pictures.
    pub most_message_bytes: usize,
    /// What moments are made of: actors that say otherwise are refused.
    pub agreement: String,
}

/// What is offered to actors.
#[derive(Clone, Default)]
struct Offer {
    version: u64,
    weights: Arc<Vec<u8>>,
    wait: bool,
}

struct Shared {
    intake: Mutex<Box<dyn Intake>>,
    offer: watch::Receiver<Offer>,
    /// BLAKE3 of the token, compared in constant time; `None` where certificates speak.
    token: Option<blake3::Hash>,
    agreement: String,
    most_message_bytes: usize,
}

/// A learner that listens. Dropped, it hangs up.
pub struct LearnerServer {
    address: SocketAddr,
    offer: watch::Sender<Offer>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LearnerServer {
    /// Listens, and gives what comes to `intake`.
    ///
    /// # Errors
    /// When the address can't be had, or keys and certificates are none.
    pub fn start(
        options: &ServerOptions,
        access: &ServerAccess,
        intake: Box<dyn Intake>,
    ) -> Result<Self> {
        crate::store::install_crypto();
        access.actors.check()?;
        let failed =
            |message: String| LinkError::Listen { address: options.address.clone(), message };
        let started = |e: std::io::Error| LinkError::Start { message: e.to_string() };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("embody-link")
            .enable_all()
            .build()
            .map_err(started)?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(&options.address))
            .map_err(|e| failed(e.to_string()))?;
        let address = listener.local_addr().map_err(|e| failed(e.to_string()))?;
        let (offer, seen) = watch::channel(Offer::default());
        let service = Experience(Arc::new(Shared {
            intake: Mutex::new(intake),
            offer: seen,
            token: access.actors.token().map(|t| blake3::hash(t.as_bytes())),
            agreement: options.agreement.clone(),
            most_message_bytes: options.most_message_bytes,
        }));
        let mut server = Server::builder()
            .tls_config(access.tls())
            .map_err(|e| failed(chain(&e)))?
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
            .tcp_nodelay(true);
        let (stop, stopped) = oneshot::channel::<()>();
        let work = async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let serve = server.add_service(service).serve_with_incoming(incoming);
            // Connections are cut when it is told to stop: actors keep what is not safe yet.
            tokio::select! {
                _ = serve => {}
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new()
            .name("embody-learner-link".into())
            .spawn(move || {
                runtime.block_on(work);
                runtime.shutdown_background();
            })
            .map_err(started)?;
        Ok(Self { address, offer, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Offers weights, a safetensors file, of a version above all earlier ones.
    pub fn publish(&self, version: u64, weights: Vec<u8>) {
        self.offer.send_modify(|offer| {
            (offer.version, offer.weights) = (version, Arc::new(weights));
        });
    }

    /// Asks all actors to wait before their next step, or to go on.
    pub fn hold(&self, wait: bool) {
        self.offer.send_if_modified(|offer| {
            let changed = offer.wait != wait;
            offer.wait = wait;
            changed
        });
    }
}

impl Drop for LearnerServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with what lay beneath it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Shared {
    #[allow(clippy::result_large_err, reason = "tonic's type")]
    fn admit(&self, metadata: &tonic::metadata::MetadataMap) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = metadata.get("authorization").and_then(|v| v.to_str().ok());
        let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
        match blake3::hash(given.as_bytes()) == *token {
            true => Ok(()),
            false => Err(Status::unauthenticated("the token is not this learner's")),
        }
    }

    fn down(&self, safe: u64) -> Down {
        let offer = self.offer.borrow();
        Down { safe, weights: offer.version, wait: offer.wait }
    }

    /// Reads an actor's life, and answers into `down`.
    async fn live(
        self: Arc<Self>,
        mut ups: Streaming<Up>,
        down: &mpsc::Sender<Result<Down, Status>>,
    ) -> Result<(), Status> {
        let hello = match ups.message().await? {
            Some(Up { kind: Some(up::Kind::Hello(hello)) }) => hello,
            _ => return Err(Status::invalid_argument("a life begins with a greeting")),
        };
        if hello.agreement != self.agreement {
            return Err(Status::failed_precondition(format!(
                "the actor's moments are made of {}, the learner's of {}",
                hello.agreement, self.agreement
            )));
        }
        let actor = hello.actor;
        let mut safe = lock(&self.intake).last(actor);
        let gone = |_| Status::cancelled("the actor has gone");
        // What changes from here on is said; what it is now, at once.
        let mut offer = self.offer.clone();
        offer.mark_unchanged();
        down.send(Ok(self.down(safe))).await.map_err(gone)?;
        loop {
            let first = tokio::select! {
                up = ups.next() => up,
                changed = offer.changed() => {
                    changed.map_err(|_| Status::unavailable("the learner stops"))?;
                    down.send(Ok(self.down(safe))).await.map_err(gone)?;
                    continue;
                }
            };
            let Some(first) = first else { return Ok(()) };
            let mut moments = vec![moment(first?)?];
            // What comes before something that can't be read is taken in all the same.
            let mut broken = None;
            while moments.len() < AT_ONCE && broken.is_none() {
                match ups.next().now_or_never() {
                    Some(Some(up)) => match up.and_then(moment) {
                        Ok(moment) => moments.push(moment),
                        Err(status) => broken = Some(status),
                    },
                    _ => break,
                }
            }
            let shared = Arc::clone(&self);
            // It touches the disk and may wait for an update to end.
            let taken = tokio::task::spawn_blocking(move || -> Result<u64> {
                let mut intake = lock(&shared.intake);
                for moment in &moments {
                    intake.accept(actor, moment)?;
                }
                intake.sync()?;
                Ok(intake.last(actor))
            });
            safe = match taken.await {
                Ok(Ok(safe)) => safe,
                Ok(Err(error)) => return Err(Status::failed_precondition(error.to_string())),
                Err(_) => return Err(Status::internal("taking a moment in panicked")),
            };
            down.send(Ok(self.down(safe))).await.map_err(gone)?;
            if let Some(status) = broken {
                return Err(status);
            }
        }
    }
}

#[allow(clippy::result_large_err, reason = "tonic's type")]
fn moment(up: Up) -> Result<Moment, Status> {
    match up.kind {
        Some(up::Kind::Moment(moment)) => Ok(moment.into()),
        _ => Err(Status::invalid_argument("a second greeting, or nothing")),
    }
}

/// The service, as code made from the protocol's description would be.
#[derive(Clone)]
struct Experience(Arc<Shared>);

impl NamedService for Experience {
    const NAME: &'static str = SERVICE;
}

struct Live(Arc<Shared>);

impl StreamingService<Up> for Live {
    type Response = Down;
    type ResponseStream = BoxStream<Down>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Up>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.admit(request.metadata())?;
            let (send, mut receive) = mpsc::channel(16);
            tokio::spawn(async move {
                if let Err(status) = shared.live(request.into_inner(), &send).await {
                    send.send(Err(status)).await.ok();
                }
            });
            let downs = stream::poll_fn(move |cx| receive.poll_recv(cx));
            Ok(Response::new(Box::pin(downs) as BoxStream<Down>))
        })
    }
}

struct Pull(Arc<Shared>);

impl ServerStreamingService<Want> for Pull {
    type Response = Part;
    type ResponseStream = BoxStream<Part>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Want>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.admit(request.metadata())?;
            let Offer { version, weights, .. } = shared.offer.borrow().clone();
            let count = match version > request.into_inner().than {
                true => weights.len().div_ceil(PART_BYTES).max(1),
                false => 0,
            };
            let checksum = crc32c::crc32c(&weights);
            let part = move |i: usize| {
                let end = ((i + 1) * PART_BYTES).min(weights.len());
                let bytes = weights[i * PART_BYTES..end].to_vec();
                Ok(Part { version, len: weights.len() as u64, checksum, bytes })
            };
            let parts = stream::iter((0..count).map(part));
            Ok(Response::new(Box::pin(parts) as BoxStream<Part>))
        })
    }
}

impl<B> Service<http::Request<B>> for Experience
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let most = shared.most_message_bytes;
        match request.uri().path() {
            LIVE => Box::pin(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(most);
                Ok(grpc.streaming(Live(shared), request).await)
            }),
            PULL => Box::pin(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(4096);
                Ok(grpc.server_streaming(Pull(shared), request).await)
            }),
            _ => Box::pin(async move { Ok(Status::unimplemented("no such call").into_http()) }),
        }
    }
}
