//! Messages as they cross a boundary: what comes back, what is skipped, what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use longshore_core::driver::{Capabilities, OptionContent, OptionValue};
use longshore_core::exec::{Init, Status, Stdio};
use longshore_core::graph::{ChangesSupport, Create, Created, GraphCapabilities, LayerRef, Role, State};
use longshore_core::schema::{Data, Schema};
use longshore_core::steps::{Lower, MountOption, MountPlan, MountStep, OptionText, Place, Remote, Source, TreeStep};
use longshore_core::types::{Bytes, Handle, LayerId, Note, Owner, RelPath, SecretRef};
use longshore_core::wire::{MAX_BODY, MAX_DEPTH, decode, encode};
use longshore_core::{Error, ErrorKind};

fn layer(letter: char) -> LayerId {
    LayerId::parse(letter.to_string().repeat(64)).unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

fn place(text: &str) -> Place {
    Place::object(0, "a".repeat(64), path(text))
}

fn create() -> Create {
    Create {
        id: layer('a'),
        chain: vec![LayerRef {
            id: layer('b'),
            note: Note::parse([0xff, 0, 1]).unwrap(),
        }],
        role: Role::Container,
        options: vec![
            OptionValue::text("size", "1g"),
            OptionValue {
                name: "password".to_owned(),
                value: OptionContent::Secret(SecretRef(3)),
            },
        ],
    }
}

fn tree_steps() -> Vec<TreeStep> {
    let (mode, owner) = (0o755, Owner::ROOT);
    vec![
        TreeStep::Directory {
            at: place(""),
            mode,
            owner: owner.clone(),
            like: Some(place("diff")),
        },
        TreeStep::File {
            at: Place::shared(1, path("l")),
            mode,
            owner,
            content: Bytes::from(vec![0, 159, 146, 150]),
        },
        TreeStep::Symlink {
            at: place("l"),
            target: Bytes::from("../x/diff"),
        },
        TreeStep::Rename {
            from: place("a"),
            to: place("b"),
        },
        TreeStep::Copy {
            from: place("a"),
            to: place("b"),
        },
        TreeStep::Remove { at: place("") },
        TreeStep::Attribute {
            at: place("diff"),
            name: "trusted.overlay.opaque".to_owned(),
            value: Bytes::from("y"),
        },
    ]
}

fn plan() -> MountPlan {
    let remote = Remote {
        server: "10.0.0.1".to_owned(),
        path: Bytes::from("/export"),
    };
    let sources = [
        Source::None,
        Source::Tree(place("diff")),
        Source::HostPath(Bytes::from("/srv")),
        Source::Remote(remote),
        Source::Mount(Handle(2)),
    ];
    let steps = sources.into_iter().map(|source| MountStep {
        fs: "overlay".to_owned(),
        source,
        lowers: vec![
            Lower::Chain {
                area: 0,
                path: path("diff"),
                first: 0,
                count: 40,
            },
            Lower::Tree(place("diff")),
        ],
        upper: Some(place("diff")),
        work: None,
        options: vec![
            option("index", OptionText::Text("off".to_owned())),
            option("nodev", OptionText::None),
            option("password", OptionText::Secret(SecretRef(0))),
        ],
        read_only: true,
    });
    MountPlan {
        steps: steps.collect(),
        root: 1,
        subdir: path("rootfs"),
    }
}

fn option(key: &str, value: OptionText) -> MountOption {
    MountOption {
        key: key.to_owned(),
        value,
    }
}

fn comes_back<T: Data>(value: &T) {
    let back: T = decode(&encode(value).unwrap()).unwrap();
    assert_eq!(&back, value);
    assert_eq!(&back.clone(), value);
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
    assert_eq!(value.since().version, 0);
}

#[test]
fn every_sort_of_message_comes_back_as_it_was_sent() {
    comes_back(&create());
    comes_back(&tree_steps());
    comes_back(&plan());
    comes_back(&vec![
        Stdio::Pipes {
            stdin: None,
            stdout: Handle(0),
            stderr: Handle(1),
        },
        Stdio::Terminal { rows: 24, columns: 80 },
        Stdio::Null,
    ]);
    comes_back(&vec![Init::Child { pid: 7 }, Init::Monitor { pid: 7, init: Some(8) }]);
    comes_back(&longshore_core::driver::Describe {});
    comes_back(&Error::not_found("no layer").with_errno(2));
    comes_back(&Capabilities::Graph(GraphCapabilities {
        acts: false,
        tracks_activation: false,
        changes: ChangesSupport::Directory,
        max_depth: 500,
        independent_layers: true,
        activate_chain: false,
        lists: false,
    }));
}

#[test]
fn messages_that_differ_in_one_place_are_not_equal() {
    let mut other = create();
    assert_eq!(other, create());
    other.chain[0].note = Note::default();
    assert_ne!(other, create());
    for (index, left) in tree_steps().iter().enumerate() {
        for (other, right) in tree_steps().iter().enumerate() {
            assert_eq!(left == right, index == other);
        }
    }
    assert_ne!(State::Open, State::Sealed);
}

#[test]
fn debug_names_the_variant_and_its_fields() {
    assert_eq!(format!("{:?}", State::Removing), "Removing");
    assert_eq!(format!("{:?}", Init::Child { pid: 7 }), "Child { pid: 7 }");
    assert_eq!(format!("{:?}", Source::Mount(Handle(2))), "Mount(Handle(2))");
}

/// A MessagePack map with these encoded values.
fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0x80 | u8::try_from(entries.len()).unwrap()];
    for (key, value) in entries {
        bytes.extend(encode(key).unwrap());
        bytes.extend(value);
    }
    bytes
}

