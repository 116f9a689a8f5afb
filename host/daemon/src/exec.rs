//! More processes in running containers.

use hyper::StatusCode;
use longshore_engine::{AttachRequest, models};
use serde_json::json;

use crate::containers::{detach_keys, size};
use crate::hijack::{Client, content_type, hijack, right_to_connection, say};
use crate::reply::{Answer, Refusal, empty, json, json_with, start_refusal};
use crate::route::Call;

pub(crate) async fn create(call: Call, container: &str) -> Answer {
    let engine = call.engine().clone();
    let config: models::ExecConfig = call.json().await?;
    detach_keys(config.detach_keys.as_deref())?;
    let id = engine.exec_create(container, config).await?;
    json_with(StatusCode::CREATED, &json!({ "Id": id }))
}

/// Rows and columns, as Docker's bodies have them.
fn console(size: Option<&Vec<usize>>) -> Result<Option<(u16, u16)>, Refusal> {
    let Some(size) = size else {
        return Ok(None);
    };
    let wrong = || Refusal::bad("ConsoleSize: two sides of a terminal are needed, height and width");
    match size.as_slice() {
        [] => Ok(None),
        [rows, columns] => {
            let rows = u16::try_from(*rows).map_err(|_| wrong())?;
            let columns = u16::try_from(*columns).map_err(|_| wrong())?;
            Ok(Some((rows, columns)))
        }
        _ => Err(wrong()),
    }
}

pub(crate) async fn start(call: Call, id: &str) -> Answer {
    let Call {
        daemon,
        version,
        request,
        ..
    } = call;
    let (mut head, body) = request.into_parts();
    let how: models::ExecStartConfig = crate::body::json_or_none(&head.headers, body)
        .await?
        .unwrap_or_default();
    let engine = daemon.engine.clone();
    let session = engine.exec_inspect(id).await?;
    if session.started {
        let words = if session.is_running() {
            "is already running"
        } else {
            "has already run"
        };
        return Err(Refusal::new(StatusCode::CONFLICT, format!("exec {id} {words}")));
    }
    let config = session.config;
    let tty = config.tty.unwrap_or(false);
    let size = console(how.console_size.as_ref().or(config.console_size.as_ref()))?;
    let id = id.to_owned();
    if how.detach.unwrap_or(false) {
        engine.exec_start(&id, tty, None, size).await.map_err(start_refusal)?;
        return Ok(empty(StatusCode::OK));
    }
    let on = right_to_connection(&mut head.extensions)?;
    let wanted = |stream: Option<bool>| stream.unwrap_or(false);
    let (stdin, stdout, stderr) = (
        wanted(config.attach_stdin),
        wanted(config.attach_stdout),
        wanted(config.attach_stderr),
    );
    let keys = config.detach_keys.unwrap_or_default();
    Ok(hijack(
        on,
        content_type(tty, version),
        move |client: Client| async move {
            let second = client.second();
            let request = AttachRequest {
                connection: client.stream.into(),
                read: client.read,
                stdin,
                stdout,
                stderr,
                logs: false,
                lossless: true,
                detach_keys: keys,
            };
            if let Err(error) = engine.exec_start(&id, tty, Some(request), size).await {
                tracing::info!(%error, exec = id, "exec failed");
                // The head is out: the sentence goes where the command's own words would.
                if let Some(mut stream) = second {
                    say(&mut stream, tty, &error.to_string());
                }
            }
        },
    ))
}

pub(crate) async fn resize(call: &Call, id: &str) -> Answer {
    let (rows, columns) = size(call)?;
    call.engine().exec_resize(id, rows, columns).await?;
    Ok(empty(StatusCode::OK))
}

pub(crate) async fn inspect(call: &Call, id: &str) -> Answer {
    let session = call.engine().exec_inspect(id).await?;
    let running = session.is_running();
    let config = session.config;
    let mut command = config.cmd.unwrap_or_default().into_iter();
    json(&models::ExecInspectResponse {
        can_remove: Some(false),
        detach_keys: Some(config.detach_keys.unwrap_or_default()),
        id: Some(session.id),
        running: Some(running),
        exit_code: session.code.map(i64::from),
        process_config: Some(models::ProcessConfig {
            privileged: Some(config.privileged.unwrap_or(false)),
            user: config.user,
            tty: Some(config.tty.unwrap_or(false)),
            entrypoint: command.next(),
            arguments: Some(command.collect()),
        }),
        open_stdin: Some(config.attach_stdin.unwrap_or(false)),
        open_stderr: Some(config.attach_stderr.unwrap_or(false)),
        open_stdout: Some(config.attach_stdout.unwrap_or(false)),
        container_id: Some(session.container),
        pid: Some(i64::from(session.pid)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_console_has_two_sides() {
        assert_eq!(console(None).unwrap(), None);
        assert_eq!(console(Some(&vec![24, 80])).unwrap(), Some((24, 80)));
        assert!(console(Some(&vec![24])).is_err());
        assert!(console(Some(&vec![70_000, 1])).is_err());
    }
}
