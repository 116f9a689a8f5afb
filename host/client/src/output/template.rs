//! Templates of `--format`: the part of Go's notation that lists and objects need.
//!
//! `{{.Field}}`, `{{.A.B}}`, `{{json .A}}`, `upper`, `lower`, `len`, `join`, `index`, `truncate`, and pipes
//! between them. A field that is not there is an error that names it, not an empty place.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// Why a template cannot be read or filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("{{{{{0} is not closed by }}}}")]
    Open(String),
    #[error("an action {{{{}}}} is empty")]
    Empty,
    #[error("{0:?} is not a function of templates")]
    Function(String),
    #[error("{0:?} cannot be read")]
    Word(String),
    #[error("there is no field {field}{known}")]
    Field { field: String, known: String },
    #[error("{function} cannot be used on {on}")]
    Operand { function: &'static str, on: String },
}

/// A template, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Action(Vec<Call>),
}

/// One stage of a pipe: a function with operands, or one operand alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    function: Option<Function>,
    operands: Vec<Operand>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Json,
    Upper,
    Lower,
    Len,
    Join,
    Index,
    Truncate,
    Println,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    /// Names of fields, outermost first; none is the object itself.
    Field(Vec<String>),
    Text(String),
    Number(i64),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Template, Wrong> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let mut before = &rest[..start];
            let mut inside = &rest[start + 2..];
            if let Some(trimmed) = inside.strip_prefix("- ") {
                before = before.trim_end();
                inside = trimmed;
            }
            let end = inside.find("}}").ok_or_else(|| Wrong::Open(inside.to_owned()))?;
            rest = &inside[end + 2..];
            let mut action = &inside[..end];
            if let Some(trimmed) = action.strip_suffix(" -") {
                action = trimmed;
                rest = rest.trim_start();
            }
            push_text(&mut parts, before);
            parts.push(Part::Action(pipe(action)?));
        }
        push_text(&mut parts, rest);
        Ok(Template { parts })
    }

    /// Fills the template in from an object.
    pub(crate) fn render(&self, object: &Value) -> Result<String, Wrong> {
        self.fill(object, false)
    }

    /// Fills the template in with headings: functions leave them as they are.
    pub(crate) fn render_headings(&self, headings: &Value) -> Result<String, Wrong> {
        self.fill(headings, true)
    }

    fn fill(&self, object: &Value, headings: bool) -> Result<String, Wrong> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Action(calls) => {
                    let mut piped: Option<Value> = None;
                    for call in calls {
                        piped = Some(run(call, object, piped, headings)?);
                    }
                    out.push_str(&shown(&piped.unwrap_or(Value::Null)));
                }
            }
        }
        Ok(out)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        // Docker lets these two be written out in a template.
        parts.push(Part::Text(text.replace("\\t", "\t").replace("\\n", "\n")));
    }
}

fn pipe(action: &str) -> Result<Vec<Call>, Wrong> {
    let mut calls = Vec::new();
    let mut words = Vec::new();
    for word in words_of(action)? {
        if word == "|" {
            calls.push(call(std::mem::take(&mut words))?);
        } else {
            words.push(word);
        }
    }
    calls.push(call(words)?);
    Ok(calls)
}

fn call(words: Vec<String>) -> Result<Call, Wrong> {
    let mut words = words.into_iter().peekable();
    let function = match words.peek() {
        None => return Err(Wrong::Empty),
        Some(word) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => Some(function(word)?),
        Some(_) => None,
    };
    if function.is_some() {
        words.next();
    }
    let operands: Vec<Operand> = words.map(|word| operand(&word)).collect::<Result<_, _>>()?;
    if function.is_none() && operands.len() != 1 {
        let extra = operands.len().to_string();
        return Err(Wrong::Word(format!("{extra} values beside each other")));
    }
    Ok(Call { function, operands })
}

fn function(name: &str) -> Result<Function, Wrong> {
    Ok(match name {
        "json" => Function::Json,
        "upper" => Function::Upper,
        "lower" => Function::Lower,
        "len" => Function::Len,
        "join" => Function::Join,
        "index" => Function::Index,
        "truncate" => Function::Truncate,
        "println" | "print" => Function::Println,
        _ => return Err(Wrong::Function(name.to_owned())),
    })
}

