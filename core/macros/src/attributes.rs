//! Attributes that both macros read.

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Ident, LitInt, Result, Token};

/// `#[since(n)]` or `#[since(n, advisory)]`. Absent stands for version 0.
#[derive(Clone, Copy, Default)]
pub(crate) struct Since {
    pub(crate) version: u16,
    pub(crate) advisory: bool,
}

impl Parse for Since {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let number: LitInt = input.parse()?;
        let version = number.base10_parse()?;
        if version == 0 {
            return Err(syn::Error::new(
                number.span(),
                "`since` counts from 1: what version 0 has, has no `since`",
            ));
        }
        let mut advisory = false;
        if input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let word: Ident = input.parse()?;
            if word != "advisory" {
                return Err(syn::Error::new(
                    word.span(),
                    "after the version only `advisory` may stand",
                ));
            }
            advisory = true;
        }
        Ok(Self { version, advisory })
    }
}

impl Since {
    /// The one `#[since]` among these attributes.
    pub(crate) fn among(attributes: &[Attribute]) -> Result<Self> {
        let mut found = attributes.iter().filter(|attribute| attribute.path().is_ident("since"));
        let Some(first) = found.next() else {
            return Ok(Self::default());
        };
        if let Some(second) = found.next() {
            return Err(syn::Error::new_spanned(second, "`since` stands once"));
        }
        first.parse_args()
    }
}

/// Whether there is a doc comment.
pub(crate) fn is_documented(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc"))
}
