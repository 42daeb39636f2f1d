//! A way to a server that can be cut: what is on it then waits, as where a network has lost its packets, and connections stay open.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    pub at: SocketAddr,
    passes: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Proxy {
        Proxy::start_at("127.0.0.1:0".parse().expect("an address"), to).await
    }

    /// Where somebody has been told that it is.
    pub async fn start_at(at: SocketAddr, to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(at).await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let passes = watch::Sender::new(true);
        let gate = passes.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let gate = gate.clone();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    // Where one way ends, so does the other.
                    tokio::select! {
                        () = forward(near_read, far_write, gate.clone()) => {}
                        () = forward(far_read, near_write, gate) => {}
                    }
                });
            }
        });
        Proxy { at, passes }
    }

    pub fn cut(&self) {
        self.passes.send_replace(false);
    }

    pub fn mend(&self) {
        self.passes.send_replace(true);
    }
}

async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut gate: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if gate.wait_for(|passes| *passes).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
