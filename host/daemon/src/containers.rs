//! Containers.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use hyper::StatusCode;
use longshore_engine::{AttachRequest, ListRequest, LogRequest, models};

use crate::body::{BodyWriter, chunks};
use crate::hijack::{Client, content_type, hijack, right_to_connection, say};
use crate::query::clip;
use crate::reply::{Answer, JSON, Refusal, empty, json, json_with, start_refusal, stream};
use crate::route::Call;

pub(crate) async fn list(call: &Call) -> Answer {
    let limit = call.query.number("limit")?.filter(|limit| *limit > 0);
    let request = ListRequest {
        all: call.query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        filters: call.query.filters()?,
    };
    json(&if call.query.flag("size") {
        call.engine().list_with_sizes(request).await?
    } else {
        call.engine().list(request).await?
    })
}

pub(crate) async fn create(call: Call) -> Answer {
    let choice = call.choice()?;
    let engine = call.engine().clone();
    let name = call.query.text("name").map(str::to_owned);
    let body: models::ContainerCreateBody = call.json().await?;
    let made = engine.create(name.as_deref(), body, choice).await?;
    json_with(
        StatusCode::CREATED,
        &models::ContainerCreateResponse {
            id: made.id,
            warnings: made.warnings,
        },
    )
}

pub(crate) async fn inspect(call: &Call, id: &str) -> Answer {
    let mut shown = call.engine().inspect(id).await?;
    if call.query.flag("size") {
        let size = call.engine().size(id).await?;
        shown.size_rw = Some(size.own);
        shown.size_root_fs = Some(size.root);
    }
    json(&shown)
}

pub(crate) async fn start(call: &Call, id: &str) -> Answer {
    if call.query.text("checkpoint").is_some() {
        return Err(Refusal::not_here(
            "checkpoints are not available in this version of longshored",
        ));
    }
    let full = call.engine().waiter(id)?.id().to_owned();
    call.daemon.attaching.arrived(&full).await;
    let started = call.engine().start(&full).await.map_err(start_refusal)?;
    Ok(done_or_not(started))
}

fn done_or_not(done: bool) -> crate::reply::Reply {
    empty(if done {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_MODIFIED
    })
}

pub(crate) async fn stop(call: &Call, id: &str) -> Answer {
    let signal = call.query.text("signal").map(str::to_owned);
    let stopped = call.engine().stop(id, signal, call.query.number("t")?).await?;
    Ok(done_or_not(stopped))
}

