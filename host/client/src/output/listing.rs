//! Lists: rows of named fields, printed as a table, by a template, or as JSON.

use serde_json::{Map, Value};

use super::table::align;
use super::template::{Template, Wrong};
use crate::error::{Failure, Result};

/// The columns of a kind of list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// Each field that a template may use, with its heading.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// The fields of the plain table, in order.
    pub(crate) shown: &'static [&'static str],
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    Table,
    Json,
    Template(&'a str),
}

impl<'a> Form<'a> {
    /// `--json` is `--format json`; `--format table` is the plain table.
    pub(crate) fn of(format: Option<&'a str>, json: bool) -> Form<'a> {
        match format {
            Some("json") => Form::Json,
            Some("" | "table") => Form::Table,
            Some(template) => Form::Template(template),
            None if json => Form::Json,
            None => Form::Table,
        }
    }
}

pub(crate) type Row = Map<String, Value>;

/// One row from names and values.
pub(crate) fn row<const N: usize>(fields: [(&str, String); N]) -> Row {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect()
}

impl Columns {
    pub(crate) fn render(self, rows: Vec<Row>, form: Form<'_>) -> Result<String> {
        match form {
            Form::Json => Ok(rows
                .into_iter()
                .map(|row| format!("{}\n", Value::Object(row)))
                .collect()),
            Form::Table => Ok(self.plain(&rows)),
            Form::Template(text) => match text.strip_prefix("table ") {
                Some(text) => self.table(text.trim_start(), &rows),
                None => lines(text, rows.into_iter().map(Value::Object)),
            },
        }
    }

    fn heading(&self, field: &str) -> String {
        self.fields
            .iter()
            .find(|(name, _)| *name == field)
            .map_or_else(|| field.to_uppercase(), |(_, heading)| (*heading).to_owned())
    }

    fn plain(&self, rows: &[Row]) -> String {
        let heading = self.shown.iter().map(|field| self.heading(field)).collect();
        let cells = |row: &Row| {
            self.shown
                .iter()
                .map(|field| match row.get(*field) {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Null) | None => String::new(),
                    Some(other) => other.to_string(),
                })
                .collect()
        };
        let all: Vec<Vec<String>> = std::iter::once(heading).chain(rows.iter().map(cells)).collect();
        align(&all)
    }

    fn table(&self, text: &str, rows: &[Row]) -> Result<String> {
        let template = Template::parse(text).map_err(|wrong| of(text, &wrong))?;
        let headings = self
            .fields
            .iter()
            .map(|(name, heading)| ((*name).to_owned(), Value::from(*heading)))
            .collect();
        let heading = template
            .render_headings(&Value::Object(headings))
            .map_err(|wrong| of(text, &wrong))?;
        let mut all = vec![cells(&heading)];
        for row in rows {
            let filled = template
                .render(&Value::Object(row.clone()))
                .map_err(|wrong| of(text, &wrong))?;
            all.push(cells(&filled));
        }
        Ok(align(&all))
    }
}

fn cells(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}

/// One line for each object, by a template.
pub(crate) fn lines(text: &str, objects: impl Iterator<Item = Value>) -> Result<String> {
    let template = Template::parse(text).map_err(|wrong| of(text, &wrong))?;
    let mut out = String::new();
    for object in objects {
        out.push_str(&template.render(&object).map_err(|wrong| of(text, &wrong))?);
        out.push('\n');
    }
    Ok(out)
}

fn of(text: &str, wrong: &Wrong) -> Failure {
    Failure::usage(format!("--format {text:?}: {wrong}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end here")]
    use super::*;

    const COLUMNS: Columns = Columns {
        fields: &[("ID", "CONTAINER ID"), ("Names", "NAMES"), ("More", "MORE")],
        shown: &["ID", "Names"],
    };

    fn print(form: Form<'_>) -> Result<String> {
        let fields = [("ID", "1"), ("Names", "a"), ("More", "m")];
        COLUMNS.render(vec![row(fields.map(|(k, v)| (k, v.to_owned())))], form)
    }

    #[test]
    fn a_list_is_printed_in_each_form() {
        for (form, wanted) in [
            (Form::Table, "CONTAINER ID   NAMES\n1              a\n"),
            (Form::Json, "{\"ID\":\"1\",\"More\":\"m\",\"Names\":\"a\"}\n"),
            (Form::Template("{{.ID}}-{{.More}}"), "1-m\n"),
            (
                Form::Template("table {{.Names}}\\t{{.ID}}"),
                "NAMES     CONTAINER ID\na         1\n",
            ),
        ] {
            assert_eq!(print(form).unwrap(), wanted);
        }
    }

    #[test]
    fn an_unknown_field_is_an_error_with_and_without_rows() {
        for text in ["{{.Id}}", "table {{.Id}}"] {
            let failure = print(Form::Template(text)).unwrap_err();
            assert!(failure.sentence.contains(".Id"), "{failure}");
        }
        assert!(COLUMNS.render(Vec::new(), Form::Template("table {{.X}}")).is_err());
    }

    #[test]
    fn json_may_be_asked_for_in_two_ways() {
        assert_eq!(Form::of(Some("json"), false), Form::Json);
        assert_eq!(Form::of(None, true), Form::Json);
        assert_eq!(Form::of(Some("{{.ID}}"), true), Form::Template("{{.ID}}"));
        assert_eq!(Form::of(Some("table"), false), Form::Table);
    }
}
