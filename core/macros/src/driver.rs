//! `#[driver]`.

mod emit;
mod parse;

use proc_macro2::{Ident, TokenStream};
use syn::{ItemTrait, Result, Type};

/// A kind of driver, as its trait describes it.
struct Kind {
    /// `graph`.
    name: String,
    version: u16,
    /// The trait, with the attributes of these macros taken out.
    stripped: ItemTrait,
    methods: Vec<Method>,
}

struct Method {
    ident: Ident,
    class: Word,
    lock: Word,
    changes: bool,
    capability: Option<String>,
    since: u16,
    request: Type,
    reply: Type,
}

/// A variant of `Class` or `Lock`.
#[derive(Clone, Copy)]
struct Word(&'static str);

/// The trait and everything that is generated beside it.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    Ok(emit::all(&parse::kind(arguments, item)?))
}
