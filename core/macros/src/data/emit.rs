//! The code that the derive adds.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use super::{Content, Field, Input, Shape};

pub(super) fn all(input: &Input) -> TokenStream {
    let serde = serde(input);
    let copies = copies(input);
    let debug = debug(input);
    let equality = equality(input);
    let data = data(input);
    quote!(#serde #copies #debug #equality #data)
}

impl Shape {
    /// How the shape is written in patterns and constructors of an impl: `Self` or `Self::Variant`.
    fn path(&self, is_enum: bool) -> TokenStream {
        let ident = &self.ident;
        if is_enum { quote!(Self::#ident) } else { quote!(Self) }
    }

    /// A pattern that binds every field under a name that begins with `prefix`, which keeps it apart
    /// from the names of the generated function.
    fn pattern(&self, is_enum: bool, prefix: &str) -> TokenStream {
        let path = self.path(is_enum);
        match &self.content {
            Content::Nothing => path,
            Content::One(_) => {
                let bound = format_ident!("{prefix}0");
                quote!(#path(#bound))
            }
            Content::Fields(fields) => {
                let idents = fields.iter().map(|field| &field.ident);
                let bound = fields.iter().map(|field| field.bound(prefix));
                quote!(#path { #(#idents: #bound),* })
            }
        }
    }

    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

impl Field {
    fn bound(&self, prefix: &str) -> Ident {
        format_ident!("{prefix}_{}", self.ident.unraw())
    }

    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

/// `Serialize` and `Deserialize`, through a mirror that carries serde's own attributes, so that the
/// type itself has none that a reader must understand.
fn serde(input: &Input) -> TokenStream {
    let ident = &input.ident;
    let name = ident.unraw().to_string();
    let shapes = input.shapes.iter().map(|shape| mirror(shape, input.is_enum));
    let mirror = if input.is_enum {
        quote!(enum __Mirror { #(#shapes,)* })
    } else {
        quote!(struct __Mirror #(#shapes)*)
    };
    quote! {
        const _: () = {
            #[derive(::longshore_core::schema::serde::Serialize, ::longshore_core::schema::serde::Deserialize)]
            #[serde(crate = "::longshore_core::schema::serde", remote = #name, rename = #name)]
            #[allow(dead_code, reason = "the mirror is never built")]
            #mirror

            #[automatically_derived]
            impl ::longshore_core::schema::serde::Serialize for #ident {
                fn serialize<S: ::longshore_core::schema::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    __Mirror::serialize(self, serializer)
                }
            }

            #[automatically_derived]
            impl<'de> ::longshore_core::schema::serde::Deserialize<'de> for #ident {
                fn deserialize<D: ::longshore_core::schema::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    __Mirror::deserialize(deserializer)
                }
            }
        };
    }
}

fn mirror(shape: &Shape, is_enum: bool) -> TokenStream {
    let ident = is_enum.then_some(&shape.ident);
    let other = shape.other.then(|| quote!(#[serde(other)]));
    let content = match &shape.content {
        Content::Nothing => TokenStream::new(),
        Content::One(ty) => quote!((#ty)),
        Content::Fields(fields) => {
            let fields = fields.iter().map(|field| {
                let (ident, ty) = (&field.ident, &field.ty);
                let default = field
                    .default
                    .then(|| quote!(#[serde(default, skip_serializing_if = "::longshore_core::schema::is_default")]));
                quote!(#default #ident: #ty)
            });
            quote!({ #(#fields),* })
        }
    };
    quote!(#other #ident #content)
}

/// `Clone`, and `Copy` for words.
fn copies(input: &Input) -> TokenStream {
    let ident = &input.ident;
    let (body, copy) = if input.is_words() {
        let copy = quote!(#[automatically_derived] impl ::core::marker::Copy for #ident {});
        (quote!(*self), Some(copy))
    } else {
        let arms = input.shapes.iter().map(|shape| {
            let pattern = shape.pattern(input.is_enum, "of");
            let path = shape.path(input.is_enum);
            let clone = quote!(::core::clone::Clone::clone);
            let built = match &shape.content {
                Content::Nothing => path,
                Content::One(_) => quote!(#path(#clone(of0))),
                Content::Fields(fields) => {
                    let idents = fields.iter().map(|field| &field.ident);
                    let bound = fields.iter().map(|field| field.bound("of"));
                    quote!(#path { #(#idents: #clone(#bound)),* })
                }
            };
            quote!(#pattern => #built)
        });
        (quote!(match self { #(#arms,)* }), None)
    };
    quote! {
        #[automatically_derived]
        impl ::core::clone::Clone for #ident {
            fn clone(&self) -> Self { #body }
        }
        #copy
    }
}

fn debug(input: &Input) -> TokenStream {
    let ident = &input.ident;
    let arms = input.shapes.iter().map(|shape| {
        let pattern = shape.pattern(input.is_enum, "of");
        let name = shape.name();
        let written = match &shape.content {
            Content::Nothing => quote!(formatter.write_str(#name)),
            Content::One(_) => quote!(formatter.debug_tuple(#name).field(of0).finish()),
            Content::Fields(fields) => {
                let names = fields.iter().map(Field::name);
                let bound = fields.iter().map(|field| field.bound("of"));
                quote!(formatter.debug_struct(#name)#(.field(#names, #bound))*.finish())
            }
        };
        quote!(#pattern => #written)
    });
    quote! {
        #[automatically_derived]
        impl ::core::fmt::Debug for #ident {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self { #(#arms,)* }
            }
        }
    }
}

/// `PartialEq`, and `Eq` for words.
fn equality(input: &Input) -> TokenStream {
    let ident = &input.ident;
    let (body, eq) = if input.is_words() {
        let eq = quote!(#[automatically_derived] impl ::core::cmp::Eq for #ident {});
        (
            quote!(::core::mem::discriminant(self) == ::core::mem::discriminant(other)),
            Some(eq),
        )
    } else {
        let arms = input.shapes.iter().map(|shape| {
            let (left, right) = (
                shape.pattern(input.is_enum, "left"),
                shape.pattern(input.is_enum, "right"),
            );
            let equal = match &shape.content {
                Content::Nothing => quote!(true),
                Content::One(_) => quote!(left0 == right0),
                Content::Fields(fields) if fields.is_empty() => quote!(true),
                Content::Fields(fields) => {
                    let lefts = fields.iter().map(|field| field.bound("left"));
                    let rights = fields.iter().map(|field| field.bound("right"));
                    quote!(#(#lefts == #rights)&&*)
                }
            };
            quote!((#left, #right) => #equal)
        });
        let differ = (input.shapes.len() > 1).then(|| quote!(_ => false,));
        (quote!(match (self, other) { #(#arms,)* #differ }), None)
    };
    quote! {
        #[automatically_derived]
        impl ::core::cmp::PartialEq for #ident {
            fn eq(&self, other: &Self) -> bool { #body }
        }
        #eq
    }
}

fn data(input: &Input) -> TokenStream {
    let ident = &input.ident;
    let name = ident.unraw().to_string();
    let since = input.shapes.iter().map(|shape| since(shape, input.is_enum));
    let form = if input.is_enum {
        let variants = input.shapes.iter().map(variant_shape);
        quote!(::longshore_core::schema::Form::Enum {
            variants: ::std::vec![#(#variants),*]
        })
    } else {
        let fields = input.shapes.iter().map(|shape| content_shape(&shape.content));
        quote!(::longshore_core::schema::Form::Struct #({ fields: #fields })*)
    };
    quote! {
        #[automatically_derived]
        impl ::longshore_core::schema::Data for #ident {
            fn since(&self) -> ::longshore_core::schema::Since {
                match self { #(#since,)* }
            }

            fn shape(
                schema: &mut ::longshore_core::schema::Schema,
            ) -> ::longshore_core::schema::TypeName {
                schema.define(
                    #name,
                    ::core::concat!(::core::module_path!(), "::", #name),
                    |schema| {
                        let _ = &schema;
                        #form
                    },
                )
            }
        }
    }
}

/// One arm of `since`: the highest version that something in the value needs.
fn since(shape: &Shape, is_enum: bool) -> TokenStream {
    let pattern = shape.pattern(is_enum, "of");
    let since = quote!(::longshore_core::schema::Since);
    let parts = match &shape.content {
        Content::Nothing => Vec::new(),
        Content::One(_) => vec![quote!(::longshore_core::schema::Data::since(of0))],
        Content::Fields(fields) => fields.iter().map(field_since).collect(),
    };
    let inner = quote!(#since::NONE #(.or(#parts))*);
    let found = if is_enum {
        let (name, version) = (shape.name(), shape.since);
        let own = (version > 0).then(|| quote!(#since::at(#version, #name).or));
        quote!(#own(#inner.within(#name)))
    } else {
        inner
    };
    quote!(#pattern => { #found })
}

fn field_since(field: &Field) -> TokenStream {
    let (name, bound, version) = (field.name(), field.bound("of"), field.since);
    if field.advisory {
        quote!({ let _ = #bound; ::longshore_core::schema::Since::NONE })
    } else if version > 0 {
        quote!(::longshore_core::schema::Since::of_new(#bound, #name, #version))
    } else {
        quote!(::longshore_core::schema::Data::since(#bound).within(#name))
    }
}

fn variant_shape(shape: &Shape) -> TokenStream {
    let (name, since, other) = (shape.name(), shape.since, shape.other);
    let (one, fields) = match &shape.content {
        Content::Nothing => (quote!(::core::option::Option::None), quote!(::std::vec![])),
        Content::One(ty) => (
            quote!(::core::option::Option::Some(<#ty as ::longshore_core::schema::Data>::shape(schema))),
            quote!(::std::vec![]),
        ),
        fields @ Content::Fields(_) => (quote!(::core::option::Option::None), content_shape(fields)),
    };
    quote! {
        ::longshore_core::schema::Variant {
            name: #name,
            since: #since,
            other: #other,
            holds: #one,
            fields: #fields,
        }
    }
}

fn content_shape(content: &Content) -> TokenStream {
    let Content::Fields(fields) = content else {
        return quote!(::std::vec![]);
    };
    let fields = fields.iter().map(|field| {
        let (name, ty) = (field.name(), &field.ty);
        let (since, default, advisory) = (field.since, field.default, field.advisory);
        quote! {
            ::longshore_core::schema::Field {
                name: #name,
                ty: <#ty as ::longshore_core::schema::Data>::shape(schema),
                since: #since,
                default: #default,
                advisory: #advisory,
            }
        }
    });
    quote!(::std::vec![#(#fields),*])
}
