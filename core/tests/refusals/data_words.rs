//! The variant that stands for a newer peer's words.
use longshore_core::Data;

#[derive(Data)]
enum Closed {
    One,
    Two,
}

#[derive(Data)]
enum Named {
    One,
    #[data(other)]
    Otherwise,
}

#[derive(Data)]
enum Twice {
    #[data(other)]
    Unknown,
    #[data(other)]
    Other,
}

#[derive(Data)]
enum Holding {
    One,
    #[data(other)]
    Unknown(u8),
}

#[derive(Data)]
enum WithData {
    One(u8),
    #[data(other)]
    Unknown,
}

fn main() {}
