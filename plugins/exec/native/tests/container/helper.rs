//! The helper process: one call over the driver's service, on a socket that is its standard input.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use longshore_exec_native::Native;
use longshore_plugin::driver::{Kind, Open, Opened};
use longshore_plugin::exec::ExecKind;
use longshore_plugin::serve::Static;
use longshore_plugin::types::Bytes;
use longshore_plugin::wire::{Call, Channel, Envelope, HandleKind, Message, Method, OPEN, decode, encode};
use longshore_plugin::{Error, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

pub(crate) const ARGUMENT: &str = "--helper";

/// Longest message of these tests.
const LONGEST: usize = 128 * 1024;

fn send(socket: impl AsFd, head: &[u8], body: &[u8], fds: &[OwnedFd]) {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    let parts = [IoSlice::new(head), IoSlice::new(&[0]), IoSlice::new(body)];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL).expect("send");
}

fn receive(socket: impl AsFd) -> Option<(String, Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .ok()?
    .bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    bytes.truncate(length);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let body = bytes.split_off(end + 1);
    bytes.pop();
    Some((String::from_utf8(bytes).ok()?, body, fds))
}

/// Answers one call and returns.
pub(crate) fn serve() {
    let socket = std::io::stdin();
    let (name, body, fds) = receive(&socket).expect("a request");
    // Nothing of the tests' own may be inherited by a container's processes.
    match answer(&name, body, fds) {
        Ok(reply) => {
            let fds: Vec<OwnedFd> = reply.handles.into_iter().map(|(_, fd)| fd).collect();
            send(&socket, b"ok", &reply.body, &fds);
        }
        Err(error) => send(&socket, b"error", &encode(&error).expect("an error is encoded"), &[]),
    }
}

fn answer(name: &str, body: Vec<u8>, fds: Vec<OwnedFd>) -> Result<Message> {
    let service = Static::<Native, ExecKind>::new();
    let open = Envelope {
        deadline: 0,
        trace: vec![],
        request: Open {
            root: None,
            root_path: Bytes::parse(b"/".to_vec())?,
            options: vec![],
            host_interface: 0,
        },
    };
    let call = |instance, method: &Method, request| {
        service.call(
            Call {
                instance,
                id: 1,
                method,
            },
            request,
        )
    };
    let opened: Opened = decode(&call(0, &OPEN, Message::from_body(encode(&open)?))?.body)?;
    let methods = <ExecKind as Kind<Native>>::methods();
    let method = methods
        .iter()
        .find(|method| method.name == name)
        .ok_or_else(|| Error::unsupported(name))?;
    let handles = fds.into_iter().map(|fd| (HandleKind::Pipe, fd)).collect();
    call(opened.instance, method, Message { body, handles })
}

/// A channel whose every call is a process.
#[derive(Debug)]
pub(crate) struct Helpers;

impl Channel for Helpers {
    fn call(&self, call: Call<'_>, request: Message) -> Result<Message> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let mut helper = Command::new(std::env::current_exe().unwrap())
            .arg(ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let fds: Vec<OwnedFd> = request.handles.into_iter().map(|(_, fd)| fd).collect();
        send(&ours, call.method.name.as_bytes(), &request.body, &fds);
        drop(fds);
        let reply = receive(&ours);
        helper.wait().unwrap();
        match reply {
            Some((word, body, fds)) if word == "ok" => Ok(Message {
                body,
                handles: fds.into_iter().map(|fd| (HandleKind::Device, fd)).collect(),
            }),
            Some((_, body, _)) => Err(decode::<Error>(&body)?),
            None => Err(Error::broken("the helper died")),
        }
    }

    fn cancel(&self, _: u64, _: u64) {}

    fn close(&self, _: u64) {}
}
