//! From syntax to what the derive needs, with the refusals on the way.

use syn::{Attribute, Data, DeriveInput, Error, Fields, Result, Type};

use super::{Content, Field, Input, Shape, refuse};
use crate::attributes::Since;

/// The words of `#[data(...)]`.
#[derive(Default)]
struct Words {
    default: bool,
    other: bool,
}

pub(super) fn input(input: DeriveInput) -> Result<Input> {
    refuse::generics(&input.generics)?;
    refuse::serde_attributes(&input.attrs)?;
    if let Some(attribute) = input
        .attrs
        .iter()
        .find(|a| a.path().is_ident("data") || a.path().is_ident("since"))
    {
        return Err(Error::new_spanned(
            attribute,
            "this attribute stands on a field or a variant",
        ));
    }
    match input.data {
        Data::Struct(data) => {
            let content = Content::Fields(struct_fields(&input.ident, data.fields)?);
            let shape = Shape {
                ident: input.ident.clone(),
                since: 0,
                other: false,
                content,
            };
            Ok(Input {
                ident: input.ident,
                is_enum: false,
                shapes: vec![shape],
            })
        }
        Data::Enum(data) => {
            let shapes = data.variants.into_iter().map(variant).collect::<Result<Vec<_>>>()?;
            let parsed = Input {
                ident: input.ident,
                is_enum: true,
                shapes,
            };
            refuse::closed_words(&parsed)?;
            Ok(parsed)
        }
        Data::Union(_) => Err(Error::new_spanned(input.ident, "a union cannot be a message")),
    }
}

fn struct_fields(ident: &syn::Ident, fields: Fields) -> Result<Vec<Field>> {
    match fields {
        Fields::Named(fields) => fields.named.into_iter().map(field).collect(),
        Fields::Unnamed(_) => Err(Error::new_spanned(
            ident,
            "a tuple struct has no field names; a checked newtype is written by hand beside the others in `types`",
        )),
        Fields::Unit => Err(Error::new_spanned(
            ident,
            "a unit struct cannot get fields later; write it with braces, `struct Name {}`",
        )),
    }
}

fn variant(variant: syn::Variant) -> Result<Shape> {
    refuse::serde_attributes(&variant.attrs)?;
    let since = Since::among(&variant.attrs)?;
    if since.advisory {
        return Err(Error::new_spanned(
            &variant.ident,
            "a variant cannot be advisory: an older peer does not decode it",
        ));
    }
    let words = words(&variant.attrs)?;
    if words.default {
        return Err(Error::new_spanned(&variant.ident, "`default` stands on a field"));
    }
    if let Some((_, value)) = &variant.discriminant {
        return Err(Error::new_spanned(
            value,
            "a variant travels by its name: it has no number",
        ));
    }
    let content = match variant.fields {
        Fields::Unit => Content::Nothing,
        Fields::Named(fields) => Content::Fields(fields.named.into_iter().map(field).collect::<Result<_>>()?),
        Fields::Unnamed(fields) => Content::One(Box::new(single(&variant.ident, fields)?)),
    };
    if words.other {
        refuse::misplaced_other(&variant.ident, &content)?;
    }
    Ok(Shape {
        ident: variant.ident,
        since: since.version,
        other: words.other,
        content,
    })
}

fn single(ident: &syn::Ident, fields: syn::FieldsUnnamed) -> Result<Type> {
    let mut fields = fields.unnamed.into_iter();
    match (fields.next(), fields.next()) {
        (Some(only), None) => {
            refuse::serde_attributes(&only.attrs)?;
            refuse::type_of_data(&only.ty)?;
            if let Some(attribute) = only
                .attrs
                .iter()
                .find(|a| a.path().is_ident("data") || a.path().is_ident("since"))
            {
                return Err(Error::new_spanned(attribute, "this attribute stands on the variant"));
            }
            Ok(only.ty)
        }
        _ => Err(Error::new_spanned(
            ident,
            "a variant holds one type or named fields: a tuple has no field names",
        )),
    }
}

fn field(field: syn::Field) -> Result<Field> {
    refuse::serde_attributes(&field.attrs)?;
    refuse::type_of_data(&field.ty)?;
    let since = Since::among(&field.attrs)?;
    let words = words(&field.attrs)?;
    if words.other {
        return Err(Error::new_spanned(&field.ty, "`other` stands on a variant"));
    }
    let default = words.default || since.version > 0 || refuse::is_absent_by_default(&field.ty);
    let Some(ident) = field.ident else {
        return Err(Error::new_spanned(&field.ty, "a field needs a name"));
    };
    Ok(Field {
        ident,
        ty: field.ty,
        since: since.version,
        advisory: since.advisory,
        default,
    })
}

fn words(attributes: &[Attribute]) -> Result<Words> {
    let mut words = Words::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("data")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("default") {
                words.default = true;
            } else if meta.path.is_ident("other") {
                words.other = true;
            } else {
                return Err(meta.error("`data` knows the words `default` and `other`"));
            }
            Ok(())
        })?;
    }
    Ok(words)
}
