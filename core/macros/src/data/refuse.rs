//! What cannot be a message, and why.

use syn::{Attribute, Error, GenericArgument, Generics, Ident, PathArguments, Result, Type, TypePath};

use super::{Content, Input};

pub(super) fn generics(generics: &Generics) -> Result<()> {
    if let Some(lifetime) = generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "a message owns its data: lifetimes cannot cross a boundary",
        ));
    }
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            generics,
            "a message is one concrete type: generics have no place in a schema",
        ));
    }
    Ok(())
}

/// Attributes of serde would change the wire form past the schema (`flatten` above all).
pub(super) fn serde_attributes(attributes: &[Attribute]) -> Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("serde")) {
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            "attributes of serde (`flatten` and others) would change the wire form past the schema",
        )),
        None => Ok(()),
    }
}

/// An enum of words alone must be able to take a newer peer's word.
pub(super) fn closed_words(input: &Input) -> Result<()> {
    if input.shapes.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "an enum without variants has no value to send",
        ));
    }
    let others = input.shapes.iter().filter(|shape| shape.other);
    match (input.is_words(), others.count()) {
        (true, 1) => Ok(()),
        (true, 0) => Err(Error::new_spanned(
            &input.ident,
            "an enum without data needs `#[data(other)] Unknown`: a newer peer may send another word",
        )),
        (true, _) => Err(Error::new_spanned(
            &input.ident,
            "`#[data(other)]` stands on one variant",
        )),
        (false, 0) => Ok(()),
        (false, _) => Err(Error::new_spanned(
            &input.ident,
            "an enum with data cannot have `#[data(other)]`: an unknown variant with a payload cannot be skipped",
        )),
    }
}

pub(super) fn misplaced_other(ident: &Ident, content: &Content) -> Result<()> {
    if ident != "Unknown" {
        return Err(Error::new_spanned(
            ident,
            "the variant for newer words is named `Unknown`",
        ));
    }
    if !matches!(content, Content::Nothing) {
        return Err(Error::new_spanned(ident, "the variant `Unknown` holds nothing"));
    }
    Ok(())
}

/// `Option` and `Vec` are left out of the message when there is nothing in them.
pub(super) fn is_absent_by_default(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if last(path).is_some_and(|ident| ident == "Option" || ident == "Vec"))
}

fn last(path: &TypePath) -> Option<&Ident> {
    path.path.segments.last().map(|segment| &segment.ident)
}

/// Refuses a type that has no form in a message, however deep it stands.
pub(super) fn type_of_data(ty: &Type) -> Result<()> {
    let why = match ty {
        Type::Path(path) => return path_of_data(path),
        Type::Group(group) => return type_of_data(&group.elem),
        Type::Paren(paren) => return type_of_data(&paren.elem),
        Type::Tuple(_) => "a tuple has no field names; write a struct",
        Type::Reference(_) => "a message owns its data: a reference cannot cross a boundary",
        Type::Array(_) | Type::Slice(_) => "an array has no room for skew; use `Bytes` or `Vec<T>`",
        Type::TraitObject(_) | Type::ImplTrait(_) => "a message holds plain data, not objects with behaviour",
        _ => "this type has no form in a message",
    };
    Err(Error::new_spanned(ty, why))
}

fn path_of_data(path: &TypePath) -> Result<()> {
    let Some(segment) = path.path.segments.last() else {
        return Err(Error::new_spanned(path, "this type has no form in a message"));
    };
    let why = match segment.ident.to_string().as_str() {
        "HashMap" | "BTreeMap" | "IndexMap" => "a map has no field names and no order; use a `Vec` of named structs",
        "f32" | "f64" => "a float is not equal to itself on every machine; use a whole number of a smaller unit",
        "usize" | "isize" => "this number's size depends on the machine; use `u64`, `u32` or `i64`",
        _ => "",
    };
    if !why.is_empty() {
        return Err(Error::new_spanned(path, why));
    }
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Ok(());
    };
    arguments
        .args
        .iter()
        .try_for_each(|argument| argument_of_data(path, &segment.ident, argument))
}

/// Judges `argument`, which stands between the brackets of `path`, whose last word is `holder`.
fn argument_of_data(path: &TypePath, holder: &Ident, argument: &GenericArgument) -> Result<()> {
    let why = match argument {
        GenericArgument::Lifetime(_) => "a message owns its data: lifetimes cannot cross a boundary",
        GenericArgument::Type(inner) if holder == "Vec" && is_byte(inner) => {
            "bytes are `Bytes`: `Vec<u8>` travels as a list of numbers"
        }
        GenericArgument::Type(inner) if holder == "Option" && is_option(inner) => {
            "an option of an option loses its middle on the wire; use an enum"
        }
        GenericArgument::Type(inner) => return type_of_data(inner),
        _ => return Ok(()),
    };
    Err(Error::new_spanned(path, why))
}

fn is_option(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if last(path).is_some_and(|ident| ident == "Option"))
}

fn is_byte(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("u8"))
}
