//! What the rogue tries when a layer's name asks for it, and what no sandbox may let it have.

use std::hint::black_box;
use std::io::{Error, Result};
use std::time::SystemTime;
use std::{env, fs, net, process, thread};

/// Does what the name's first word says; `None` when that is no misdeed.
pub(crate) fn attempt(name: &str) -> Option<Result<()>> {
    let (word, _) = name.split_once('-')?;
    Some(match word {
        "loop" => spin(),
        "exit" => process::exit(3),
        "abort" => process::abort(),
        "allocate" => allocate(),
        "nest" => {
            black_box(nest(0));
            Ok(())
        }
        "read" => fs::read("/etc/passwd").map(drop),
        "climb" => fs::read("../../../../../../etc/passwd").map(drop),
        "list" => fs::read_dir("/").map(drop),
        "write" => fs::write("/tmp/the-rogue-was-here", "x"),
        "environment" => env::var("PATH").map(drop).map_err(Error::other),
        "arguments" => env::args().next().map(drop).ok_or_else(|| Error::other("none")),
        "listen" => net::TcpListener::bind("127.0.0.1:0").map(drop),
        "connect" => net::TcpStream::connect("127.0.0.1:1").map(drop),
        "thread" => thread::Builder::new().spawn(|| ()).map(drop),
        "time" => {
            black_box(SystemTime::now());
            Ok(())
        }
        "leak" => leak(),
        "crowd" => crowd(),
        "program" => process::Command::new("/bin/true").status().map(drop),
        "secret" => fs::read("/etc/shadow").map(drop),
        "print" => {
            println!("the rogue was here");
            Ok(())
        }
        _ => return None,
    })
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// All descriptors that it gets, and keeps them.
fn leak() -> Result<()> {
    loop {
        std::mem::forget(fs::File::open("/dev/null")?);
    }
}

/// Threads without end, none of which ends.
fn crowd() -> Result<()> {
    loop {
        thread::Builder::new().spawn(|| {
            loop {
                thread::park();
            }
        })?;
    }
}

/// Ten gigabytes, if it gets them.
fn allocate() -> Result<()> {
    let mut kept = Vec::new();
    for _ in 0..640 {
        kept.push(black_box(vec![1_u8; 16 << 20]));
    }
    drop(kept);
    Ok(())
}

#[expect(unconditional_recursion, reason = "the misdeed")]
fn nest(depth: u64) -> u64 {
    black_box(nest(black_box(depth) + 1)) + 1
}
