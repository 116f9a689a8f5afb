//! A manifest without a driver, for libraries that are made by hand.

const TEXT: &str = concat!(
    r#"{"abi":1,"name":"raw","version":"1.0.0","kinds":[{"kind":"graph","from":0,"to":0}],"#,
    r#""panic":"unwind","core":"0.1.0","target":"","transports":["dylib"],"grants":[],"programs":[]}"#
);

const LENGTH: usize = 16 + TEXT.len();

#[used]
#[unsafe(link_section = "longshore.manifest")]
static MANIFEST: [u8; LENGTH] = manifest();

const fn manifest() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes.split_at_mut(8).0.copy_from_slice(b"LNGSHORE");
    bytes[8] = 1;
    bytes
        .split_at_mut(12)
        .1
        .split_at_mut(4)
        .0
        .copy_from_slice(&(TEXT.len() as u32).to_le_bytes());
    bytes.split_at_mut(16).1.copy_from_slice(TEXT.as_bytes());
    bytes
}
