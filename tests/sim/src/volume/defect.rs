//! The faults that can be planted in the volume sim.

use crate::graph::defect::defects;

defects! {
    /// Making the same volume again is an error.
    RefusesARepeat = "refuses-a-repeat",
    /// A volume is made over one of the same name with other options.
    TakesOtherOptions = "takes-other-options",
    /// An unknown option is taken.
    TakesAnyOption = "takes-any-option",
    /// A mounted volume is removed.
    RemovesTheMounted = "removes-the-mounted",
    /// Removal of what is not there is an error.
    MissesTheAbsent = "misses-the-absent",
    /// Removal takes every volume's data.
    RemovesAll = "removes-all",
    /// Force does not help when the backend is away.
    IgnoresForce = "ignores-force",
    /// A volume whose backend is away is not listed.
    HidesTheUnreachable = "hides-the-unreachable",
    /// The time of creation is that of the question.
    ChangesItsAge = "changes-its-age",
    /// The note of a volume is lost.
    LosesTheNote = "loses-the-note",
    /// Reading is mounted for writing.
    WritesWhenReading = "writes-when-reading",
    /// One consumer's unmount ends all mounts.
    UnmountsAll = "unmounts-all",
    /// The last unmount leaves the volume mounted.
    NeverUnstages = "never-unstages",
    /// An unknown mount is an error to unmount.
    MissesTheUnmounted = "misses-the-unmounted",
    /// Listings begin anew at each page.
    RepeatsPages = "repeats-pages",
    /// Each of several creates at once is told that it made the volume.
    MakesTwice = "makes-twice",
    /// One hung call holds up all.
    HangsTogether = "hangs-together",
    /// Twice what a volume takes is told.
    CountsTwice = "counts-twice",
    /// Each consumer gets a folder of its own.
    SeparatesConsumers = "separates-consumers",
    /// A secret's number is not the one that was given.
    MixesSecrets = "mixes-secrets",
    /// The list of mounts is empty.
    HidesMounts = "hides-mounts",
}
