//! The faults that can be planted in the graph sim.

macro_rules! defects {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One planted fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Defect {
            $($(#[$doc])* $variant,)*
        }

        impl Defect {
            /// All of them, by the name that the option `defect` takes.
            pub const ALL: &[(&'static str, Self)] = &[$(($name, Self::$variant)),*];

            pub(crate) fn named(name: &str) -> Option<Self> {
                Self::ALL
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, defect)| *defect)
            }
        }
    };
}
pub(crate) use defects;

defects! {
    /// A child does not get its parent's content.
    ForgetsTheParent = "forgets-the-parent",
    /// A layer's mount is its parent's tree.
    MountsTheParent = "mounts-the-parent",
    /// Removal is said and not done.
    KeepsTheTree = "keeps-the-tree",
    /// Removal of what is not there is an error.
    MissesTheAbsent = "misses-the-absent",
    /// Reading is mounted for writing.
    WritesWhenReading = "writes-when-reading",
    /// Removal is not refused for a layer with children.
    RemovesParents = "removes-parents",
    /// Making the same layer again is an error.
    RefusesARepeat = "refuses-a-repeat",
    /// An unknown option is taken.
    TakesAnyOption = "takes-any-option",
    /// Any depth is taken.
    TakesAnyDepth = "takes-any-depth",
    /// A missing parent is taken.
    TakesAMissingParent = "takes-a-missing-parent",
    /// A commit does not seal.
    NeverSeals = "never-seals",
    /// Listings begin anew at each page.
    RepeatsPages = "repeats-pages",
    /// A page after a layer that is gone is empty.
    LosesItsPlace = "loses-its-place",
    /// Steps touch the parent.
    TouchesTheParent = "touches-the-parent",
    /// A fresh instance knows nothing.
    ForgetsWhenReopened = "forgets-when-reopened",
    /// The note of a layer changes from call to call.
    ChangesNotes = "changes-notes",
    /// What was deferred never ends.
    NeverCollects = "never-collects",
    /// A layer is committed while it is active.
    CommitsTheActive = "commits-the-active",
    /// Each plan is another one.
    ChangesPlans = "changes-plans",
    /// Another driver's root is taken.
    TakesAForeignRoot = "takes-a-foreign-root",
    /// A probe leaves a file.
    WritesWhenProbed = "writes-when-probed",
    /// Each of several creates at once is told that it made the layer.
    MakesTwice = "makes-twice",
    /// A stalled call does not end when it is cancelled.
    IgnoresCancel = "ignores-cancel",
    /// A layer is denied that a call made which ran out of time.
    DeniesTheLate = "denies-the-late",
    /// A backend that was away once stays away for that instance.
    StaysAway = "stays-away",
    /// An active layer is said not to be active.
    ForgetsActivation = "forgets-activation",
    /// A layer whose deactivation is deferred cannot be activated.
    RefusesTheDeferred = "refuses-the-deferred",
    /// Twice what a layer takes is told.
    CountsTwice = "counts-twice",
    /// Collecting finds work in a clean root.
    CollectsForEver = "collects-for-ever",
    /// A layer that is being removed is told as open.
    HidesRemoval = "hides-removal",
    /// A panic takes the whole record with it.
    ForgetsInPanic = "forgets-in-panic",
}
