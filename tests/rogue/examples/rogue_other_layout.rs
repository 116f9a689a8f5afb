//! A root module whose functions differ from the ABI of that version.
#![allow(unsafe_code, reason = "the section of the manifest and the exported name")]
#![allow(
    non_camel_case_types,
    non_local_definitions,
    reason = "what the derive of abi_stable expands to"
)]

mod raw;

use abi_stable::StableAbi;
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;

/// The root module.
#[repr(C)]
#[derive(StableAbi, Debug)]
#[sabi(kind(Prefix(prefix_ref = Module_Ref, prefix_fields = Module_Prefix)))]
pub struct Module {
    /// Another signature than the real one.
    #[sabi(last_prefix_field)]
    pub start: extern "C" fn(),
}

impl RootModule for Module_Ref {
    abi_stable::declare_root_module_statics! {Module_Ref}
    const BASE_NAME: &'static str = "longshore_driver";
    const NAME: &'static str = "longshore_driver";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

extern "C" fn start() {}

/// What `abi_stable` looks for.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static ROOT_MODULE: LibHeader =
    // SAFETY: `construct` answers a `Module_Ref`, erased by `abi_stable` itself.
    unsafe { LibHeader::from_constructor::<Module_Ref>(construct, CheckTypeLayout::Yes) };

extern "C" fn construct() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| Module { start }.leak_into_prefix())
}
