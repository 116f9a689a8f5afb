#!/usr/bin/env python3
"""Writes root file system archives that try to get out, one a case, and a list of what must happen.

usage: hostile.py DIRECTORY SENTINEL

SENTINEL is the path of a folder outside the data root that no archive may reach. For each case NAME there is
DIRECTORY/NAME.tar (or .tar.gz), and one line on standard output:

    NAME<TAB>FILE<TAB>reject|contain|either<TAB>what it is

`reject` is refused whole, `contain` succeeds with its effect inside the root, `either` may do one of both.
"""
import gzip
import io
import struct
import sys
import tarfile
from pathlib import Path

OUT, SENTINEL = Path(sys.argv[1]), sys.argv[2]
CASES = []


def member(name, kind=tarfile.REGTYPE, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(data), 0o644
    if kind == tarfile.DIRTYPE:
        info.mode = 0o755
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def folder(name, **fields):
    return member(name, tarfile.DIRTYPE, **fields)


def link(name, target, **fields):
    return member(name, tarfile.SYMTYPE, linkname=target, **fields)


def hard(name, target, **fields):
    return member(name, tarfile.LNKTYPE, linkname=target, **fields)


def archive(members, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def case(name, outcome, what, content, suffix="tar"):
    if isinstance(content, list):
        content = archive(content)
    path = OUT / f"{name}.{suffix}"
    path.write_bytes(content)
    CASES.append((name, path, outcome, what))


def patched(members, offset, value):
    """The archive with bytes of its first header overwritten and that header's checksum mended."""
    raw = bytearray(archive(members, tarfile.GNU_FORMAT))
    raw[offset : offset + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


def names():
    evil = b"out"
    for name, path in {
        "dotdot": "../evil", "slash-dotdot": "/../evil", "inner-dotdot": "a/../../evil", "bare-dotdot": "..",
    }.items():
        case(f"name-{name}", "reject", f"an entry named {path}", [member(path, data=evil)])
    case("name-absolute", "contain", "an absolute name", [member(SENTINEL + "/evil", data=evil)])
    case("name-long", "either", "a name of 70,000 bytes", [member("d/" * 35000 + "f", data=evil)])
    case("name-deep", "either", "5,000 folders deep", [member("d/" * 5000 + "f", data=evil)])
    case("name-bytes", "either", "a name that is not UTF-8", archive([member("x" * 3, data=evil)], tarfile.GNU_FORMAT).replace(b"xxx", b"\xff\xfe\x80", 1))


def links():
    case("link-to-root", "contain", "a symlink to / and an entry through it",
         [link("out", "/"), member("out" + SENTINEL + "/evil", data=b"x")])
    case("link-to-sentinel", "contain", "a symlink to the sentinel and an entry through it",
         [link("out", SENTINEL), member("out/evil", data=b"x")])
    case("link-two-hops", "contain", "two symlinks and an entry through both",
         [link("a", SENTINEL), link("b", "a"), member("b/evil", data=b"x")])
    case("link-relative", "contain", "a relative symlink far up",
         [link("up", "../" * 40 + SENTINEL.lstrip("/")), member("up/evil", data=b"x")])
    case("link-then-folder", "either", "a symlink, then a folder of its name with a mode",
         [link("d", SENTINEL), folder("d", mode=0o777)])
    case("link-proc", "contain", "a symlink into /proc/self/root",
         [link("p", "/proc/self/root" + SENTINEL), member("p/evil", data=b"x")])
    case("hard-outside", "reject", "a hardlink to a host file", [hard("h", SENTINEL + "/keep")])
    case("hard-dotdot", "reject", "a hardlink with ..", [hard("h", "../../../../.." + SENTINEL + "/keep")])
    case("hard-folder", "reject", "a hardlink to a folder", [folder("d"), hard("h", "d")])
    case("hard-itself", "reject", "a hardlink to itself", [hard("h", "h")])
    case("hard-later", "reject", "a hardlink to a later entry", [hard("h", "later"), member("later", data=b"x")])
    case("hard-through-link", "either", "a hardlink through a symlink to the sentinel",
         [link("s", SENTINEL), hard("h", "s/keep"), member("h", data=b"overwritten")])
    case("hard-replaced", "contain", "an entry that replaces a hardlink",
         [member("a", data=b"first"), hard("b", "a"), member("b", data=b"second")])


def whiteouts():
    case("wh-dotdot", "reject", "a whiteout of ..", [member(".wh..")])
    case("wh-dot-dot-dot", "reject", "a whiteout of ...", [member(".wh...")])
    case("wh-bare", "reject", "a whiteout of nothing", [member(".wh.")])
    case("wh-through-link", "contain", "a whiteout whose parent is a symlink to the sentinel",
         [link("s", SENTINEL), member("s/.wh.keep")])
    case("wh-opaque-payload", "either", "an opaque mark with content", [folder("d"), member("d/.wh..wh..opq", data=b"payload")])
    case("wh-opaque-folder", "either", "an opaque mark that is a folder", [folder("d"), folder("d/.wh..wh..opq")])


def attributes():
    marks = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y",
             "SCHILY.xattr.trusted.overlay.redirect": SENTINEL, "SCHILY.xattr.security.selinux": "x:y:z"}
    case("xattr-overlay", "contain", "overlay's own xattrs", [folder("d", pax_headers=marks), member("d/f", data=b"x")])
    many = {f"SCHILY.xattr.user.n{number}": "v" for number in range(5000)}
    case("xattr-many", "either", "5,000 xattrs", [member("f", data=b"x", pax_headers=many)])
    case("xattr-large", "either", "an xattr of 70,000 bytes", [member("f", data=b"x", pax_headers={"SCHILY.xattr.user.big": "v" * 70000})])
    case("device-zero", "reject", "a character device 0:0", [member("w", tarfile.CHRTYPE, devmajor=0, devminor=0)])
    case("device-null", "contain", "a device and a FIFO", [member("null", tarfile.CHRTYPE, devmajor=1, devminor=3), member("pipe", tarfile.FIFOTYPE)])


def sizes():
    one = [member("f", data=b"x")]
    case("size-negative", "reject", "a negative size", patched(one, 124, b"\xff" * 12))
    case("size-overflow", "reject", "a size beyond 64 bits", patched(one, 124, b"\x80" + b"\xff" * 11))
    case("size-huge", "reject", "8 EiB announced, nothing there", patched(one, 124, b"\x80" + b"\0" * 3 + struct.pack(">Q", 1 << 62)))
    case("size-junk", "reject", "a size that is no number", patched(one, 124, b"zzzzzzzzzzz\0"))
    case("size-pax", "reject", "a PAX size unlike the data", [member("f", data=b"x" * 10, pax_headers={"size": "99999999999999999999999"})])
    case("checksum", "reject", "a wrong checksum", archive(one, tarfile.GNU_FORMAT)[:148] + b"0000000\0" + archive(one, tarfile.GNU_FORMAT)[156:])
    case("truncated", "reject", "an archive cut in the middle of a file", archive([member("f", data=b"x" * 4096)])[:2048])
    case("not-a-tar", "reject", "text", b"this is not an archive\n" * 100)
    case("pax-record", "reject", "a PAX record with a wrong length", bad_pax(b"99 path=evil\n"))
    case("pax-nul", "either", "a PAX path with a zero byte", bad_pax(b"16 path=ev\0il/xx\n"[:16]))
    case("file-folder-file", "contain", "file, folder, file of one name: the last wins",
         [member("x", data=b"1"), folder("x"), member("x", data=b"3")])


def bad_pax(record):
    info, _ = member("./PaxHeaders/f", tarfile.XHDTYPE, record)
    raw = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    return raw + archive([member("f", data=b"x")], tarfile.USTAR_FORMAT)


def compression():
    whole = gzip.compress(archive([member("f", data=bytes(100000))]))
    case("gzip-truncated", "reject", "gzip cut short", whole[: len(whole) // 2], "tar.gz")
    case("gzip-crc", "reject", "gzip with a wrong CRC", whole[:-8] + b"\0\0\0\0" + whole[-4:], "tar.gz")
    case("gzip-garbage", "either", "gzip with garbage behind it", whole + b"garbage" * 100, "tar.gz")
    parts = archive([member("f", data=b"x")])
    case("gzip-members", "contain", "gzip of two members", gzip.compress(parts[:700]) + gzip.compress(parts[700:]), "tar.gz")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for group in (names, links, whiteouts, attributes, sizes, compression):
        group()
    for row in CASES:
        print(*row, sep="\t")


if __name__ == "__main__":
    main()