fn id() -> (&'static str, Vec<u8>) {
    ("id", encode(&layer('a')).unwrap())
}

fn role(role: &str) -> (&'static str, Vec<u8>) {
    ("role", encode(role).unwrap())
}

fn refusal<T: Data>(bytes: &[u8]) -> String {
    let error = decode::<T>(bytes).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken, "{error}");
    error.message
}

#[test]
fn what_is_empty_is_not_sent_and_what_is_missing_is_empty() {
    let small = Create {
        chain: Vec::new(),
        options: Vec::new(),
        ..create()
    };
    let bytes = encode(&small).unwrap();
    assert_eq!(bytes, map(&[id(), role("Container")]));
    assert_eq!(decode::<Create>(&bytes).unwrap(), small);
}

#[test]
fn an_unknown_field_is_skipped_with_all_that_it_holds() {
    let newer = ("newer", encode(&tree_steps()).unwrap());
    let bytes = map(&[newer.clone(), id(), role("Layer")]);
    assert_eq!(decode::<Create>(&bytes).unwrap().role, Role::Layer);

    // Inside a variant too.
    let child = map(&[("Child", map(&[("pid", encode(&7u32).unwrap()), newer]))]);
    assert_eq!(decode::<Init>(&child).unwrap(), Init::Child { pid: 7 });
}

#[test]
fn a_missing_field_that_was_always_there_is_refused_by_name() {
    assert!(refusal::<Create>(&map(&[id()])).contains("missing field `role`"));
}

#[test]
fn an_unknown_word_is_unknown() {
    let bytes = map(&[id(), role("Snapshot")]);
    assert_eq!(decode::<Create>(&bytes).unwrap().role, Role::Unknown);
    assert_eq!(
        decode::<Status>(&encode("Hibernating").unwrap()).unwrap(),
        Status::Unknown
    );
    assert_eq!(
        decode::<ErrorKind>(&encode("Tired").unwrap()).unwrap(),
        ErrorKind::Unknown
    );
}

#[test]
fn an_unknown_step_refuses_the_whole_answer() {
    let step = map(&[("Quota", map(&[("bytes", encode(&1u64).unwrap())]))]);
    let mut steps = vec![0x91];
    steps.extend(step);
    let refused = refusal::<Vec<TreeStep>>(&steps);
    assert!(refused.contains("unknown variant `Quota`"), "{refused}");
    assert!(refusal::<Source>(&encode("Dataset").unwrap()).contains("unknown variant `Dataset`"));
}

#[test]
fn a_variant_with_two_names_is_refused() {
    let place = encode(&place("a")).unwrap();
    refusal::<Source>(&map(&[("Tree", place.clone()), ("HostPath", place)]));
    refusal::<Source>(&map(&[]));
}

#[test]
fn a_field_twice_is_refused() {
    assert!(refusal::<Create>(&map(&[id(), role("Layer"), id()])).contains("duplicate field `id`"));
}

#[test]
fn nothing_is_no_list() {
    let bytes = map(&[id(), role("Layer"), ("chain", vec![0xc0])]);
    refusal::<Create>(&bytes);
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = encode(&create()).unwrap();
    bytes.push(0xc0);
    assert!(refusal::<Create>(&bytes).contains("after its end"));
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    let bytes = encode(&plan()).unwrap();
    for end in 0..bytes.len() {
        refusal::<MountPlan>(&bytes[..end]);
    }
}

