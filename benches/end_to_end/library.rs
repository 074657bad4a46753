//! What compressing and encrypting cost where nothing else is done.
//!
//! In:  the entries of frames, as the agent makes them
//! Out: the CPU time that flate2, zstd or rustls need for them, in one loop of one thread

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::own_cpu;

/// What a library did.
pub(crate) struct Work {
    /// `None`: this kernel does not say.
    pub(crate) cpu: Option<Duration>,
    /// Bytes it made.
    pub(crate) bytes: u64,
}

/// flate2, with one state and one buffer for all frames.
pub(crate) fn gzip(frames: &[Vec<u8>], level: u32) -> io::Result<Work> {
    let mut state = Compress::new_gzip(Compression::new(level), 15);
    work(frames, |frame, made| {
        state.reset();
        made.clear();
        made.reserve(frame.len());
        state.compress_vec(frame, made, FlushCompress::Finish)?;
        Ok(())
    })
}

/// zstd, the same way.
pub(crate) fn zstd(frames: &[Vec<u8>], level: i32) -> io::Result<Work> {
    let mut state = zstd::bulk::Compressor::new(level)?;
    work(frames, |frame, made| {
        made.clear();
        made.reserve(frame.len());
        state.compress_to_buffer(frame, made).map(|_| ())
    })
}

/// rustls, on a connection whose other end is nowhere.
pub(crate) fn tls(
    frames: &[Vec<u8>],
    client: ClientConfig,
    server: &Arc<ServerConfig>,
) -> io::Result<Work> {
    let mut session = shake_hands(client, server)?;
    let mut sink = io::sink();
    work(frames, |frame, _| {
        let mut rest = frame;
        while !rest.is_empty() {
            let written = session.writer().write(rest)?;
            rest = &rest[written..];
            while session.wants_write() {
                session.write_tls(&mut sink)?;
            }
        }
        Ok(())
    })
}

fn work(
    frames: &[Vec<u8>],
    mut step: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<Work> {
    let mut made = Vec::with_capacity(1 << 20);
    let mut bytes = 0;
    let begun = own_cpu();
    for frame in frames {
        step(frame, &mut made)?;
        bytes += black_box(&made).len() as u64;
    }
    let cpu = own_cpu().zip(begun).map(|(after, before)| after.saturating_sub(before));
    Ok(Work { cpu, bytes })
}

fn shake_hands(client: ClientConfig, server: &Arc<ServerConfig>) -> io::Result<ClientConnection> {
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    let mut client = ClientConnection::new(Arc::new(client), name).map_err(io::Error::other)?;
    let mut server = ServerConnection::new(Arc::clone(server)).map_err(io::Error::other)?;
    while client.is_handshaking() || server.is_handshaking() {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut there)?;
        }
        let mut there = &there[..];
        while !there.is_empty() {
            server.read_tls(&mut there)?;
            server.process_new_packets().map_err(io::Error::other)?;
        }
        while server.wants_write() {
            server.write_tls(&mut back)?;
        }
        let mut back = &back[..];
        while !back.is_empty() {
            client.read_tls(&mut back)?;
            client.process_new_packets().map_err(io::Error::other)?;
        }
    }
    Ok(client)
}
