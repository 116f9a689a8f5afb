//! Types that have no form in a message.
use longshore_core::Data;

#[derive(Data)]
struct Map {
    field: std::collections::HashMap<String, String>,
}

#[derive(Data)]
struct SortedMap {
    field: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Data)]
struct Float {
    field: f64,
}

#[derive(Data)]
enum FloatInAVariant {
    One(f32),
}

#[derive(Data)]
struct Size {
    field: usize,
}

#[derive(Data)]
struct Difference {
    field: Vec<isize>,
}

#[derive(Data)]
struct Reference {
    field: &'static str,
}

#[derive(Data)]
struct Lifetime {
    field: std::borrow::Cow<'static, str>,
}

#[derive(Data)]
struct Tuple {
    field: (u8, u8),
}

#[derive(Data)]
struct TupleInAList {
    field: Vec<(u8, u8)>,
}

#[derive(Data)]
struct Array {
    field: [u8; 16],
}

#[derive(Data)]
struct Object {
    field: Box<dyn Send>,
}

#[derive(Data)]
struct ListOfNumbers {
    field: Vec<u8>,
}

#[derive(Data)]
struct OptionOfAnOption {
    field: Option<Option<u8>>,
}

#[derive(Data)]
struct Function {
    field: fn(),
}

fn main() {}
