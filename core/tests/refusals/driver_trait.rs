//! Traits that cannot be a kind of driver.
use longshore_core::driver;

#[driver(kind = "lamp")]
trait WithoutVersion: Send + Sync {}

#[driver(version = 0)]
trait WithoutKind: Send + Sync {}

#[driver(kind = "Street Lamp", version = 0)]
trait TwoWords: Send + Sync {}

#[driver(kind = "lamp", version = 0, colour = "red")]
trait Coloured: Send + Sync {}

#[driver(kind = "lamp", version = 0)]
struct NoTrait;

#[driver(kind = "lamp", version = 0)]
unsafe trait Unsafe: Send + Sync {}

#[driver(kind = "lamp", version = 0)]
trait Generic<T>: Send + Sync {}

#[driver(kind = "lamp", version = 0)]
trait Lifetime<'a>: Send + Sync {}

#[driver(kind = "lamp", version = 0)]
trait Cloned: Send + Sync + Clone {}

#[driver(kind = "lamp", version = 0)]
trait Static: Send + Sync + 'static {}

#[driver(kind = "lamp", version = 0)]
trait OneThread: Send {}

#[driver(kind = "lamp", version = 0)]
trait Associated: Send + Sync {
    type Bulb;
}

fn main() {}
