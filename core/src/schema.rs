//! What a message is, which interface version a value needs, and the description of a kind.
//!
//! [`Data`] is derived; a checked newtype gets it by `newtype_data!`. A [`Schema`] is what the lock
//! files in `schema/` hold: a change of the contract shows there or nowhere.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::wire::Method;

#[doc(hidden)]
pub use serde;

/// A message or a part of one: plain data that crosses every boundary.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no form in a message",
    note = "derive `Data`, or write a checked newtype beside those in `types`"
)]
pub trait Data: Serialize + DeserializeOwned + Clone + Debug + PartialEq {
    /// The highest interface version that this very value needs, and what in it needs that.
    fn since(&self) -> Since;

    /// Describes the type, and names it.
    fn shape(schema: &mut Schema) -> TypeName;
}

/// An interface version that a value needs, with the dotted path of what needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The version; 0 for what every version has.
    pub version: u16,
    /// Where in the value; empty for the value itself.
    pub path: String,
}

impl Since {
    /// Needs nothing beyond version 0.
    pub const NONE: Self = Self {
        version: 0,
        path: String::new(),
    };

    /// Needs `version` because of `path`.
    pub fn at(version: u16, path: impl Into<String>) -> Self {
        Self {
            version,
            path: path.into(),
        }
    }

    /// What a field needs that came with `version`: nothing while it is its default, since it is
    /// left out then.
    pub fn of_new<T: Data + Default>(value: &T, name: &str, version: u16) -> Self {
        if is_default(value) {
            Self::NONE
        } else {
            Self::at(version, name).or(value.since().within(name))
        }
    }

    /// The higher of the two; the first when they are equal.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if other.version > self.version { other } else { self }
    }

    /// The same need, seen from what holds the value under `name`.
    #[must_use]
    pub fn within(mut self, name: &str) -> Self {
        if self.version == 0 {
            return self;
        }
        if !self.path.is_empty() {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, name);
        self
    }

    /// Refuses what the other side does not speak.
    ///
    /// # Errors
    /// `Unsupported`, naming the method and the path.
    pub fn check(&self, kind: &str, method: &Method, interface: u16) -> Result<()> {
        let needed = self.version.max(method.since);
        if needed <= interface {
            return Ok(());
        }
        let mut what = method.name.to_owned();
        if self.version > method.since && !self.path.is_empty() {
            what.push('.');
            what.push_str(&self.path);
        }
        Err(Error::unsupported(format!(
            "{what} needs {kind} {needed}, the other side speaks {kind} {interface}"
        )))
    }
}

/// Whether a value is its type's default, so that a message leaves it out.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a type is called in a schema: `LayerId`, `Vec<LayerRef>`, `u16`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TypeName(String);

impl From<&str> for TypeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The description of one kind of driver, as its lock file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// The kind.
    pub kind: &'static str,
    /// The interface version.
    pub version: u16,
    /// The methods, in the order of the trait.
    pub methods: Vec<MethodShape>,
    #[serde(serialize_with = "in_a_list")]
    types: BTreeMap<&'static str, Type>,
    #[serde(skip)]
    clashes: Vec<String>,
}

/// A method in a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MethodShape {
    /// Its name.
    pub name: &'static str,
    /// The version that brought it.
    pub since: u16,
    /// `quick`, `normal` or `long`.
    pub class: &'static str,
    /// `any`, `object` or `alone`.
    pub lock: &'static str,
    /// Whether it changes something.
    pub changes: bool,
    /// The capability that says whether it is real.
    pub capability: Option<&'static str>,
    /// The request.
    pub request: TypeName,
    /// The reply.
    pub reply: TypeName,
}

/// A type in a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Type {
    /// Its name.
    pub name: &'static str,
    /// Where it is defined. Not part of the lock: a type may move.
    #[serde(skip)]
    pub path: &'static str,
    /// What it is.
    #[serde(flatten)]
    pub form: Form,
}

/// What a type is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "form", rename_all = "lowercase")]
pub enum Form {
    /// A struct.
    Struct {
        /// Its named fields, in the order of the source.
        fields: Vec<Field>,
    },
    /// An enum.
    Enum {
        /// Its variants, in the order of the source.
        variants: Vec<Variant>,
    },
    /// A checked value.
    Newtype {
        /// Its rule.
        limits: &'static str,
    },
}

