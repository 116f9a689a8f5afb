//! Layer archives and image archives: one reader and one writer for all who need them.
//!
//! Here live decompression, digests, the parser of layer tars ([`tar`]), unpacking through the
//! performer's sink ([`unpack`]), the record from which a layer's archive comes back byte for byte
//! ([`split`]), the writer of layers ([`write`]), and the reading and writing of whole images
//! ([`image`]). Load, import, save, export, commit and copying go through these, so that whiteouts,
//! links, attributes and limits mean the same everywhere.
//!
//! What does not live here: where images and layers are recorded (the engine), and every change of an
//! untrusted tree (the performer). Nothing here trusts a byte of what it reads.
#![forbid(unsafe_code)]

pub mod decompress;
pub mod digest;
pub mod error;
pub mod limits;
pub mod tar;

mod crc64;
