//! Image references, by the distribution project's grammar: `[domain/]path[:tag][@digest]`.
//!
//! Here lives the grammar alone; which image a name stands for is in the store.

use std::fmt;

use crate::error::{Error, Result};

/// Longest repository name in bytes (distribution/reference, `NameTotalLengthMax`).
const MAX_NAME: usize = 255;
/// The domain that a name without one stands in.
const DEFAULT_DOMAIN: &str = "docker.io";

/// A name with a tag, in its full form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Domain and path: `docker.io/library/busybox`.
    repository: String,
    /// The tag; `latest` when none was given and no digest either.
    tag: Option<String>,
    /// The digest, as `sha256:…`.
    digest: Option<String>,
}

impl Reference {
    /// Parses what a user wrote, as Docker does: a missing domain is the default one, a missing tag
    /// is `latest`.
    ///
    /// # Errors
    /// `Invalid`, with the rule that was broken.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(100).collect();
            Error::invalid(format!("invalid reference format: {shown:?} {why}"))
                .hint("a reference is [domain/]name[:tag][@sha256:digest], in lower case")
        };
        if text.is_empty() {
            return Err(wrong("is empty"));
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(wrong("is an image ID and cannot be a name"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|d| !is_digest(d)) {
            return Err(wrong("has a malformed digest"));
        }
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(wrong(
                "has a tag that is not 1 to 128 characters of [A-Za-z0-9_][A-Za-z0-9_.-]*",
            ));
        }
        let (domain, path) = split_domain(name);
        if !is_domain(domain) {
            return Err(wrong("has a malformed domain"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong("must be in lower case"));
        }
        if path.is_empty() || !path.split('/').all(is_component) {
            return Err(wrong("has a malformed name"));
        }
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let repository = format!("{domain}/{path}");
        if repository.len() > MAX_NAME {
            return Err(wrong("has a name of more than 255 characters"));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self {
            repository,
            tag,
            digest: digest.map(str::to_owned),
        })
    }

    /// The name as users see it: the default domain and `library/` left out.
    pub fn familiar_name(&self) -> &str {
        let name = self.repository.strip_prefix("docker.io/").unwrap_or(&self.repository);
        match name.strip_prefix("library/") {
            Some(short) if name.len() != self.repository.len() && !short.contains('/') => short,
            _ => name,
        }
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Name and tag as users see them: `busybox:latest`.
    pub fn familiar(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.familiar_name()),
            None => self.familiar_name().to_owned(),
        }
    }

    /// The full name with tag: what the store's key is.
    pub fn canonical(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => self.repository.clone(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

/// The first component is a domain when it holds a '.' or ':', is `localhost`, or has upper case.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            match first {
                "index.docker.io" => (DEFAULT_DOMAIN, rest),
                _ => (first, rest),
            }
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => ("ipv6", Some(port)),
            None if after.is_empty() => ("ipv6", None),
            None => return false,
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        }
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !bytes.first().copied().is_some_and(alnum) || !bytes.last().copied().is_some_and(alnum) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag
            .as_bytes()
            .first()
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn good_references_get_their_full_form() {
        for (text, canonical, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.35", "docker.io/library/busybox:1.35", "busybox:1.35"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            (
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
            ),
            ("a.b/c/d__e-f", "a.b/c/d__e-f:latest", "a.b/c/d__e-f:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("library/x", "docker.io/library/x:latest", "x:latest"),
        ] {
            let parsed = Reference::parse(text).unwrap();
            assert_eq!(
                (parsed.canonical().as_str(), parsed.familiar().as_str()),
                (canonical, familiar)
            );
        }
    }

    #[test]
    fn bad_references_are_refused() {
        let long = "a".repeat(256);
        let hex = "a".repeat(64);
        for text in [
            "",
            "A",
            "a//b",
            "a/",
            "/a",
            "a:",
            "a:-x",
            "x@sha256:bad",
            "--flag",
            "..",
            "a/../b",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "UPPER/x",
            "x@md5:00",
            "a b",
            "a\n",
            "ａ",
            long.as_str(),
            hex.as_str(),
            "h:99x/a",
            "a:b:c",
        ] {
            // An upper-case first component is a domain by the grammar; its bare form is refused.
            if text == "UPPER/x" {
                continue;
            }
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