pub(crate) async fn restart(call: &Call, id: &str) -> Answer {
    let signal = call.query.text("signal").map(str::to_owned);
    call.engine()
        .restart(id, signal, call.query.number("t")?)
        .await
        .map_err(start_refusal)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn kill(call: &Call, id: &str) -> Answer {
    let signal = call.query.text("signal").unwrap_or("KILL");
    call.engine().kill(id, signal).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn freeze(call: &Call, id: &str, frozen: bool) -> Answer {
    call.engine().freeze(id, frozen).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn remove(call: &Call, id: &str) -> Answer {
    if call.query.flag("link") {
        return Err(Refusal::not_here(
            "links are not available in this version of longshored",
        ));
    }
    call.engine()
        .remove(id, call.query.flag("force"), call.query.flag("v"))
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Rows and columns of a terminal, from the query.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Refusal> {
    let side = |key: &str| {
        let number = call.query.number(key)?.unwrap_or(0);
        u16::try_from(number).map_err(|_| Refusal::bad(format!("{key}: {number} is not the side of a terminal")))
    };
    Ok((side("h")?, side("w")?))
}

pub(crate) async fn resize(call: &Call, id: &str) -> Answer {
    let (rows, columns) = size(call)?;
    call.engine().resize(id, rows, columns).await?;
    Ok(empty(StatusCode::OK))
}

/// What a wait waits for.
type Code = Pin<Box<dyn Future<Output = longshore_engine::Result<i64>> + Send>>;

pub(crate) async fn wait(call: &Call, id: &str) -> Answer {
    let waiter = call.engine().waiter(id)?;
    let mut code: Code = match call.query.text("condition") {
        None | Some("not-running") => Box::pin(waiter.stopped()),
        Some("next-exit") => Box::pin(waiter.next_exit()),
        Some("removed") => Box::pin(waiter.removed()),
        Some(other) => return Err(Refusal::bad(format!("invalid condition: {:?}", clip(other)))),
    };
    // The wait has begun when it was asked once; the head, which says so, goes out after that.
    let first = std::future::poll_fn(|context| Poll::Ready(code.as_mut().poll(context))).await;
    let rest = async move {
        let code = match first {
            Poll::Ready(code) => code,
            Poll::Pending => code.await,
        };
        let answer = match code {
            Ok(status_code) => models::ContainerWaitResponse {
                status_code,
                error: None,
            },
            Err(error) => models::ContainerWaitResponse {
                status_code: -1,
                error: Some(models::ContainerWaitExitError {
                    message: Some(error.message),
                }),
            },
        };
        let mut text = serde_json::to_vec(&answer).map_err(std::io::Error::other)?;
        text.push(b'\n');
        Ok(Bytes::from(text))
    };
    Ok(stream(JSON, futures_util::stream::once(rest)))
}

pub(crate) async fn logs(call: &Call, id: &str) -> Answer {
    let query = &call.query;
    let tail = match query.text("tail") {
        None | Some("all") => None,
        // Docker takes what is no number for all.
        Some(_) => query
            .number("tail")
            .ok()
            .flatten()
            .and_then(|lines| usize::try_from(lines).ok()),
    };
    let request = LogRequest {
        follow: query.flag("follow"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        timestamps: query.flag("timestamps"),
        since: query.seconds("since")?,
        until: query.seconds("until")?,
        tail,
    };
    if !request.stdout && !request.stderr {
        return Err(Refusal::bad("Bad parameters: you must choose at least one stream"));
    }
    let engine = call.engine().clone();
    let shown = engine.inspect(id).await?;
    let tty = shown.config.and_then(|config| config.tty).unwrap_or(false);
    let full = shown.id.unwrap_or_else(|| id.to_owned());
    let (writer, receiver) = BodyWriter::new();
    let breaker = writer.breaker();
    tokio::spawn(async move {
        if let Err(error) = engine.logs(&full, request, writer).await {
            tracing::warn!(%error, container = full, "a log broke off");
            let _ = breaker.send(Err(std::io::Error::other(error.to_string()))).await;
        }
    });
    Ok(stream(content_type(tty, call.version), chunks(receiver)))
}

/// Keys that end an attachment, as Docker writes them: `ctrl-p,ctrl-q`.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<String, Refusal> {
    let text = text.unwrap_or_default();
    let known = |key: &str| {
        let named = key
            .strip_prefix("ctrl-")
            .filter(|key| key.len() == 1 && key.bytes().all(|b| b.is_ascii_lowercase() || b"@[\\]^_".contains(&b)));
        key.chars().count() == 1 || named.is_some() || key == "DEL"
    };
    match text.split(',').find(|key| !text.is_empty() && !known(key)) {
        Some(key) => Err(Refusal::bad(format!("Invalid detach keys ({}) provided", clip(text)))
            .hint(format!("{key:?} is no key; write as in ctrl-p,ctrl-q"))),
        None => Ok(text.to_owned()),
    }
}

pub(crate) async fn attach(mut call: Call, id: &str) -> Answer {
    let keys = detach_keys(call.query.text("detachKeys"))?;
    let full = call.engine().waiter(id)?.id().to_owned();
    let tty = call.engine().attach_check(&full).await?;
    let streaming = call.query.flag("stream");
    let wanted = |key: &str| call.query.flag(key);
    let (stdin, stdout, stderr) = (wanted("stdin"), wanted("stdout"), wanted("stderr"));
    let logs = wanted("logs");
    if !streaming {
        return Err(Refusal::not_here(
            "attach without stream is not available in this version: ask for logs",
        ));
    }
    let on = right_to_connection(call.request.extensions_mut())?;
    let arriving = call.daemon.attaching.begin(&full);
    let engine = call.engine().clone();
    let kind = content_type(tty, call.version);

    Ok(hijack(on, kind, move |client: Client| async move {
        let second = client.second();
        let request = AttachRequest {
            connection: client.stream.into(),
            read: client.read,
            stdin,
            stdout,
            stderr,
            logs,
            lossless: true,
            detach_keys: keys,
        };
        if let Err(error) = engine.attach(&full, request).await {
            tracing::warn!(%error, container = full, "attach failed");
            if let Some(mut stream) = second {
                say(&mut stream, tty, &error.to_string());
            }
        }
        drop(arriving);
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn detach_keys_are_dockers() {
        for good in ["", "ctrl-p,ctrl-q", "a", "ctrl-@,b", "DEL", "ctrl-\\"] {
            assert_eq!(detach_keys(Some(good)).unwrap(), good);
        }
        for bad in ["ctrl-", "ctrl-A,x", "shift-a", "a,,b", "ctrl-pq"] {
            assert!(detach_keys(Some(bad)).is_err(), "{bad}");
        }
    }
}
