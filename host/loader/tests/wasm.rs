//! Components that are no good drivers, written in Wasm's text: each ends as promised, and the host
//! goes on.
#![cfg(feature = "wasm")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_core::context::Context;
use longshore_core::driver::{Capabilities, Description, Opened, Versions};
use longshore_core::graph::{Activate, ChangesSupport, GraphCapabilities, GraphDriver, LayerRef};
use longshore_core::types::{LayerId, Note};
use longshore_core::wire::encode;
use longshore_core::{Error, ErrorKind, graph};
use longshore_loader::wasm::{Engine, Settings};
use longshore_loader::{Isolation, Loaded, Origin, Problem, Refused, Registry, Ways};
use tempfile::TempDir;

/// A component in parts, so that a test changes one.
struct Text {
    /// Imports of the component, and what of them the module gets.
    imports: &'static str,
    interface: &'static str,
    manifest: String,
    acts: bool,
    /// What `call` does for a method other than describe and open; leaves an address of a result.
    body: &'static str,
    /// More of the module.
    more: &'static str,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            imports: "",
            interface: "longshore:driver/plugin@1.0.0",
            manifest: manifest(0, "wasm"),
            acts: false,
            body: "unreachable",
            more: "",
        }
    }
}

fn manifest(from: u16, transport: &str) -> String {
    let text = format!(
        r#"{{"abi":1,"name":"wat","version":"1","kinds":[{{"kind":"graph","from":{from},"to":{from}}}],"panic":"abort","core":"0","target":"wasm32-wasip2","transports":["{transport}"],"grants":[],"programs":[]}}"#
    );
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    let header = [b"LNGSHORE\x01\0\0\0".as_slice(), &length].concat();
    escape(&[header.as_slice(), text.as_bytes()].concat())
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").unwrap();
        text
    })
}

fn description(acts: bool) -> Description {
    Description {
        name: "wat".into(),
        aliases: vec![],
        version: "1".into(),
        kind: "graph".into(),
        interface: Versions { from: 0, to: 0 },
        folder: None,
        areas: vec![],
        options: vec![],
        capabilities: Capabilities::Graph(GraphCapabilities {
            acts,
            tracks_activation: false,
            changes: ChangesSupport::No,
            max_depth: 10,
            independent_layers: false,
            activate_chain: false,
            lists: false,
        }),
        concurrency: 2,
    }
}

impl Text {
    /// The component: describe and open are told apart by the length of the method's name.
    fn bytes(&self) -> Vec<u8> {
        let description = encode(&description(self.acts)).unwrap();
        let opened = encode(&Opened {
            instance: 7,
            interface: 0,
        })
        .unwrap();
        let text = format!(
            r#"(component
  {imports}
  (core module $m
    (@custom "longshore.manifest" "{manifest}")
    (memory (export "memory") 32)
    (global $top (mut i32) (i32.const 65536))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (global.get $top)
      (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get $new)) (i32.const 7)) (i32.const -8))))
    (func $answer (param $at i32) (param $length i32) (result i32)
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $length))
      (i32.const 16))
    (func (export "call")
      (param $instance i64) (param $id i64) (param $name i32) (param $name_length i32) (param $at i32) (param $length i32)
      (result i32)
      (global.set $top (i32.const 65536))
      (if (i32.eq (local.get $name_length) (i32.const 8))
        (then (if (i64.eqz (local.get $instance))
          (then (return (call $answer (i32.const 1024) (i32.const {described})))))))
      (if (i32.eq (local.get $name_length) (i32.const 4))
        (then (return (call $answer (i32.const 8192) (i32.const {opened_length})))))
      {body})
    (func (export "close") (param i64))
    {more}
    (data (i32.const 1024) "{description}")
    (data (i32.const 8192) "{opened}"))
  (core instance $i (instantiate $m))
  (type $answer (result (list u8) (error (list u8))))
  (func $call (param "instance" u64) (param "id" u64) (param "method" string) (param "body" (list u8)) (result $answer)
    (canon lift (core func $i "call") (memory $i "memory") (realloc (func $i "realloc"))))
  (func $close (param "instance" u64) (canon lift (core func $i "close")))
  (instance $plugin (export "call" (func $call)) (export "close" (func $close)))
  (export "{interface}" (instance $plugin)))"#,
            imports = self.imports,
            manifest = self.manifest,
            described = description.len(),
            opened_length = opened.len(),
            body = self.body,
            more = self.more,
            description = escape(&description),
            opened = escape(&opened),
            interface = self.interface,
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("graph-wat.wasm");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
}

