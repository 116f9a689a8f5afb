//! The words of a request: its path and its query, decoded and checked before anything sees them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::reply::Refusal;

/// Most characters of a path, and of a query.
const LONGEST: usize = 64 * 1024;

/// Decodes `%41`, and `+` where it stands for a space.
fn decode(text: &str, plus: bool) -> Result<String, Refusal> {
    let wrong = || Refusal::bad(format!("{:?} is not percent-encoded text", clip(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    if bytes.contains(&0) {
        return Err(Refusal::bad("a request's words may not hold NUL"));
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The beginning of what may be long.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

/// The parts of a path, decoded. A part that leads elsewhere is refused: no name is made of dots
/// alone.
pub(crate) fn parts(path: &str) -> Result<Vec<String>, Refusal> {
    if path.len() > LONGEST {
        return Err(Refusal::bad(format!("the path has more than {LONGEST} characters")));
    }
    let decoded = decode(path, false)?;
    let parts: Vec<String> = decoded.trim_matches('/').split('/').map(str::to_owned).collect();
    if parts.iter().any(|part| part == "." || part == "..") {
        return Err(Refusal::bad(format!("{:?} is not a path of this API", clip(&decoded))));
    }
    Ok(parts)
}

/// The pairs after the question mark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let text = text.unwrap_or_default();
        if text.len() > LONGEST {
            return Err(Refusal::bad(format!("the query has more than {LONGEST} characters")));
        }
        let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.entry(decode(key, true)?).or_default().push(decode(value, true)?);
        }
        Ok(Self(pairs))
    }

    /// The value of a key; empty is absent.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let first = self.0.get(key)?.first()?;
        (!first.is_empty()).then_some(first.as_str())
    }

    /// Every value of a key.
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Docker's truth: all but nothing, `0`, `no`, `false` and `none`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let value = self.text(key).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Refusal> {
        self.text(key)
            .map(|text| {
                text.parse()
                    .map_err(|_| Refusal::bad(format!("{key}: {:?} is not a whole number", clip(text))))
            })
            .transpose()
    }

    /// Seconds since 1970, with or without a fraction; 0 is absent.
    pub(crate) fn seconds(&self, key: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let whole = text.split_once('.').map_or(text, |(whole, fraction)| {
            if fraction.bytes().all(|b| b.is_ascii_digit()) {
                whole
            } else {
                text
            }
        });
        let seconds: i64 = whole
            .parse()
            .map_err(|_| Refusal::bad(format!("{key}: {:?} is not a time in seconds", clip(text))))?;
        Ok((seconds != 0).then_some(seconds))
    }

    /// The filters, in either of Docker's forms: `{"name":{"web":true}}` or `{"name":["web"]}`.
    pub(crate) fn filters(&self) -> Result<HashMap<String, Vec<String>>, Refusal> {
        let Some(text) = self.text("filters") else {
            return Ok(HashMap::new());
        };
        let wrong = || {
            Refusal::bad(format!("filters: {:?} is not an object of lists", clip(text)))
                .hint("as in filters={\"name\":[\"web\"]}")
        };
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else {
            return Err(wrong());
        };
        let mut filters = HashMap::new();
        for (key, values) in object {
            let list: Vec<String> = match values {
                Value::Array(list) => list
                    .into_iter()
                    .map(|value| match value {
                        Value::String(text) => Ok(text),
                        _ => Err(wrong()),
                    })
                    .collect::<Result<_, _>>()?,
                Value::Object(set) => set
                    .into_iter()
                    .filter(|(_, kept)| kept != &Value::Bool(false))
                    .map(|(value, _)| value)
                    .collect(),
                _ => return Err(wrong()),
            };
            if !list.is_empty() {
                filters.insert(key, list);
            }
        }
        Ok(filters)
    }
}

/// Whether a shell pattern matches: `*` and `?` stop at `/`, `[a-z]` and `[^a]` are classes.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches_from(&pattern, &text)
}

