//! JSON text, laid out again without reading it into values: order and numbers stay as they were sent.

/// The same JSON, indented by four blanks, as `inspect` prints it. The text must be JSON.
pub(crate) fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if quoted {
            out.push(character);
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                quoted = true;
                out.push('"');
            }
            '{' | '[' => {
                out.push(character);
                while characters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_keeps_its_order() {
        let text = r#"{"b":1,"a":[ ],"s":"x,\"{:","o":{"n":[1,2]},"e":{}}"#;
        let wanted = "{\n    \"b\": 1,\n    \"a\": [],\n    \"s\": \"x,\\\"{:\",\n    \"o\": {\n        \"n\": [\n            1,\n            2\n        ]\n    },\n    \"e\": {}\n}";
        assert_eq!(indent(text), wanted);
    }

    #[test]
    fn a_string_may_end_in_a_backslash() {
        assert_eq!(indent(r#"["a\\","b"]"#), "[\n    \"a\\\\\",\n    \"b\"\n]");
    }
}