fn engine() -> Arc<Engine> {
    Engine::new(Settings::default())
}

fn load(path: &Path, engine: &Arc<Engine>) -> Result<Loaded, Refused> {
    let origin = Origin::Explicit {
        in_process: false,
        grants: vec![],
    };
    Loaded::from_component(path, &origin, engine)
}

fn loaded(text: &Text) -> Loaded {
    load(&Folder::new().write(&text.bytes()), &engine()).unwrap()
}

fn refused(text: &Text) -> Refused {
    load(&Folder::new().write(&text.bytes()), &engine()).unwrap_err()
}

fn open(loaded: &Loaded) -> Arc<dyn GraphDriver> {
    let root = fs::File::open("/").unwrap();
    loaded.open_graph(root.into(), Path::new("/"), vec![]).unwrap()
}

fn activate(driver: &dyn GraphDriver, cx: &Context) -> Error {
    let request = Activate {
        layer: LayerRef {
            id: LayerId::parse("0123456789abcdef0123").unwrap(),
            note: Note::default(),
        },
        depth: 0,
        chain: vec![],
        access: graph::Access::Read,
    };
    driver.activate(cx, request).unwrap_err()
}

fn background() -> Context {
    Context::background()
}

/// A context with a deadline that is soon over.
fn soon() -> Context {
    use longshore_core::context::{Cancel, NoServices};
    let limit = std::time::Duration::from_millis(100);
    Context::new(0, Some(limit), Cancel::default(), Arc::new(NoServices))
}

const ENDLESS: &str = "(loop $again (br $again)) (unreachable)";

#[test]
fn nothing_starts_before_the_first_component_is_loaded() {
    let engine = engine();
    assert!(!engine.is_started());
    let loaded = load(&Folder::new().write(&Text::default().bytes()), &engine).unwrap();
    assert!(engine.is_started());
    assert_eq!(loaded.transport(), "wasm");
    assert_eq!(loaded.describe().unwrap(), *loaded.description());
}

#[test]
fn an_endless_loop_ends_at_its_deadline_and_the_next_call_is_served() {
    let loaded = loaded(&Text {
        body: ENDLESS,
        ..Text::default()
    });
    let driver = open(&loaded);
    for _ in 0..2 {
        let error = activate(&*driver, &soon());
        assert_eq!(error.kind, ErrorKind::Deadline, "{error}");
        assert!(error.message.contains("its instance was stopped"), "{error}");
        assert_eq!(loaded.describe().unwrap().name, "wat");
    }
    assert_eq!(loaded.quarantined(), None);
}

#[test]
fn a_cancelled_call_ends_before_its_deadline() {
    use longshore_core::context::{Cancel, NoServices};
    let loaded = Arc::new(loaded(&Text {
        body: ENDLESS,
        ..Text::default()
    }));
    let driver = open(&loaded);
    let number = 4_000_000_000;
    let canceller = {
        let loaded = Arc::clone(&loaded);
        std::thread::spawn(move || {
            for _ in 0..20 {
                std::thread::sleep(std::time::Duration::from_millis(20));
                loaded.cancel(number);
            }
        })
    };
    let cx = Context::new(number, None, Cancel::default(), Arc::new(NoServices));
    let error = activate(&*driver, &cx);
    assert_eq!(error.kind, ErrorKind::Cancelled, "{error}");
    canceller.join().unwrap();
}

#[test]
fn what_a_hostile_component_does_ends_its_instance_and_nothing_else() {
    let cases = [
        ("unreachable", "", "gave up without a word"),
        (
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)",
            "",
            "wanted more memory than its 64 MiB",
        ),
        (
            "(call $deep (i32.const 1))",
            "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))",
            "nest too deeply",
        ),
        ("(i32.load (i32.const -8))", "", "out of bounds"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "", "divide by zero"),
        (
            "(call $answer (i32.const 0) (i32.const 1048577))",
            "",
            "the limit is 1048576",
        ),
        ("(call $answer (i32.const 0) (i32.const 1900000))", "", "too much data"),
        (
            "(call $answer (i32.const 2000000) (i32.const 200000))",
            "",
            "out of bounds",
        ),
        ("(i32.const -4)", "", "out of bounds"),
        (
            "(table.grow $t (ref.null func) (i32.const 1000000)) (if (i32.eq (i32.const -1)) (then unreachable)) (i32.const 16)",
            "(table $t 1 funcref)",
            "gave up without a word",
        ),
    ];
    for (body, more, says) in cases {
        let loaded = loaded(&Text {
            body,
            more,
            ..Text::default()
        });
        let driver = open(&loaded);
        let error = activate(&*driver, &background());
        assert_eq!(error.kind, ErrorKind::Broken, "{body}: {error}");
        assert!(error.message.contains(says), "{body}: {error}");
        assert_eq!(loaded.describe().unwrap().name, "wat", "{body}");
    }
}

