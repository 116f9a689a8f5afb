//! What words on the command line mean. Nothing here asks the engine; only environment files are read.

pub(crate) mod env;
pub(crate) mod filter;
pub(crate) mod limit;
pub(crate) mod mount;
pub(crate) mod size;
pub(crate) mod time;
pub(crate) mod volume;

/// The word of `known` that is most like `word`, for a hint.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}
