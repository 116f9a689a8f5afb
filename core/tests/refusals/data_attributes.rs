//! Attributes that say something else than they may.
use longshore_core::Data;

#[derive(Data)]
struct Flattened {
    #[serde(flatten)]
    field: Inner,
}

#[derive(Data)]
#[serde(rename_all = "camelCase")]
struct Inner {
    field: u8,
}

#[derive(Data)]
#[since(1)]
struct Newer {
    field: u8,
}

#[derive(Data)]
struct FromTheStart {
    #[since(0)]
    field: u8,
}

#[derive(Data)]
struct SinceTwice {
    #[since(1)]
    #[since(2)]
    field: u8,
}

#[derive(Data)]
struct SinceOptional {
    #[since(1, optional)]
    field: u8,
}

#[derive(Data)]
enum AdvisoryVariant {
    One(u8),
    #[since(1, advisory)]
    Two(u8),
}

#[derive(Data)]
enum InsideTheVariant {
    One(#[since(1)] u8),
}

#[derive(Data)]
enum DefaultVariant {
    #[data(default)]
    One(u8),
}

#[derive(Data)]
struct OtherField {
    #[data(other)]
    field: u8,
}

#[derive(Data)]
struct Secret {
    #[data(secret)]
    field: u8,
}

fn main() {}