#[test]
fn an_answer_that_is_no_message_is_broken_and_keeps_the_instance() {
    let loaded = loaded(&Text {
        body: "(call $answer (i32.const 0) (i32.const 3))",
        ..Text::default()
    });
    let error = activate(&*open(&loaded), &background());
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    assert!(error.message.contains("outside the contract"), "{error}");
}

#[test]
fn after_a_trap_the_next_call_gets_a_fresh_instance_that_opens_what_was_open() {
    // The second call in one instance traps; a global would still be set were it used again.
    let loaded = loaded(&Text {
        body: "(if (global.get $used) (then unreachable)) (global.set $used (i32.const 1)) (call $answer (i32.const 0) (i32.const 0))",
        more: "(global $used (mut i32) (i32.const 0))",
        ..Text::default()
    });
    let driver = open(&loaded);
    let says = |part: &str| {
        let error = activate(&*driver, &background());
        assert!(error.message.contains(part), "{error}");
    };
    says("outside the contract");
    says("gave up without a word");
    says("outside the contract");
}

#[test]
fn a_driver_that_traps_thrice_in_a_minute_is_quarantined() {
    let loaded = loaded(&Text::default());
    let driver = open(&loaded);
    for _ in 0..3 {
        activate(&*driver, &background());
    }
    assert!(loaded.quarantined().unwrap().contains("broke 3 times"));
    assert_eq!(activate(&*driver, &background()).kind, ErrorKind::Unavailable);
}

const SERVICE: &str = r#"
  (import "longshore:driver/host@1.0.0" (instance $host
    (export "service" (func (param "name" string) (param "body" (list u8)) (result (result (list u8) (error (list u8))))))))
"#;
const STANDARD: &str = r#"
  (import "wasi:cli/exit@0.2.6" (instance $exit (export "exit" (func (param "status" (result))))))
"#;

