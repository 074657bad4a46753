//! One `forward` input: accepts clients, and serves them until the intake ends.
//!
//! In:  a socket
//! Out: a task for each client

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::client::{self, Desk};
use super::door::Door;
use super::end::End;
use super::handover::Handover;
use super::intake::{Intake, Portions};
use super::settings::Settings;
use super::socket::{ListenError, Peer, Socket, Stream};
use crate::model::{Counters, Mentions};
use crate::protocol::Limits;
use crate::protocol::handshake::Random;

/// How long no connection is accepted after the system had none to give, mostly for want of
/// descriptors: without a wait the loop would turn as fast as it can.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// See the head of this file.
pub struct Listener {
    socket: Socket,
    door: Rc<Door>,
    desk: Rc<Desk>,
    places: Arc<Semaphore>,
}

impl Listener {
    /// Listens. From now on clients can connect; they are served by [`Listener::run`].
    pub async fn bind(
        settings: Settings,
        handover: Handover,
        counters: Arc<Counters>,
        random: fn() -> Random,
    ) -> Result<Self, ListenError> {
        let door = door(&settings, random)?;
        let socket = Socket::bind(&settings.address).await?;
        info!("[input:forward:{}] listening on {socket}", settings.name);
        let portions = Portions::of(settings.mem_buf_limit);
        let largest = settings.largest_frame();
        let limits = Limits { frame: largest, inflated: largest, ..Limits::default() };
        let desk = Rc::new(Desk {
            settings,
            limits,
            room: portions.buffer,
            intake: Rc::new(Intake::new(portions)),
            deliveries: Rc::default(),
            handover,
            counters,
            mentions: RefCell::default(),
        });
        let places = Arc::new(Semaphore::new(portions.connections));
        Ok(Self { socket, door: Rc::new(door), desk, places })
    }

    /// Serves until the intake has ended and every client has what it waits for. Wants to run
    /// inside of a `LocalSet`.
    pub async fn run(self) {
        let mut clients = JoinSet::new();
        tokio::select! {
            // Losing is harmless: who was not accepted finds the port closed.
            () = self.accept(&mut clients) => {}
            // Losing is harmless: it stays ended.
            () = self.desk.handover.intake_ended() => {}
        }
        drop(self.socket);
        // No client that waits to be read is left to wait for room.
        while clients.join_next().await.is_some() {}
    }

    async fn accept(&self, clients: &mut JoinSet<()>) {
        loop {
            let place = self.place().await;
            let accepted = tokio::select! {
                // Losing is harmless: the connection waits.
                accepted = self.socket.accept() => accepted,
                // Losing is harmless: the next look finds it.
                Some(_) = clients.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    clients.spawn_local(self.serve(stream, peer, place));
                }
                Err(error) => {
                    self.mention("accept", |times| {
                        warn!(%error, times, "[input:forward:{}] cannot accept a connection", self.desk.settings.name);
                    });
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more client.
    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        let most = Portions::of(self.desk.settings.mem_buf_limit).connections;
        self.mention("full", |times| {
            warn!(
                times,
                "[input:forward:{}] {most} clients are connected, and more wait until one goes: \
                 Mem_Buf_Limit has no room for them",
                self.desk.settings.name
            );
        });
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.expect("nobody closes the semaphore")
    }

    fn serve(
        &self,
        stream: Box<dyn Stream>,
        peer: Peer,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + 'static {
        let desk = Rc::clone(&self.desk);
        let door = Rc::clone(&self.door);
        async move {
            let served = async {
                // It may send from now on, as soon as it was let in.
                let talking = desk.handover.talks();
                let admitted = tokio::select! {
                    // Losing is harmless: nothing was taken from it.
                    admitted = door.admit(stream, peer.address) => admitted?,
                    // Losing is harmless: it stays ended.
                    () = desk.handover.intake_ended() => None,
                };
                match admitted {
                    Some(admitted) => client::serve(admitted, &peer.name, talking, &desk).await,
                    None => Ok(()),
                }
            };
            if let Err(end) = served.await {
                end.count(&desk.counters);
                tell(&end, peer.name, &desk.settings, &mut desk.mentions.borrow_mut());
            }
            drop(place);
        }
    }

    fn mention(&self, what: &str, say: impl FnOnce(u64)) {
        let due =
            self.desk.mentions.borrow_mut().due((String::new(), what.to_owned()), Instant::now());
        if let Some(times) = due {
            say(times);
        }
    }
}

/// Reads the files that an input names, as [`Listener::bind`] would.
pub fn open_files(settings: &Settings) -> Result<(), ListenError> {
    door(settings, || [0; 16]).map(|_| ())
}

fn door(settings: &Settings, random: fn() -> Random) -> Result<Door, ListenError> {
    Door::new(&settings.name, settings.tls.clone(), settings.security.clone(), random)
        .and_then(|door| door.to(settings.neighbours.clone()))
        .map_err(|error| ListenError::new(&settings.address, error))
}

/// One line for what somebody must look at, at most once a minute for each peer. (Why it was not let
/// in are few things; what is wrong with its frames may be another each time.)
fn tell(end: &End, peer: String, settings: &Settings, mentions: &mut Mentions<(String, String)>) {
    let name = &settings.name;
    let offset = end.offset();
    if !end.is_worth_a_look() {
        debug!(peer, reason = %end, "[input:forward:{name}] a connection ended");
        return;
    }
    let what = match end {
        End::NotAdmitted(reason) => reason.clone(),
        _ => String::new(),
    };
    let Some(times) = mentions.due((peer.clone(), what), Instant::now()) else {
        return;
    };
    if end.is_too_large() {
        let key = settings.largest_frame_key();
        warn!(peer, offset, times, reason = %end, "[input:forward:{name}] refused a frame and closed its connection: raise {key}");
    } else if offset.is_none() {
        warn!(peer, times, reason = %end, "[input:forward:{name}] did not let a client in");
    } else {
        warn!(peer, offset, times, reason = %end, "[input:forward:{name}] refused what a client sent and closed its connection");
    }
}
