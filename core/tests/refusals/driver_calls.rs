//! Methods that do not say, or say wrongly, how they are called.
use longshore_core::driver;

#[driver(kind = "lamp", version = 1)]
trait WithoutCall: Send + Sync {
    /// Lights it.
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait CallTwice: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait WithoutClass: Send + Sync {
    /// Lights it.
    #[call(lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait WithoutLock: Send + Sync {
    /// Lights it.
    #[call(class = "quick")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait OtherClass: Send + Sync {
    /// Lights it.
    #[call(class = "slow", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait OtherLock: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "all")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait OtherWord: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any", cached)]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait ChangesUnlocked: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any", changes)]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait SinceWithoutBody: Send + Sync {
    /// Lights it.
    #[since(1)]
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait CapabilityWithoutBody: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any", capability = "dims")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait DefaultWithoutBody: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any", default)]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
}

#[driver(kind = "lamp", version = 1)]
trait BodyWithoutReason: Send + Sync {
    /// Lights it.
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit> {
        Err(Error::unsupported("dark"))
    }
}

#[driver(kind = "lamp", version = 1)]
trait FromTheFuture: Send + Sync {
    /// Lights it.
    #[since(2)]
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit> {
        Err(Error::unsupported("dark"))
    }
}

#[driver(kind = "lamp", version = 1)]
trait Advisory: Send + Sync {
    /// Lights it.
    #[since(1, advisory)]
    #[call(class = "quick", lock = "any")]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit> {
        Err(Error::unsupported("dark"))
    }
}

#[driver(kind = "lamp", version = 1)]
trait FromTheStart: Send + Sync {
    /// Lights it.
    #[since(0)]
    #[call(class = "quick", lock = "any", default)]
    fn light(&self, cx: &Context, request: Light) -> Result<Lit> {
        Err(Error::unsupported("dark"))
    }
}

fn main() {}
