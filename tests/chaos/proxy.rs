//! A TCP proxy before a server: what comes through it can be cut off, held up and slowed down.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What a proxy does to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    Through,
    /// Closes connections, and takes no new ones.
    Cut,
    /// Keeps connections, and passes nothing on.
    Hang,
    /// Passes each piece on after this time.
    Slow(Duration),
}

/// A proxy on a port of its own.
pub struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
    accepting: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// A proxy before the server on `port` of this machine.
    pub fn before(port: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let (mode, modes) = watch::channel(Mode::Through);
        let accepting = tokio::spawn(accept(listener, ([127, 0, 0, 1], port).into(), modes)).abort_handle();
        Self { port: own, mode, accepting }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, modes: watch::Receiver<Mode>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let modes = modes.clone();
        tokio::spawn(async move {
            if *modes.borrow() == Mode::Cut {
                return;
            }
            let Ok(server) = TcpStream::connect(to).await else { return };
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::join!(pump(from_client, to_server, modes.clone()), pump(from_server, to_client, modes));
        });
    }
}

/// Passes bytes on until one end closes or the proxy is cut.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut cut = modes.clone();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = cut.wait_for(|mode| *mode == Mode::Cut) => return,
        };
        let Ok(count @ 1..) = read else { return };
        loop {
            let mode = *modes.borrow_and_update();
            match mode {
                Mode::Through => break,
                Mode::Cut => return,
                Mode::Slow(time) => {
                    tokio::time::sleep(time).await;
                    break;
                }
                Mode::Hang => {
                    if modes.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
