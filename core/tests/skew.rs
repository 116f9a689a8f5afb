//! Two sides of different versions: a fixture kind `lamp` with versions 1 and 2.
//!
//! The rule under test: nothing that one side does not speak reaches it. What needs more is
//! `Unsupported` and named by its path; what is left at its default is left out and passes.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests; the kinds of other crates are public"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longshore_core::context::{Cancel, Context, NoServices};
use longshore_core::driver::{Kind, Opened};
use longshore_core::error::Result;
use longshore_core::wire::{Call, Channel, Message};
use longshore_core::{ErrorKind, envelope};

/// The kind as it was.
mod v1 {
    use longshore_core::{Context, Data, Result, driver};

    /// A lamp.
    #[driver(kind = "lamp", version = 1)]
    pub trait Lamp: Send + Sync {
        /// Lights it.
        #[call(class = "normal", lock = "object", changes)]
        fn light(&self, cx: &Context, request: Light) -> Result<Lit>;
    }

    /// The request.
    #[derive(Data)]
    pub struct Light {
        /// Which bulbs.
        pub bulbs: Vec<Bulb>,
        /// What feeds them.
        pub source: Source,
    }

    /// One bulb.
    #[derive(Data)]
    pub struct Bulb {
        /// Its number.
        pub number: u8,
    }

    /// What feeds a lamp.
    #[derive(Data)]
    pub enum Source {
        /// The mains.
        Mains,
        /// A battery.
        Battery {
            /// In millivolts.
            voltage: u32,
        },
    }

    /// The answer.
    #[derive(Data)]
    pub struct Lit {
        /// How it went.
        pub outcome: Outcome,
    }

    /// How it went.
    #[derive(Data)]
    pub enum Outcome {
        /// It shines.
        Shines,
        /// Something newer.
        #[data(other)]
        Unknown,
    }
}

/// The kind as it is, with something new in every place where something can be.
mod v2 {
    use longshore_core::{Context, Data, Error, Result, driver};

    /// A lamp.
    #[driver(kind = "lamp", version = 2)]
    pub trait Lamp: Send + Sync {
        /// Lights it.
        #[call(class = "normal", lock = "object", changes)]
        fn light(&self, cx: &Context, request: Light) -> Result<Lit>;

        /// Dims it.
        #[call(class = "quick", lock = "object", changes)]
        #[since(2)]
        fn dim(&self, cx: &Context, request: Dim) -> Result<Lit> {
            let _ = (cx, request);
            Err(Error::unsupported("this lamp does not dim"))
        }
    }

    /// The request.
    #[derive(Data)]
    pub struct Light {
        /// Which bulbs.
        pub bulbs: Vec<Bulb>,
        /// What feeds them.
        pub source: Source,
        /// For how long, in seconds.
        #[since(2)]
        pub seconds: u32,
        /// Who wants light; a lamp may ignore it.
        #[since(2, advisory)]
        pub reader: String,
    }

    /// One bulb.
    #[derive(Data)]
    pub struct Bulb {
        /// Its number.
        pub number: u8,
        /// Its colour.
        #[since(2)]
        pub colour: Option<Colour>,
    }

    /// A colour.
    #[derive(Data)]
    pub struct Colour {
        /// The hue.
        pub hue: u16,
    }

    /// What feeds a lamp.
    #[derive(Data)]
    pub enum Source {
        /// The mains.
        Mains,
        /// A battery.
        Battery {
            /// In millivolts.
            voltage: u32,
            /// In milliampere hours.
            #[since(2)]
            capacity: Option<u32>,
        },
        /// The sun.
        #[since(2)]
        Sun,
    }

    /// The request.
    #[derive(Data)]
    pub struct Dim {
        /// In percent.
        pub to: u8,
    }

    /// The answer.
    #[derive(Data)]
    pub struct Lit {
        /// How it went.
        pub outcome: Outcome,
        /// What it draws, in milliwatts.
        #[since(2)]
        pub draws: Option<u32>,
    }

    /// How it went.
    #[derive(Data)]
    pub enum Outcome {
        /// It shines.
        Shines,
        /// It shone already. A word may come without `since`: an older peer reads `Unknown`.
        Already,
        /// Something newer.
        #[data(other)]
        Unknown,
    }

    impl Light {
        /// What version 1 can say too.
        pub fn plain() -> Self {
            Self {
                bulbs: vec![bulb(0), bulb(1)],
                source: Source::Mains,
                seconds: 0,
                reader: String::new(),
            }
        }
    }

