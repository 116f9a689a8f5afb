#!/usr/bin/env python3
"""Runs a command on a terminal of its own and types at it.

usage: terminal.py ROWSxCOLUMNS SCRIPT COMMAND...

SCRIPT has one step a line: `expect TEXT`, `send TEXT` (with an end of line), `keys HEX...` (raw bytes),
`resize ROWSxCOLUMNS`, `eof`. All that the command printed goes to standard output; the exit code is the
command's, or 99 when a step did not come true within 30 seconds.
"""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

LIMIT = 30


def set_size(fd, text):
    rows, columns = (int(number) for number in text.split("x"))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Session:
    def __init__(self, fd):
        self.fd, self.seen, self.all, self.open = fd, b"", b"", True

    def read(self, wait):
        if not self.open or not select.select([self.fd], [], [], wait)[0]:
            return
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.open = bool(data)
        self.seen += data
        self.all += data

    def expect(self, text):
        end = time.monotonic() + LIMIT
        while text not in self.seen:
            if time.monotonic() > end or not self.open:
                return False
            self.read(0.2)
        self.seen = self.seen.split(text, 1)[1]
        return True

    def drain(self):
        end = time.monotonic() + LIMIT
        while self.open and time.monotonic() < end:
            self.read(0.2)


def step(session, pid, line):
    verb, _, rest = line.partition(" ")
    if verb == "expect":
        return session.expect(rest.encode())
    if verb == "send":
        os.write(session.fd, rest.encode() + b"\n")
    elif verb == "keys":
        os.write(session.fd, bytes.fromhex(rest))
    elif verb == "resize":
        set_size(session.fd, rest)
        os.kill(pid, signal.SIGWINCH)
    elif verb == "eof":
        os.write(session.fd, b"\x04")
    else:
        raise SystemExit(f"terminal.py: unknown step {line!r}")
    return True


def main():
    size, script, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    pid, fd = pty.fork()
    if pid == 0:
        # The size is there before the command first asks for it.
        set_size(0, size)
        os.execvp(command[0], command)
    session = Session(fd)
    failed = next((line for line in script.splitlines() if line.strip() and not step(session, pid, line.strip())), None)
    if failed is None:
        session.drain()
    sys.stdout.buffer.write(session.all)
    sys.stdout.flush()
    if failed is not None or session.open:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(f"\nterminal.py: did not come true: {failed or 'end of the command'}", file=sys.stderr)
        sys.exit(99)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)


if __name__ == "__main__":
    main()
