//! Shapes that cannot be a message.
use longshore_core::Data;

#[derive(Data)]
struct Newtype(u32);

#[derive(Data)]
struct Unit;

#[derive(Data)]
union Both {
    left: u32,
    right: u32,
}

#[derive(Data)]
struct Generic<T> {
    field: T,
}

#[derive(Data)]
struct Borrowed<'a> {
    field: std::marker::PhantomData<&'a u8>,
}

#[derive(Data)]
enum Never {}

#[derive(Data)]
enum Pair {
    Of(u8, u8),
}

#[derive(Data)]
enum Empty {
    Of(),
}

#[derive(Data)]
enum Numbered {
    One = 1,
    #[data(other)]
    Unknown = 2,
}

fn main() {}