/// A field in a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: TypeName,
    /// The version that brought it.
    pub since: u16,
    /// Whether it is left out when it is its default.
    pub default: bool,
    /// Whether an older peer may ignore it.
    pub advisory: bool,
}

/// A variant in a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// The version that brought it.
    pub since: u16,
    /// Whether it stands for the variants of a newer peer.
    #[serde(skip_serializing_if = "is_default")]
    pub other: bool,
    /// The one type that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<TypeName>,
    /// Its named fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

impl Schema {
    /// A schema without methods.
    pub fn new(kind: &'static str, version: u16) -> Self {
        Self {
            kind,
            version,
            methods: Vec::new(),
            types: BTreeMap::new(),
            clashes: Vec::new(),
        }
    }

    /// Adds a method with its request, its reply and all that they hold.
    pub fn method<Request: Data, Reply: Data>(&mut self, method: &Method) {
        let (request, reply) = (Request::shape(self), Reply::shape(self));
        self.methods.push(MethodShape {
            name: method.name,
            since: method.since,
            class: method.class.as_str(),
            lock: method.lock.as_str(),
            changes: method.changes,
            capability: method.capability,
            request,
            reply,
        });
    }

    /// Adds a type once. `form` is asked only the first time, and may meet the type again.
    pub fn define(&mut self, name: &'static str, path: &'static str, form: impl FnOnce(&mut Self) -> Form) -> TypeName {
        match self.types.get(name) {
            Some(known) if known.path == path => {}
            Some(known) => self.clashes.push(format!("{name} is both {} and {path}", known.path)),
            None => {
                let placeholder = Form::Struct { fields: Vec::new() };
                self.types.insert(
                    name,
                    Type {
                        name,
                        path,
                        form: placeholder,
                    },
                );
                let form = form(self);
                self.types.insert(name, Type { name, path, form });
            }
        }
        TypeName::from(name)
    }

    /// The types, by name.
    pub fn types(&self) -> impl Iterator<Item = &Type> {
        self.types.values()
    }

    /// Names that two types share. A schema with one cannot be told from another and is a mistake.
    pub fn clashes(&self) -> &[String] {
        &self.clashes
    }

    /// The lock file's text.
    ///
    /// # Errors
    /// `Broken` should the description not be writable as JSON.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::broken(format!("cannot write the schema of {}: {error}", self.kind)))?;
        text.push('\n');
        Ok(text)
    }
}

fn in_a_list<S: Serializer>(
    types: &BTreeMap<&'static str, Type>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(types.values())
}

macro_rules! plain {
    ($($name:ident),*) => {
        $(impl Data for $name {
            fn since(&self) -> Since {
                Since::NONE
            }

            fn shape(_schema: &mut Schema) -> TypeName {
                TypeName::from(stringify!($name))
            }
        })*
    };
}

plain!(u8, u16, u32, u64, i32, i64, bool, String);

impl<T: Data> Data for Option<T> {
    fn since(&self) -> Since {
        self.as_ref().map_or(Since::NONE, T::since)
    }

    fn shape(schema: &mut Schema) -> TypeName {
        TypeName(format!("Option<{}>", T::shape(schema).0))
    }
}

impl<T: Data> Data for Vec<T> {
    fn since(&self) -> Since {
        self.iter().enumerate().fold(Since::NONE, |highest, (index, value)| {
            let found = value.since();
            if found.version > highest.version {
                found.within(&index.to_string())
            } else {
                highest
            }
        })
    }

    fn shape(schema: &mut Schema) -> TypeName {
        TypeName(format!("Vec<{}>", T::shape(schema).0))
    }
}

/// Makes a checked newtype a part of messages; the text is its rule.
macro_rules! newtype_data {
    ($name:ident, $rule:expr) => {
        impl $crate::schema::Data for $name {
            fn since(&self) -> $crate::schema::Since {
                $crate::schema::Since::NONE
            }

            fn shape(schema: &mut $crate::schema::Schema) -> $crate::schema::TypeName {
                schema.define(
                    stringify!($name),
                    concat!(module_path!(), "::", stringify!($name)),
                    |_| $crate::schema::Form::Newtype { limits: $rule },
                )
            }
        }
    };
}
pub(crate) use newtype_data;
