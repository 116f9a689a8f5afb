//! The two macros of the driver contracts.
//!
//! [`Data`](macro@Data) turns plain structs and enums into messages; [`macro@driver`] turns a trait
//! into a kind of driver: its method table, its client, its dispatch, its schema. Both refuse, in
//! words of their own, whatever would not survive the wire or the next version of an interface.
//!
//! Here live parsing, refusals and generated code. What that code calls lives in `longshore-core`.
#![forbid(unsafe_code)]

mod attributes;
mod data;
mod driver;

use proc_macro::TokenStream;

/// Makes a struct with named fields, or an enum, a message: `Serialize`, `Deserialize`, `Clone`,
/// `Debug`, `PartialEq` and `longshore_core::schema::Data`. An enum without data is `Copy` and `Eq`
/// besides.
///
/// | attribute | where | meaning |
/// |---|---|---|
/// | `#[since(n)]` | field, variant | came with interface version n; the field needs `Default` |
/// | `#[since(n, advisory)]` | field | as above, and an older peer may ignore it |
/// | `#[data(default)]` | field | left out when it is its default; fields that are `Option` or `Vec` are so by themselves |
/// | `#[data(other)]` | the variant `Unknown` of an enum without data | stands for every variant of a newer peer |
#[proc_macro_derive(Data, attributes(data, since, serde))]
pub fn derive_data(input: TokenStream) -> TokenStream {
    data::expand(input.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a trait a kind of driver: `#[driver(kind = "graph", version = 0)]`.
///
/// Every method is documented, takes `&self, cx: &Context, request: T`, returns `Result<U>`, and
/// carries `#[call(class = "quick|normal|long", lock = "any|object|alone")]` with, as they apply,
/// the words `changes`, `capability = "name"` and `default`. A method that came later carries
/// `#[since(n)]`.
///
/// Beside the trait, the module gets `KIND`, `VERSION`, `METHODS`, `Client<C>`, `schema()`, the
/// marker of the kind (`GraphKind`), and the trait for `Arc<T>`.
#[proc_macro_attribute]
pub fn driver(arguments: TokenStream, item: TokenStream) -> TokenStream {
    driver::expand(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