#[test]
fn imports_that_nobody_offers_are_refused_by_name() {
    let import = |imports| {
        refused(&Text {
            imports,
            ..Text::default()
        })
    };
    let other = import(r#"(import "wasi:http/types@0.2.0" (instance (export "x" (func))))"#);
    assert_eq!(other.problem, Problem::Import);
    assert!(other.what.contains("wasi:http/types@0.2.0"), "{other}");
    let later = import(r#"(import "longshore:driver/host@1.1.0" (instance (export "x" (func))))"#);
    assert_eq!(later.problem, Problem::Interface, "{later}");
    let unlike =
        import(r#"(import "longshore:driver/host@1.0.0" (instance (export "service" (func (param "name" u32)))))"#);
    assert_eq!(unlike.problem, Problem::Import, "{unlike}");
    for offered in [SERVICE, STANDARD] {
        loaded(&Text {
            imports: offered,
            ..Text::default()
        });
    }
}

#[test]
fn files_that_are_no_drivers_are_refused_with_what_differs() {
    let whole = Text::default().bytes();
    let folder = Folder::new();
    let says = |bytes: &[u8], problem: Problem, part: &str| {
        let refused = load(&folder.write(bytes), &engine()).unwrap_err();
        assert_eq!(refused.problem, problem, "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
        assert!(!refused.remedy.is_empty());
    };
    says(&whole[..whole.len() / 2], Problem::Damaged, "middle of a section");
    says(b"\0asm\x01\0\0\0", Problem::NotComponent, "core module");
    says(&wat::parse_str("(component)").unwrap(), Problem::Manifest, "no section");
    says(b"just text", Problem::NotLibrary, "no ELF file");
    let text = |change: fn(&mut Text)| {
        let mut text = Text::default();
        change(&mut text);
        text.bytes()
    };
    says(
        &text(|text| text.manifest = manifest(1, "wasm")),
        Problem::Interface,
        "speaks graph 1 to 1",
    );
    says(
        &text(|text| text.manifest = manifest(0, "dylib")),
        Problem::Policy,
        "not made to run as a component",
    );
    says(
        &text(|text| text.manifest = "x".into()),
        Problem::Manifest,
        "shorter than its header",
    );
    says(
        &text(|text| text.acts = true),
        Problem::Policy,
        "acts on the machine by itself",
    );
    says(
        &text(|text| text.interface = "longshore:driver/plugin@2.0.0"),
        Problem::Symbol,
        "plugin@2.0.0",
    );
}

#[test]
fn a_component_flipped_anywhere_is_refused_or_works_and_the_host_goes_on() {
    let whole = Text::default().bytes();
    let engine = engine();
    let folder = Folder::new();
    for at in (8..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let _ = load(&folder.write(&flipped), &engine);
    }
    assert!(load(&folder.write(&whole), &engine).is_ok());
}

#[test]
fn a_component_is_refused_as_a_library_and_told_where_to_say_so() {
    let path = Folder::new();
    let path = path.write(&Text::default().bytes());
    let refused = Loaded::from_path(&path, &Origin::Bundled).unwrap_err();
    assert!(refused.remedy.contains("isolation = \"wasm\""), "{refused}");
}

#[test]
fn a_bundled_driver_set_to_wasm_is_its_component_beside_the_library() {
    let folder = Folder::new();
    let library = folder.0.path().join("graph-wat.so");
    fs::write(&library, "whatever it is, it is not looked at").unwrap();
    let discover = || {
        let isolation = [("graph-wat".to_owned(), Isolation::Wasm)].into();
        Registry::discover_with(folder.0.path(), &[], &isolation, Ways::default().wasm(engine()))
    };
    let error = discover().find("graph", "wat", None).unwrap_err().to_string();
    assert!(error.contains("graph-wat.wasm: there is no such component"), "{error}");
    folder.write(&Text::default().bytes());
    let registry = discover();
    let loaded = registry.find("graph", "wat", None).unwrap();
    assert_eq!((loaded.transport(), loaded.isolation()), ("wasm", "wasm"));
    assert_eq!(registry.entries().len(), 1);
}

fn cached(folder: &Path) -> Arc<Engine> {
    Engine::new(Settings {
        cache: Some(folder.to_owned()),
        ..Settings::default()
    })
}

fn compiled_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|end| end == "compiled"))
        .collect()
}

#[test]
fn compiled_code_is_kept_and_taken_the_next_time() {
    let folder = Folder::new();
    let cache = folder.0.path().join("plugins/cache");
    let file = folder.write(&Text::default().bytes());
    load(&file, &cached(&cache)).unwrap();
    let [kept] = compiled_files(&cache).try_into().unwrap();
    let written = fs::metadata(&kept).unwrap().modified().unwrap();
    let again = load(&file, &cached(&cache)).unwrap();
    assert_eq!(again.describe().unwrap().name, "wat");
    assert_eq!(
        fs::metadata(&kept).unwrap().modified().unwrap(),
        written,
        "it was compiled again"
    );
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn compiled_code_that_was_changed_or_comes_from_elsewhere_is_never_run() {
    let folder = Folder::new();
    let (cache, other) = (folder.0.path().join("one"), folder.0.path().join("two"));
    let file = folder.write(&Text::default().bytes());
    load(&file, &cached(&cache)).unwrap();
    load(&file, &cached(&other)).unwrap();
    let [kept] = compiled_files(&cache).try_into().unwrap();
    let whole = fs::read(&kept).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let foreign = fs::read(other.join(kept.file_name().unwrap())).unwrap();
    for bad in [&flipped[..], &whole[..whole.len() / 2], b"", &foreign] {
        fs::write(&kept, bad).unwrap();
        let loaded = load(&file, &cached(&cache)).unwrap();
        assert_eq!(loaded.describe().unwrap().name, "wat");
        let now = fs::read(&kept).unwrap();
        assert!(now != bad, "it was not compiled again");
    }
    // Others could have written it, so it is not even read.
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o666)).unwrap();
    load(&file, &cached(&cache)).unwrap();
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_cache_that_others_may_enter_is_not_used() {
    let folder = Folder::new();
    let cache = folder.0.path().join("open");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.write(&Text::default().bytes());
    load(&file, &cached(&cache)).unwrap();
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
}

#[test]
fn without_signal_handlers_everything_ends_the_same() {
    let engine = Engine::new(Settings {
        signal_handlers: false,
        ..Settings::default()
    });
    let folder = Folder::new();
    for (body, says) in [
        ("(i32.load (i32.const -8))", "out of bounds"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero"),
        ("unreachable", "gave up without a word"),
    ] {
        let text = Text {
            body,
            ..Text::default()
        };
        let loaded = load(&folder.write(&text.bytes()), &engine).unwrap();
        let error = activate(&*open(&loaded), &background());
        assert!(error.message.contains(says), "{body}: {error}");
        assert_eq!(loaded.describe().unwrap().name, "wat");
    }
}
