//! Layer archives and image archives: one reader and one writer for all who need them.
//!
//! Here live decompression, digests, the parser of layer tars ([`tar`]), unpacking through a sink
//! ([`unpack()`]), the record from which a layer's archive comes back byte for byte ([`split`],
//! [`assemble()`]), the writer of layers ([`write`](mod@write), [`pack`]), and the reading and writing
//! of whole images ([`image`]). Load, import, save, export, commit and copying go through these, so
//! that whiteouts, links, attributes and limits mean the same everywhere.
//!
//! What does not live here: where images and layers are recorded (the engine), and every change of an
//! untrusted tree (the performer). Nothing here trusts a byte of what it reads.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod decompress;
pub mod digest;
pub mod error;
pub mod image;
pub mod limits;
pub mod pack;
pub mod sink;
pub mod split;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod write;

mod crc64;

pub use assemble::assemble;
pub use error::{Error, Result};
pub use pack::create_layer;
pub use tree::{unpack, unpack_over};
pub use unpack::Unpacked;