    /// A bulb without a colour.
    pub fn bulb(number: u8) -> Bulb {
        Bulb { number, colour: None }
    }
}

/// A plugin behind a boundary: bodies in, bodies out.
struct Boundary<K, D> {
    driver: D,
    interface: u16,
    calls: AtomicUsize,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind<D>, D: Send + Sync> Channel for Boundary<K, D> {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let opened = envelope::open(&request.body)?;
        let cx = Context::new(call.id, None, Cancel::default(), Arc::new(NoServices)).with_interface(self.interface);
        K::dispatch(&self.driver, &cx, call.method.name, opened.request).map(Message::from_body)
    }

    fn cancel(&self, _instance: u64, _call: u64) {}

    fn close(&self, _instance: u64) {}
}

/// A plugin of kind `K`, opened by a host of version `host`.
fn plugin<K: Kind<D>, D: Send + Sync>(driver: D, host: u16) -> (Arc<Boundary<K, D>>, Opened) {
    let interface = host.min(K::VERSION);
    let boundary = Boundary {
        driver,
        interface,
        calls: AtomicUsize::new(0),
        kind: std::marker::PhantomData,
    };
    (Arc::new(boundary), Opened { instance: 1, interface })
}

struct OldLamp;

impl v1::Lamp for OldLamp {
    fn light(&self, _cx: &Context, request: v1::Light) -> Result<v1::Lit> {
        assert_eq!(request.bulbs.len(), 2);
        Ok(v1::Lit {
            outcome: v1::Outcome::Shines,
        })
    }
}

/// A lamp of version 2 that answers what it is told to.
struct NewLamp(v2::Lit);

impl v2::Lamp for NewLamp {
    fn light(&self, _cx: &Context, request: v2::Light) -> Result<v2::Lit> {
        assert_eq!(request.seconds, 0);
        Ok(self.0.clone())
    }
}

type NewHost<D> = (
    v2::Client<Arc<Boundary<v1::LampKind, D>>>,
    Arc<Boundary<v1::LampKind, D>>,
);

fn new_host_and_old_plugin() -> NewHost<OldLamp> {
    let (boundary, opened) = plugin::<v1::LampKind, _>(OldLamp, v2::VERSION);
    assert_eq!(opened.interface, 1);
    (v2::Client::new(Arc::clone(&boundary), &opened), boundary)
}

