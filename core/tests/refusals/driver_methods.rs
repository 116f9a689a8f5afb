//! Methods that cannot be called across a boundary.
use longshore_core::driver;

#[driver(kind = "lamp", version = 0)]
trait Async: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    async fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Unsafe: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    unsafe fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Extern: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    extern "C" fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Generic: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light<T>(&self, cx: &Context, request: T) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Lifetime: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light<'a>(&self, cx: &'a Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Impl: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: impl Into<Light>) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Exclusive: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&mut self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Consuming: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Boxed: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(self: Box<Self>, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait WithoutSelf: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait WithoutAnything: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light() -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait WithoutContext: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait OwnedContext: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait OtherContext: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Environment, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait OtherName: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, context: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait Borrowing: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: &Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait TwoRequests: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light, more: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait WithoutReply: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light);
}

#[driver(kind = "lamp", version = 0)]
trait Infallible: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Lit;
}

#[driver(kind = "lamp", version = 0)]
trait OtherError: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit, Dark>;
}

#[driver(kind = "lamp", version = 0)]
trait UnitReply: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<()>;
}

#[driver(kind = "lamp", version = 0)]
trait Undocumented: Send + Sync {
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 0)]
trait TooMany: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light0(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light1(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light2(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light3(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light4(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light5(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light6(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light7(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light8(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light9(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light10(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light11(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light12(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light13(&self, cx: &Context, request: Light) -> Result<Lit>;
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light14(&self, cx: &Context, request: Light) -> Result<Lit>;
}

fn main() {}
