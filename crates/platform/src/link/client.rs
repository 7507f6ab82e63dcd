//! An actor's end: an outbox that is emptied towards the learner, weights that wait to be taken.
//!
//! Connecting, sending and pulling happen in a thread of their own; the control loop only writes to the
//! outbox and looks at what has arrived. A connection that breaks is made again with growing pauses,
//! without an end: a robot goes on with the weights it has. A refusal is final.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use embody_core::{IoContext, Moment, Result, TransitionSink, WeightSource};
use futures_util::stream;
use tokio::sync::{Notify, mpsc};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::access::LinkAccess;
use super::error::LinkError;
use super::message::{Down, Hello, LIVE, PULL, Part, Up, Want, up};
use super::outbox::Life;
use super::server::chain;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_FILE: &str = "lock";

/// How an actor reaches its learner.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// `HOST:PORT`, where the host is a name in the learner's certificate.
    pub address: String,
    /// Folder of the outbox; one process at a time.
    pub outbox: PathBuf,
    /// What moments are made of, as the learner has it.
    pub agreement: String,
    /// Largest file of weights that is taken, in bytes.
    pub most_weight_bytes: u64,
}

/// How the link stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkStatus {
    /// Whether the learner answers.
    pub connected: bool,
    /// Moments that are not safe with the learner yet.
    pub unsent: u64,
    /// Connections made so far.
    pub connections: u64,
    /// Version of the newest weights that arrived.
    pub weights: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Why the learner will not have this actor; nothing is sent any more.
    pub refused: Option<String>,
}

struct State {
    life: Life,
    status: LinkStatus,
    weights: Option<(u64, Arc<Vec<u8>>)>,
    wait: bool,
    stop: bool,
}

struct Shared {
    options: LinkOptions,
    access: LinkAccess,
    state: Mutex<State>,
    /// Something was pushed, or it is time to stop.
    news: Notify,
    /// The learner's wish to wait has changed.
    changed: Condvar,
}

/// The link of an actor. Dropped, it hangs up; what was not sent stays in the outbox.
pub struct ActorLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

/// Where moments go.
pub struct ActorSink(Arc<Shared>);

/// Where weights come from.
pub struct ActorWeights(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActorLink {
    /// Begins a life, and sends what earlier ones left. The learner need not be there yet.
    ///
    /// # Errors
    /// When the outbox is damaged or in use, or the address is none.
    pub fn start(options: &LinkOptions, access: &LinkAccess) -> Result<Self> {
        crate::store::install_crypto();
        access.check()?;
        let outbox = &options.outbox;
        fs::create_dir_all(outbox).at("create folder", outbox)?;
        let path = outbox.join(LOCK_FILE);
        let held = File::create(&path).at("create", &path)?;
        if held.try_lock().is_err() {
            let message = "another process uses it".to_owned();
            return Err(LinkError::Outbox { path: outbox.clone(), message }.into());
        }
        let endpoint = endpoint(options, access)?;
        let earlier = Life::left_in(outbox)?;
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|e| LinkError::Start { message: e.to_string() })?;
        // 0 is the name of demonstrations.
        let life = Life::begin(outbox, u64::from_le_bytes(name).max(1))?;
        let unsent = earlier.iter().map(|l| l.last - l.safe).sum();
        let status = LinkStatus { unsent, ..LinkStatus::default() };
        let shared = Arc::new(Shared {
            options: options.clone(),
            access: access.clone(),
            state: Mutex::new(State { life, status, weights: None, wait: false, stop: false }),
            news: Notify::new(),
            changed: Condvar::new(),
        });
        let started = |e: std::io::Error| LinkError::Start { message: e.to_string() };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(started)?;
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("embody-actor-link".into())
            .spawn(move || runtime.block_on(work.run(endpoint, earlier)))
            .map_err(started)?;
        Ok(Self { shared, thread: Some(thread), _lock: held })
    }

    /// Where moments go.
    pub fn sink(&self) -> ActorSink {
        ActorSink(Arc::clone(&self.shared))
    }

    /// Where weights come from.
    pub fn weights(&self) -> ActorWeights {
        ActorWeights(Arc::clone(&self.shared))
    }

    /// How the link stands.
    pub fn status(&self) -> LinkStatus {
        lock(&self.shared.state).status.clone()
    }

    /// Waits, `patience` at most, until everything pushed is safe with the learner; returns whether it
    /// is.
    pub fn flush(&self, patience: Duration) -> bool {
        let state = lock(&self.shared.state);
        let waits = |s: &mut State| s.status.unsent > 0 && s.status.refused.is_none();
        let waited = self.shared.changed.wait_timeout_while(state, patience, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.status.unsent == 0
    }
}

impl Drop for ActorLink {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.news.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl TransitionSink for ActorSink {
    fn push(&mut self, moment: &Moment) -> Result<()> {
        let mut state = lock(&self.0.state);
        state.life.push(moment)?;
        state.status.unsent += 1;
        drop(state);
        self.0.news.notify_one();
        Ok(())
    }

    fn last(&self) -> u64 {
        lock(&self.0.state).life.last
    }
}

impl WeightSource for ActorWeights {
    fn newer(&mut self, than: u64) -> Result<Option<(u64, Arc<Vec<u8>>)>> {
        let state = lock(&self.0.state);
        if let Some(message) = &state.status.refused {
            let (address, message) = (self.0.options.address.clone(), message.clone());
            return Err(LinkError::Refused { address, message }.into());
        }
        Ok(state.weights.clone().filter(|(version, _)| *version > than))
    }

    fn may_act(&mut self, patience: Duration) -> bool {
        let state = lock(&self.0.state);
        let waits = |s: &mut State| s.wait && s.status.refused.is_none();
        let waited = self.0.changed.wait_timeout_while(state, patience, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).0.wait
    }
}

fn endpoint(options: &LinkOptions, access: &LinkAccess) -> Result<Endpoint, LinkError> {
    let wrong = |message: String| LinkError::Address { address: options.address.clone(), message };
    let host = options.address.rsplit_once(':').ok_or_else(|| wrong("no port".into()))?.0;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let endpoint = Endpoint::from_shared(format!("https://{}", options.address));
    endpoint.and_then(|e| e.tls_config(access.client_tls(host))).map_err(|e| wrong(chain(&e))).map(
        |e| {
            e.connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5))
        },
    )
}

