//! Taking connections, and the three ways to an end: a signal, a request, idleness.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::route;
use crate::socket::Socket;
use crate::state::{Daemon, Served};

/// How long requests may take to finish when the daemon ends.
const FINISH: Duration = Duration::from_secs(3);
/// How long a connection may be open without a request.
const SILENCE: Duration = Duration::from_secs(600);
/// The pause after a connection that could not be taken, for want of descriptors mostly.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until something ends it. The socket is gone then, containers go on.
///
/// # Errors
/// When signals or the listener cannot be had.
pub(crate) async fn serve(daemon: Arc<Daemon>, socket: Socket, idle: Option<Duration>) -> io::Result<()> {
    let listener = socket.listener()?;
    let passed = socket.passed()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut stop = daemon.stop.subscribe();
    let mut connections = daemon.connections.subscribe();
    loop {
        tokio::select! {
            accepted = accept(Some(&listener)) => match accepted {
                Ok((stream, _)) => begin(&daemon, stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(BREATH).await;
                }
            },
            accepted = accept(passed.as_ref()) => match accepted {
                Ok((stream, _)) => begin(&daemon, stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(BREATH).await;
                }
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if let Err(error) = daemon.settings.reload(&daemon.engine).await {
                    tracing::error!(%error, "the config that was in force stays");
                }
            }
            _ = stop.wait_for(|stop| *stop) => break,
            () = idled(&mut connections, idle) => match socket.leave() {
                Ok(None) => {
                    tracing::info!("idle: the engine ends");
                    return Ok(());
                }
                Ok(Some(stream)) => begin(&daemon, UnixStream::from_std(stream)?),
                Err(error) => tracing::warn!(%error, "the engine could not leave"),
            },
        }
    }
    socket.remove();
    drop(listener);
    daemon.stop.send_replace(true);
    tracing::info!("the engine ends; containers go on");
    let finished = connections.wait_for(|count| *count == 0);
    if tokio::time::timeout(FINISH, finished).await.is_err() {
        tracing::info!("connections that last are closed");
    }
    Ok(())
}

/// Takes a connection from a listener; never comes where there is none.
async fn accept(listener: Option<&UnixListener>) -> io::Result<(UnixStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Comes when there was no connection for so long.
async fn idled(connections: &mut watch::Receiver<usize>, idle: Option<Duration>) {
    let Some(idle) = idle else {
        return std::future::pending().await;
    };
    loop {
        // The sender lives as long as the daemon, which outlives this.
        if connections.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(idle, connections.wait_for(|count| *count != 0))
            .await
            .is_err()
        {
            return;
        }
    }
}

fn begin(daemon: &Arc<Daemon>, stream: UnixStream) {
    let served = daemon.served();
    tokio::spawn(connection(Arc::clone(daemon), stream, served));
}

async fn connection(daemon: Arc<Daemon>, stream: UnixStream, _served: Served) {
    daemon.settings.look(&daemon.engine).await;
    let mut stop = daemon.stop.subscribe();
    let stopped = async move {
        // An error means that the daemon is gone, which is an end too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let service = service_fn({
        let daemon = Arc::clone(&daemon);
        move |request| {
            let reply = route::serve(Arc::clone(&daemon), request);
            async move { Ok::<_, Infallible>(reply.await) }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}
