//! `logs`: what a container printed, and what it prints.

use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;
use tokio_util::io::StreamReader;

use crate::cli::Global;
use crate::cli::container::LogsArgs;
use crate::connect;
use crate::engine::{part, query};
use crate::error::{Failure, Result};
use crate::parse::time;
use crate::streams::copy_output;

pub(crate) async fn logs(global: &Global, args: &LogsArgs) -> Result<u8> {
    if args.tail != "all" && args.tail.parse::<i64>().is_err() {
        return Err(
            Failure::usage(format!("--tail {:?} is not a number of lines", args.tail)).hint("write a number, or all"),
        );
    }
    let now = time::now();
    let moment = |flag, text: &Option<String>| time::moment(flag, text.as_deref().unwrap_or_default(), now);
    let (since, until) = (moment("--since", &args.since)?, moment("--until", &args.until)?);
    let engine = connect::open(global).await?;
    let container = format!("/containers/{}", part(&args.name)?);
    let known = engine.get(&format!("{container}/json")).await?;
    let tty = known.pointer("/Config/Tty").and_then(Value::as_bool).unwrap_or(false);
    let on = |wanted: bool| if wanted { "1" } else { "" };
    let path = query(
        &format!("{container}/logs"),
        &[
            ("stdout", "1"),
            ("stderr", "1"),
            ("follow", on(args.follow)),
            ("timestamps", on(args.timestamps)),
            ("tail", &args.tail),
            ("since", &since),
            ("until", &until),
        ],
    );
    let response = engine.send(Method::GET, &path, None).await?;
    let bytes = response.into_body().into_data_stream().map_err(std::io::Error::other);
    copy_output(&mut StreamReader::new(bytes), tty).await?;
    Ok(0)
}
