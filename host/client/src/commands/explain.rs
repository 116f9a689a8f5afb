//! `run --explain`: every step that a run would take, and none taken.

use bollard::models::ContainerCreateBody;
use serde_json::Value;

use super::{items, text};
use crate::cli::create::ContainerArgs;
use crate::engine::{Engine, query};
use crate::error::{Failure, Result};
use crate::output::{self, colours, paint};
use crate::run::missing_image;

pub(crate) async fn explain(
    engine: &Engine,
    args: &ContainerArgs,
    request: &ContainerCreateBody,
    as_json: bool,
) -> Result<u8> {
    let request = serde_json::to_value(request)
        .map_err(|error| Failure::usage(format!("the request cannot be written: {error}")))?;
    let path = query(
        "/longshore/explain",
        &[("name", args.name.as_deref().unwrap_or_default())],
    );
    let image = args.words.first().map_or("", String::as_str);
    let plan = engine
        .post(&path, Some(&request))
        .await
        .map_err(|failure| missing_image(failure, image))?;
    match as_json {
        true => output::line(plan.to_string())?,
        false => output::print(&plain(items(&plan, "Steps"), colours()))?,
    }
    Ok(0)
}

/// Steps below the area they belong to, in the order in which they would be taken.
fn plain(steps: &[Value], colour: bool) -> String {
    let mut out = String::new();
    let mut before = String::new();
    for step in steps {
        let area = text(step, "Area");
        if area != before {
            out.push_str(&format!("{}\n", paint(colour, "1", &area)));
            before = area;
        }
        for line in text(step, "Text").lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_stand_below_their_area() {
        let steps = [
            json!({"Area": "tree", "Text": "make a"}),
            json!({"Area": "tree", "Text": "make b"}),
            json!({"Area": "mount", "Text": "overlay\n  lower x"}),
        ];
        assert_eq!(
            plain(&steps, false),
            "tree\n  make a\n  make b\nmount\n  overlay\n    lower x\n"
        );
    }
}