fn operand(word: &str) -> Result<Operand, Wrong> {
    let wrong = || Wrong::Word(word.to_owned());
    if let Some(path) = word.strip_prefix('.') {
        if path.is_empty() {
            return Ok(Operand::Field(Vec::new()));
        }
        let names: Vec<String> = path.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return Err(wrong());
        }
        return Ok(Operand::Field(names));
    }
    if let Some(text) = word.strip_prefix('"') {
        return serde_json::from_str(word)
            .map(Operand::Text)
            .map_err(|_| Wrong::Word(text.to_owned()));
    }
    if let Some(text) = word.strip_prefix('`') {
        return Ok(Operand::Text(text.trim_end_matches('`').to_owned()));
    }
    word.parse().map(Operand::Number).map_err(|_| wrong())
}

/// Words between blanks; text in quotes is one word, and a bar is a word of its own.
fn words_of(action: &str) -> Result<Vec<String>, Wrong> {
    let mut words = Vec::new();
    let mut characters = action.chars().peekable();
    while let Some(&first) = characters.peek() {
        match first {
            blank if blank.is_whitespace() => {
                characters.next();
            }
            '|' => {
                characters.next();
                words.push("|".to_owned());
            }
            '"' | '`' => words.push(quoted(&mut characters, action)?),
            _ => {
                let mut word = String::new();
                while let Some(next) = characters.next_if(|c| !c.is_whitespace() && *c != '|') {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    Ok(words)
}

fn quoted(characters: &mut Peekable<Chars<'_>>, action: &str) -> Result<String, Wrong> {
    let mut word = String::new();
    let quote = characters.next().unwrap_or('"');
    word.push(quote);
    let mut escaped = false;
    for next in characters.by_ref() {
        word.push(next);
        if next == quote && !escaped {
            return Ok(word);
        }
        escaped = quote == '"' && next == '\\' && !escaped;
    }
    Err(Wrong::Open(action.to_owned()))
}

fn run(call: &Call, object: &Value, piped: Option<Value>, headings: bool) -> Result<Value, Wrong> {
    let mut values = Vec::new();
    for operand in &call.operands {
        values.push(match operand {
            Operand::Field(names) => field(object, names)?,
            Operand::Text(text) => Value::String(text.clone()),
            Operand::Number(number) => Value::from(*number),
        });
    }
    values.extend(piped);
    let Some(function) = call.function else {
        return Ok(values.pop().unwrap_or(Value::Null));
    };
    if headings {
        let heading = values.iter().find(|value| value.is_string());
        return Ok(heading.cloned().unwrap_or(Value::Null));
    }
    apply(function, &values)
}

fn apply(function: Function, values: &[Value]) -> Result<Value, Wrong> {
    let wrong = |function, value: Option<&Value>| Wrong::Operand {
        function,
        on: value.map_or("nothing".to_owned(), Value::to_string),
    };
    let text = |name, value: Option<&Value>| {
        value
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| wrong(name, value))
    };
    let last = values.last();
    Ok(match function {
        Function::Json => Value::String(last.unwrap_or(&Value::Null).to_string()),
        Function::Upper => Value::String(text("upper", last)?.to_uppercase()),
        Function::Lower => Value::String(text("lower", last)?.to_lowercase()),
        Function::Println => {
            let words: Vec<String> = values.iter().map(shown).collect();
            Value::String(format!("{}\n", words.join(" ")))
        }
        Function::Len => Value::from(match last {
            Some(Value::String(text)) => text.len(),
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(fields)) => fields.len(),
            Some(Value::Null) => 0,
            other => return Err(wrong("len", other)),
        }),
        Function::Join => {
            let (items, glue) = match values {
                [Value::Array(items), Value::String(glue)] => (items, glue),
                _ => return Err(wrong("join", values.first())),
            };
            let words: Vec<String> = items.iter().map(shown).collect();
            Value::String(words.join(glue))
        }
        Function::Index => match values {
            [Value::Object(fields), Value::String(key)] => {
                fields.get(key).cloned().unwrap_or(Value::String(String::new()))
            }
            [Value::Array(items), Value::Number(at)] => at
                .as_u64()
                .and_then(|at| items.get(usize::try_from(at).ok()?))
                .cloned()
                .ok_or_else(|| wrong("index", values.get(1)))?,
            _ => return Err(wrong("index", values.first())),
        },
        Function::Truncate => match values {
            [Value::String(text), Value::Number(width)] => {
                let width = width.as_u64().and_then(|width| usize::try_from(width).ok());
                Value::String(text.chars().take(width.unwrap_or(0)).collect())
            }
            _ => return Err(wrong("truncate", values.first())),
        },
    })
}

/// Maps whose keys are the user's: asking for one that is not there is no mistake.
const FREE_KEYS: [&str; 5] = ["Labels", "Options", "Annotations", "Sysctls", "DriverOpts"];

fn field(object: &Value, names: &[String]) -> Result<Value, Wrong> {
    let mut value = object;
    for (depth, name) in names.iter().enumerate() {
        let next = value.as_object().and_then(|fields| fields.get(name));
        match next {
            Some(next) => value = next,
            None if depth > 0 && FREE_KEYS.contains(&names[depth - 1].as_str()) => {
                return Ok(Value::Null);
            }
            None => {
                return Err(Wrong::Field {
                    field: format!(".{}", names[..=depth].join(".")),
                    known: known(value),
                });
            }
        }
    }
    Ok(value.clone())
}

/// The fields that there are, where these are few enough to be read.
fn known(value: &Value) -> String {
    match value {
        Value::Object(fields) if !fields.is_empty() && fields.len() <= 40 => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            format!("; there is {}", names.join(", "))
        }
        _ => String::new(),
    }
}

/// A value as Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let words: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", words.join(" "))
        }
        Value::Object(fields) => {
            let words: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", shown(value)))
                .collect();
            format!("map[{}]", words.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;
    use serde_json::json;

    fn fill(template: &str) -> Result<String, Wrong> {
        let object = json!({
            "ID": "abc", "Names": "one", "State": {"ExitCode": 3, "Running": false},
            "Args": ["a", "b"], "Nothing": null, "Config": {"Labels": {"k": "v"}},
        });
        Template::parse(template)?.render(&object)
    }

    #[test]
    fn fields_and_functions_are_filled_in() {
        for (template, wanted) in [
            ("{{.ID}}", "abc"),
            ("x {{ .ID }}:{{.State.ExitCode}} y", "x abc:3 y"),
            ("{{.State.Running}}", "false"),
            ("{{json .Args}}", r#"["a","b"]"#),
            ("{{.Args | json}}", r#"["a","b"]"#),
            ("{{json .ID}}", r#""abc""#),
            ("{{.Args}}", "[a b]"),
            ("{{.Config.Labels}}", "map[k:v]"),
            ("{{.Config.Labels.k}}{{.Config.Labels.x}}", "v<no value>"),
            ("{{index .Config.Labels \"k\"}}", "v"),
            ("{{index .Args 1}}", "b"),
            ("{{join .Args \", \"}}", "a, b"),
            ("{{upper .ID}}{{.ID | upper | lower}}", "ABCabc"),
            ("{{len .Args}}", "2"),
            ("{{truncate .ID 2}}", "ab"),
            ("{{.Nothing}}", "<no value>"),
            ("a\\tb\\n", "a\tb\n"),
            ("a {{- .ID -}} b", "aabcb"),
            ("no action", "no action"),
        ] {
            assert_eq!(fill(template).as_deref(), Ok(wanted), "{template}");
        }
    }

    #[test]
    fn an_unknown_field_is_named() {
        let wrong = fill("{{.State.Code}}").unwrap_err().to_string();
        assert!(wrong.contains(".State.Code"), "{wrong}");
        assert!(wrong.contains("ExitCode"), "{wrong}");
        assert!(fill("{{.Id}}").unwrap_err().to_string().contains(".Id"));
        assert!(fill("{{.ID.X}}").is_err());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for template in [
            "{{",
            "{{.ID",
            "{{}}",
            "{{ }}",
            "{{nosuch .ID}}",
            "{{.ID .ID}}",
            "{{.a..b}}",
            "{{|}}",
            "{{.ID | }}",
            "{{\"x}}",
            "{{1x}}",
            "{{upper .Args}}",
            "{{join .ID \",\"}}",
        ] {
            assert!(fill(template).is_err(), "{template}");
        }
    }

    #[test]
    fn headings_pass_through_functions() {
        let template = Template::parse("{{json .ID}}\t{{upper .Names}}").unwrap();
        let headings = json!({"ID": "CONTAINER ID", "Names": "Names"});
        assert_eq!(template.render_headings(&headings).unwrap(), "CONTAINER ID\tNames");
    }
}
