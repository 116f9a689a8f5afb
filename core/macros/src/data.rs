//! `#[derive(Data)]`.

mod emit;
mod parse;
mod refuse;

use proc_macro2::{Ident, TokenStream};
use syn::{Result, Type};

/// What the derive stands on.
struct Input {
    ident: Ident,
    /// Whether this is an enum. A struct is kept as a single shape.
    is_enum: bool,
    /// The variants, or the struct itself.
    shapes: Vec<Shape>,
}

impl Input {
    /// An enum without data: a word on the wire.
    fn is_words(&self) -> bool {
        self.is_enum
            && self
                .shapes
                .iter()
                .all(|shape| matches!(shape.content, Content::Nothing))
    }
}

/// A struct or a variant.
struct Shape {
    ident: Ident,
    since: u16,
    /// Whether it stands for the variants of a newer peer.
    other: bool,
    content: Content,
}

enum Content {
    Nothing,
    One(Box<Type>),
    Fields(Vec<Field>),
}

struct Field {
    ident: Ident,
    ty: Type,
    since: u16,
    advisory: bool,
    /// Whether it is left out when it is its default.
    default: bool,
}

/// Everything that the derive adds beside a struct or enum.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    Ok(emit::all(&parse::input(syn::parse2(input)?)?))
}