fn matches_from(mut pattern: &[char], mut text: &[char]) -> bool {
    // The last star and where its text began: one level of going back is enough.
    let mut star: Option<(&[char], &[char])> = None;
    loop {
        let step = match (pattern.first(), text.first()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern = pattern.get(1..).unwrap_or_default();
                star = Some((pattern, text));
                continue;
            }
            (Some('?'), Some(c)) => (*c != '/').then_some(1),
            (Some('['), Some(c)) => class(pattern, *c),
            (Some('\\'), Some(c)) => (pattern.get(1) == Some(c)).then_some(2),
            (Some(p), Some(c)) => (p == c).then_some(1),
            (None, Some(_)) | (Some(_), None) => None,
        };
        match (step, star) {
            (Some(length), _) => {
                pattern = pattern.get(length..).unwrap_or_default();
                text = text.get(1..).unwrap_or_default();
            }
            (None, Some((after, from))) => match from.split_first() {
                Some((c, rest)) if *c != '/' => {
                    star = Some((after, rest));
                    pattern = after;
                    text = rest;
                }
                _ => return false,
            },
            (None, None) => return false,
        }
    }
}

/// How many characters the class at the pattern's head has, if it takes `c`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|p| *p == ']')? + 2;
    let inner = pattern.get(1..end)?;
    let (negated, inner) = match inner.first() {
        Some('^' | '!') => (true, inner.get(1..)?),
        _ => (false, inner),
    };
    let mut found = false;
    let mut at = 0;
    while let Some(low) = inner.get(at) {
        match (inner.get(at + 1), inner.get(at + 2)) {
            (Some('-'), Some(high)) => {
                found |= (*low..=*high).contains(&c);
                at += 3;
            }
            _ => {
                found |= *low == c;
                at += 1;
            }
        }
    }
    (found != negated && c != '/').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_path_is_decoded_and_may_not_lead_elsewhere() {
        assert_eq!(parts("/images/a%2Fb:1/json").unwrap(), ["images", "a", "b:1", "json"]);
        assert_eq!(parts("/containers/json/").unwrap(), ["containers", "json"]);
        for bad in [
            "/containers/../x",
            "/containers/%2e%2e/json",
            "/a%00b",
            "/a%zz",
            "/a%4",
            "/%ff",
        ] {
            assert_eq!(parts(bad).unwrap_err().status.as_u16(), 400, "{bad}");
        }
        assert!(parts(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn a_query_is_read_strictly() {
        let query = Query::parse(Some("all=1&t=-5&name=a+b&names=x&names=y%2Fz&force=False&e=")).unwrap();
        assert!(query.flag("all") && !query.flag("force") && !query.flag("e") && !query.flag("absent"));
        assert_eq!(query.number("t").unwrap(), Some(-5));
        assert_eq!(query.text("name"), Some("a b"));
        assert_eq!(query.all("names"), ["x", "y/z"]);
        assert_eq!(query.text("e"), None);
        assert!(query.number("name").unwrap_err().message.starts_with("name:"));
        for bad in ["a=%", "a=%00", "%zz=1", "a=99999999999999999999"] {
            assert!(Query::parse(Some(bad)).and_then(|q| q.number("a")).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_seconds_with_or_without_a_fraction() {
        let query = Query::parse(Some("a=12.000000345&b=0&c=x&d=1.x")).unwrap();
        assert_eq!(query.seconds("a").unwrap(), Some(12));
        assert_eq!(query.seconds("b").unwrap(), None);
        assert!(query.seconds("c").is_err() && query.seconds("d").is_err());
    }

    #[test]
    fn filters_have_two_forms() {
        for text in [r#"{"name":{"web":true}}"#, r#"{"name":["web"]}"#] {
            let query = Query(BTreeMap::from([("filters".into(), vec![text.into()])]));
            assert_eq!(
                query.filters().unwrap(),
                HashMap::from([("name".into(), vec!["web".into()])])
            );
        }
        for bad in ["[]", "{", r#"{"a":1}"#, r#"{"a":[1]}"#] {
            let query = Query(BTreeMap::from([("filters".into(), vec![bad.into()])]));
            assert!(query.filters().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, wanted) in [
            ("demo", "demo", true),
            ("demo", "demo2", false),
            ("de*", "demo", true),
            ("*o", "demo", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("d?mo", "demo", true),
            ("d[a-f]mo", "demo", true),
            ("d[^e]mo", "demo", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("[", "[", false),
        ] {
            assert_eq!(glob(pattern, text), wanted, "{pattern} {text}");
        }
        assert!(!glob(&"*a".repeat(5000), &"a".repeat(4000)));
    }
}