fn refused_before_the_call(request: v2::Light, sentence: &str) {
    let (client, boundary) = new_host_and_old_plugin();
    let error = v2::Lamp::light(&client, &Context::background(), request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert_eq!(error.message, sentence);
    assert_eq!(boundary.calls.load(Ordering::Relaxed), 0, "nothing was sent");
}

#[test]
fn a_new_host_says_to_an_old_plugin_what_both_know() {
    let (client, _) = new_host_and_old_plugin();
    let lit = v2::Lamp::light(&client, &Context::background(), v2::Light::plain()).unwrap();
    assert_eq!((lit.outcome, lit.draws), (v2::Outcome::Shines, None));
}

#[test]
fn a_new_method_is_refused_before_the_call() {
    let (client, boundary) = new_host_and_old_plugin();
    let error = v2::Lamp::dim(&client, &Context::background(), v2::Dim { to: 50 }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert_eq!(error.message, "dim needs lamp 2, the other side speaks lamp 1");
    assert_eq!(boundary.calls.load(Ordering::Relaxed), 0);
}

#[test]
fn a_new_field_is_refused_before_the_call_and_named() {
    let request = v2::Light {
        seconds: 5,
        ..v2::Light::plain()
    };
    refused_before_the_call(request, "light.seconds needs lamp 2, the other side speaks lamp 1");
}

#[test]
fn a_new_field_deep_in_a_list_is_named_with_its_path() {
    let mut request = v2::Light::plain();
    request.bulbs[1].colour = Some(v2::Colour { hue: 120 });
    refused_before_the_call(
        request,
        "light.bulbs.1.colour needs lamp 2, the other side speaks lamp 1",
    );
}

#[test]
fn a_new_variant_is_refused_before_the_call_and_named() {
    let request = v2::Light {
        source: v2::Source::Sun,
        ..v2::Light::plain()
    };
    refused_before_the_call(request, "light.source.Sun needs lamp 2, the other side speaks lamp 1");
}

#[test]
fn a_new_field_of_an_old_variant_is_refused_only_when_it_is_set() {
    let battery = |capacity| v2::Light {
        source: v2::Source::Battery {
            voltage: 9_000,
            capacity,
        },
        ..v2::Light::plain()
    };
    let sentence = "light.source.Battery.capacity needs lamp 2, the other side speaks lamp 1";
    refused_before_the_call(battery(Some(500)), sentence);
    let (client, _) = new_host_and_old_plugin();
    assert!(v2::Lamp::light(&client, &Context::background(), battery(None)).is_ok());
}

#[test]
fn an_advisory_field_passes_and_is_ignored() {
    let (client, boundary) = new_host_and_old_plugin();
    let request = v2::Light {
        reader: "someone".to_owned(),
        ..v2::Light::plain()
    };
    assert!(v2::Lamp::light(&client, &Context::background(), request).is_ok());
    assert_eq!(boundary.calls.load(Ordering::Relaxed), 1);
}

fn old_host_and_new_plugin(answer: v2::Lit) -> Result<v1::Lit> {
    let (boundary, opened) = plugin::<v2::LampKind, _>(NewLamp(answer), v1::VERSION);
    assert_eq!(opened.interface, 1);
    let request = v1::Light {
        bulbs: vec![v1::Bulb { number: 0 }],
        source: v1::Source::Battery { voltage: 9_000 },
    };
    v1::Lamp::light(&v1::Client::new(boundary, &opened), &Context::background(), request)
}

fn lit(outcome: v2::Outcome, draws: Option<u32>) -> v2::Lit {
    v2::Lit { outcome, draws }
}

#[test]
fn an_old_host_gets_no_newer_field_and_is_told_its_path() {
    let error = old_host_and_new_plugin(lit(v2::Outcome::Shines, Some(40))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert_eq!(error.message, "light.draws needs lamp 2, the other side speaks lamp 1");
}

#[test]
fn an_old_host_understands_a_new_plugin_that_answers_plainly() {
    let answer = old_host_and_new_plugin(lit(v2::Outcome::Shines, None)).unwrap();
    assert_eq!(answer.outcome, v1::Outcome::Shines);
}

#[test]
fn an_old_host_reads_a_new_word_as_unknown() {
    let answer = old_host_and_new_plugin(lit(v2::Outcome::Already, None)).unwrap();
    assert_eq!(answer.outcome, v1::Outcome::Unknown);
}

#[test]
fn two_new_sides_say_everything() {
    let (boundary, opened) = plugin::<v2::LampKind, _>(NewLamp(lit(v2::Outcome::Already, Some(40))), 2);
    let client = v2::Client::new(boundary, &opened);
    let mut request = v2::Light::plain();
    request.bulbs[0].colour = Some(v2::Colour { hue: 1 });
    request.source = v2::Source::Sun;
    let answer = v2::Lamp::light(&client, &Context::background(), request).unwrap();
    assert_eq!(answer, lit(v2::Outcome::Already, Some(40)));
    // A method that came later and that this driver does not have.
    let error = v2::Lamp::dim(&client, &Context::background(), v2::Dim { to: 1 }).unwrap_err();
    assert_eq!(error.message, "this lamp does not dim");
}

#[test]
fn a_method_that_no_version_has_is_unsupported() {
    let cx = Context::background();
    let error = v1::LampKind::dispatch(&OldLamp, &cx, "explode", &[0x80]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert_eq!(error.message, "lamp 1 has no method \"explode\"");
}

#[test]
fn a_body_that_is_no_request_is_broken_and_reaches_no_driver() {
    let cx = Context::background();
    let error = v1::LampKind::dispatch(&OldLamp, &cx, "light", &[0xc1]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Broken);
}

#[test]
fn a_schema_says_what_came_when() {
    let text = v2::schema().to_json().unwrap();
    assert!(text.contains("\"name\": \"dim\",\n      \"since\": 2"));
    assert!(text.contains("\"name\": \"Sun\",\n          \"since\": 2"));
    assert!(text.contains("\"advisory\": true"));
    assert!(text.ends_with("}\n"));
    assert!(!v1::schema().to_json().unwrap().contains("\"since\": 2"));
}

#[test]
fn a_driver_behind_an_arc_is_a_driver() {
    let shared: Arc<dyn v2::Lamp> = Arc::new(NewLamp(lit(v2::Outcome::Shines, None)));
    let answer = v2::Lamp::light(&shared, &Context::background(), v2::Light::plain()).unwrap();
    assert_eq!(answer.outcome, v2::Outcome::Shines);
}
