//! A manifest, and no root module.
#![allow(unsafe_code, reason = "the section of the manifest")]

mod raw;