#[test]
fn nesting_beyond_the_limit_is_refused_also_in_an_unknown_field() {
    for (depth, fits) in [(MAX_DEPTH - 4, true), (MAX_DEPTH + 1, false), (900_000, false)] {
        let mut deep = vec![0x91; depth];
        deep.push(0xc0);
        let bytes = map(&[id(), role("Layer"), ("newer", deep)]);
        assert_eq!(decode::<Create>(&bytes).is_ok(), fits, "{depth}");
    }
}

#[test]
fn announced_lengths_allocate_nothing() {
    let huge = [0xff; 4];
    for marker in [0xc6, 0xdb, 0xdd, 0xdf] {
        let mut value = vec![marker];
        value.extend(huge);
        for field in ["chain", "options", "newer", "id", "role"] {
            refusal::<Create>(&map(&[(field, value.clone())]));
        }
    }
}

#[test]
fn a_body_has_at_most_a_mebibyte_each_way() {
    let note = Bytes::from(vec![0; MAX_BODY]);
    assert_eq!(encode(&note).unwrap_err().kind, ErrorKind::Exhausted);
    assert!(refusal::<Bytes>(&vec![0; MAX_BODY + 1]).contains("limit"));
    let four_hundred = Create {
        chain: vec![create().chain[0].clone(); 400],
        ..create()
    };
    assert!(encode(&four_hundred).unwrap().len() < 64 << 10);
}

#[test]
fn a_value_that_breaks_its_rule_is_refused_at_the_edge() {
    let bytes = map(&[("id", encode("../../etc").unwrap()), role("Layer")]);
    assert!(refusal::<Create>(&bytes).contains("layer ID"));
    let bytes = map(&[("area", encode(&0u8).unwrap()), ("path", encode("../x").unwrap())]);
    assert!(refusal::<Place>(&bytes).contains("relative path"));
}

#[test]
fn forms_that_other_encoders_choose_are_taken() {
    // A struct as an array of its fields, bytes as text.
    let bytes = [vec![0x92], encode(&layer('b')).unwrap(), encode("note").unwrap()].concat();
    let expected = LayerRef {
        id: layer('b'),
        note: Note::parse("note").unwrap(),
    };
    assert_eq!(decode::<LayerRef>(&bytes).unwrap(), expected);
    // Bytes as an array of numbers.
    assert_eq!(decode::<Bytes>(&[0x92, 1, 2]).unwrap(), Bytes::from(vec![1, 2]));
}

/// A type that holds itself; the contracts have none today.
#[derive(longshore_core::Data)]
struct Branch {
    /// What grows from it.
    branches: Vec<Branch>,
    /// Whether it bears fruit.
    #[data(default)]
    bears: bool,
}

#[test]
fn a_type_that_holds_itself_is_bounded_and_described_once() {
    let grow = |levels| (0..levels).fold(Vec::new(), |branches, _| vec![Branch { branches, bears: false }]);
    comes_back(&grow(20));
    let body = encode(&grow(MAX_DEPTH)).unwrap();
    assert!(refusal::<Vec<Branch>>(&body).contains("depth"));

    let mut schema = Schema::new("tree", 0);
    Branch::shape(&mut schema);
    assert_eq!(schema.types().count(), 1);
    assert!(schema.to_json().unwrap().contains("Vec<Branch>"));
}

#[test]
fn a_field_with_a_default_is_sent_only_when_it_differs() {
    let mut branch = Branch {
        branches: Vec::new(),
        bears: false,
    };
    assert_eq!(encode(&branch).unwrap(), map(&[]));
    branch.bears = true;
    assert_eq!(encode(&branch).unwrap(), map(&[("bears", vec![0xc3])]));
    comes_back(&branch);
}

/// Marsaglia's xorshift: the same bytes in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

fn survives_damage<T: Data>(value: &T, noise: &mut Noise) {
    let whole = encode(value).unwrap();
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(bytes.len());
            bytes[at] = u8::try_from(noise.below(256)).unwrap();
        }
        match decode::<T>(&bytes) {
            // What is taken can be sent again and is the same.
            Ok(taken) => assert_eq!(decode::<T>(&encode(&taken).unwrap()).unwrap(), taken),
            Err(error) => assert_eq!(error.kind, ErrorKind::Broken),
        }
    }
}

#[test]
fn damaged_messages_are_refused_or_taken_whole() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    survives_damage(&create(), &mut noise);
    survives_damage(&plan(), &mut noise);
    survives_damage(&tree_steps(), &mut noise);
    let created = Created {
        outcome: longshore_core::graph::Made::New,
        content: longshore_core::graph::Content::Empty,
        note: Note::default(),
        steps: tree_steps(),
    };
    survives_damage(&created, &mut noise);
}