/// Why a connection ended.
enum End {
    /// Everything of an earlier life is safe.
    Done,
    /// It is time to stop.
    Stop,
    /// It broke: again.
    Broken(String),
    /// The learner will not have it.
    Refused(String),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        let text = match status.message() {
            "" => format!("{:?}", status.code()),
            message => message.to_owned(),
        };
        match status.code() {
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unimplemented => Self::Refused(text),
            _ => {
                let cause = std::error::Error::source(&status).map(chain);
                Self::Broken(cause.unwrap_or(text))
            }
        }
    }
}

/// The life that a connection is about.
enum Whose<'a> {
    Earlier(&'a mut Life),
    Present,
}

impl Shared {
    async fn run(self: Arc<Self>, endpoint: Endpoint, mut earlier: Vec<Life>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let end = self.connect(&endpoint, &mut earlier, &mut pause).await;
            if self.ended(end) {
                return;
            }
            let stopped = async {
                while !lock(&self.state).stop {
                    self.news.notified().await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopped => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes note of how a connection ended; returns whether there is to be no other.
    fn ended(&self, end: End) -> bool {
        let mut state = lock(&self.state);
        state.status.connected = false;
        // Nobody waits for a learner that is not there.
        state.wait = false;
        match end {
            End::Stop | End::Done => {}
            End::Broken(message) => state.status.last_error = Some(message),
            End::Refused(message) => {
                state.status.last_error = Some(message.clone());
                state.status.refused = Some(message);
            }
        }
        let over = state.stop || state.status.refused.is_some();
        drop(state);
        self.changed.notify_all();
        over
    }

    async fn connect(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        earlier: &mut Vec<Life>,
        pause: &mut Duration,
    ) -> End {
        if lock(&self.state).stop {
            return End::Stop;
        }
        let channel = tokio::select! {
            channel = endpoint.connect() => channel,
            () = self.told_to_stop() => return End::Stop,
        };
        let channel = match channel {
            Ok(channel) => channel,
            Err(error) => return End::Broken(chain(&error)),
        };
        while let Some(mut life) = earlier.pop() {
            match self.live(&channel, Whose::Earlier(&mut life), pause).await {
                End::Done => {
                    if let Err(error) = life.remove() {
                        return End::Broken(error.to_string());
                    }
                }
                other => {
                    earlier.push(life);
                    return other;
                }
            }
        }
        self.live(&channel, Whose::Present, pause).await
    }

    async fn told_to_stop(&self) {
        while !lock(&self.state).stop {
            self.news.notified().await;
        }
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(value) = self.access.token().and_then(|t| format!("Bearer {t}").parse().ok()) {
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Sends one life until it ends.
    async fn live(
        self: &Arc<Self>,
        channel: &Channel,
        mut whose: Whose<'_>,
        pause: &mut Duration,
    ) -> End {
        let (send, mut receive) = mpsc::channel::<Up>(32);
        let ups = stream::poll_fn(move |cx| receive.poll_recv(cx));
        let actor = match &whose {
            Whose::Earlier(life) => life.actor,
            Whose::Present => lock(&self.state).life.actor,
        };
        let agreement = self.options.agreement.clone();
        let hello = Up { kind: Some(up::Kind::Hello(Hello { actor, agreement })) };
        if send.send(hello).await.is_err() {
            return End::Broken("the connection closed".into());
        }
        let mut grpc = Grpc::new(channel.clone());
        if let Err(error) = grpc.ready().await {
            return End::Broken(chain(&error));
        }
        let codec: ProstCodec<Up, Down> = ProstCodec::default();
        let path = PathAndQuery::from_static(LIVE);
        let downs = match grpc.streaming(self.signed(ups), path, codec).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status.into(),
        };
        self.exchange(channel, &mut whose, &send, downs, pause).await
    }

    async fn exchange(
        self: &Arc<Self>,
        channel: &Channel,
        whose: &mut Whose<'_>,
        send: &mpsc::Sender<Up>,
        mut downs: Streaming<Down>,
        pause: &mut Duration,
    ) -> End {
        let welcome = match downs.message().await {
            Ok(Some(down)) => down,
            Ok(None) => return End::Broken("the learner hung up".into()),
            Err(status) => return status.into(),
        };
        *pause = FIRST_PAUSE;
        {
            let mut state = lock(&self.state);
            state.status.connected = true;
            state.status.connections += 1;
        }
        let mut sent = welcome.safe;
        if let Some(end) = self.heard(channel, whose, welcome) {
            return end;
        }
        loop {
            let next = match whose {
                Whose::Earlier(life) => life.read(sent + 1),
                Whose::Present => lock(&self.state).life.read(sent + 1),
            };
            let next = match next {
                Ok(next) => next,
                Err(error) => return End::Refused(error.to_string()),
            };
            let missing = match whose {
                Whose::Earlier(life) => life.last > sent,
                Whose::Present => lock(&self.state).life.last > sent,
            };
            if next.is_none() && missing {
                let message = format!("the learner lacks moment {}, which it once had", sent + 1);
                return End::Refused(message);
            }
            let room = async {
                match &next {
                    Some(_) => send.reserve().await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                permit = room => match (permit, next) {
                    (Some(permit), Some(moment)) => {
                        permit.send(Up { kind: Some(up::Kind::Moment(moment)) });
                        sent += 1;
                    }
                    // The stream has ended; why, its other half says.
                    _ => match downs.message().await {
                        Err(status) => return status.into(),
                        _ => return End::Broken("the learner hung up".into()),
                    },
                },
                down = downs.message() => match down {
                    Ok(Some(down)) => {
                        if let Some(end) = self.heard(channel, whose, down) {
                            return end;
                        }
                    }
                    Ok(None) => return End::Broken("the learner hung up".into()),
                    Err(status) => return status.into(),
                },
                () = self.news.notified() => {
                    if lock(&self.state).stop {
                        return End::Stop;
                    }
                }
            }
        }
    }

    /// Takes note of what the learner said.
    fn heard(
        self: &Arc<Self>,
        channel: &Channel,
        whose: &mut Whose<'_>,
        down: Down,
    ) -> Option<End> {
        let mut state = lock(&self.state);
        let State { life, status, .. } = &mut *state;
        let life = match whose {
            Whose::Earlier(life) => &mut **life,
            Whose::Present => life,
        };
        // A learner that knows more than was ever pushed knows another life of this name.
        if down.safe > life.last {
            let message = format!("the learner has moment {} of {}", down.safe, life.last);
            return Some(End::Refused(message));
        }
        status.unsent -= (down.safe.max(life.safe) - life.safe).min(status.unsent);
        if let Err(error) = life.forget(down.safe) {
            return Some(End::Refused(error.to_string()));
        }
        let done = matches!(whose, Whose::Earlier(life) if life.safe == life.last);
        state.wait = down.wait;
        let have = state.status.weights;
        drop(state);
        self.changed.notify_all();
        if down.weights > have {
            let (shared, channel) = (Arc::clone(self), channel.clone());
            tokio::spawn(async move {
                if let Err(error) = shared.pull(channel).await {
                    lock(&shared.state).status.last_error = Some(error.to_string());
                }
            });
        }
        done.then_some(End::Done)
    }

    /// Pulls the newest weights.
    async fn pull(&self, channel: Channel) -> Result<(), LinkError> {
        let have = lock(&self.state).status.weights;
        let bad = |version: u64, message: String| LinkError::Weights { version, message };
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.map_err(|e| bad(have, chain(&e)))?;
        let codec: ProstCodec<Want, Part> = ProstCodec::default();
        let path = PathAndQuery::from_static(PULL);
        let want = self.signed(Want { than: have });
        let parts = grpc.server_streaming(want, path, codec).await;
        let mut parts = parts.map_err(|s| bad(have, chain(&s)))?.into_inner();
        let (mut file, mut head) = (Vec::new(), None);
        while let Some(part) = parts.message().await.map_err(|s| bad(have, chain(&s)))? {
            let this = (part.version, part.len, part.checksum);
            if part.len > self.options.most_weight_bytes {
                let message = format!("{} bytes are more than are taken", part.len);
                return Err(bad(part.version, message));
            }
            if *head.get_or_insert(this) != this
                || (file.len() + part.bytes.len()) as u64 > part.len
            {
                return Err(bad(part.version, "parts do not belong together".into()));
            }
            file.extend_from_slice(&part.bytes);
        }
        let Some((version, len, checksum)) = head else { return Ok(()) };
        if file.len() as u64 != len || crc32c::crc32c(&file) != checksum {
            return Err(bad(version, "they arrived damaged".into()));
        }
        let mut state = lock(&self.state);
        if state.status.weights < version {
            state.status.weights = version;
            state.weights = Some((version, Arc::new(file)));
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}
