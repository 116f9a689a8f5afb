//! Whether a file is a whole shared library for this machine, judged without loading it.
//!
//! The system's loader believes what stands in the headers: a file that is cut short kills the
//! process by SIGBUS, a wrong address by SIGSEGV. A linker writes most facts twice, once for the
//! loader (program headers, dynamic section) and once for tools (section headers), so comparing both
//! finds damage that either alone would hide.

use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ET_DYN, FileHeader64, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_GNU_PROPERTY,
    PT_GNU_RELRO, PT_GNU_STACK, PT_LOAD, PT_NOTE, PT_NULL, PT_PHDR, PT_TLS, ProgramHeader64, SHF_ALLOC, SHF_EXECINSTR,
    SHF_TLS, SHF_WRITE, SHT_NOBITS, SHT_PROGBITS, SectionHeader64,
};
use object::read::elf::{FileHeader, SectionHeader, SectionTable};

use crate::refusal::{Fault, Problem};

mod dynamic;

type Header = FileHeader64<LE>;
type Segment = ProgramHeader64<LE>;
type Section = SectionHeader64<LE>;

/// Where the class, the byte order and the system stand in the first 16 bytes (elf(5)).
const EI_CLASS: usize = 4;
const EI_DATA: usize = 5;
const EI_OSABI: usize = 7;

/// A mapping larger than this is no driver but a flipped bit.
const MAX_SPAN: u64 = 1 << 32;
/// How far a segment may reach beyond its last section: a linker's padding.
const PADDING: u64 = 0x1_0000;

/// Checks the file's bytes, and gives the content of the one section of that name.
pub(crate) fn section<'a>(bytes: &'a [u8], name: &str) -> Result<&'a [u8], Fault> {
    let header = header(bytes)?;
    let segments = header.program_headers(LE, bytes).map_err(damaged)?;
    let sections = header.sections(LE, bytes).map_err(damaged)?;
    check_segments(bytes, segments)?;
    for section in sections
        .iter()
        .filter(|section| section.sh_flags(LE) & u64::from(SHF_ALLOC) != 0)
    {
        check_section(section, segments)?;
    }
    check_spans(segments, &sections)?;
    check_special(segments, &sections)?;
    dynamic::check(bytes, segments, &sections)?;
    find(bytes, &sections, name)
}

fn find<'a>(bytes: &'a [u8], sections: &SectionTable<'a, Header>, name: &str) -> Result<&'a [u8], Fault> {
    let mut found = sections.iter().filter(|section| {
        sections
            .section_name(LE, section)
            .is_ok_and(|found| found == name.as_bytes())
    });
    let section = found.next().ok_or_else(|| {
        Fault::new(
            Problem::Manifest,
            format_args!("it has no section {name}, so it is no driver of Longshore"),
            "give the path of a driver's library, made with longshore_plugin::export!",
        )
    })?;
    if found.next().is_some() {
        return Err(Fault::new(
            Problem::Manifest,
            "it holds more than one manifest",
            "a library holds exactly one driver",
        ));
    }
    if section.sh_type(LE) != SHT_PROGBITS || section.sh_flags(LE) & u64::from(SHF_ALLOC) == 0 {
        return Err(damaged(format_args!("section {name} is of another sort")));
    }
    section.data(LE, bytes).map_err(damaged)
}

fn header(bytes: &[u8]) -> Result<&Header, Fault> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(Fault::new(
            Problem::NotLibrary,
            "it is no ELF file",
            "give the path of a driver's shared library (.so)",
        ));
    }
    let ident = bytes
        .get(..size_of::<Header>())
        .ok_or_else(|| damaged("it ends inside its header"))?;
    if ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB {
        return Err(other_machine("a 32-bit or big-endian machine"));
    }
    if ident[EI_OSABI + 1..16].iter().any(|byte| *byte != 0) {
        return Err(damaged("its first 16 bytes hold what they never do"));
    }
    if !matches!(ident[EI_OSABI], 0 | 3) {
        return Err(other_machine("another operating system"));
    }
    let header = Header::parse(bytes).map_err(damaged)?;
    let machine = header.e_machine(LE);
    if machine != NATIVE {
        return Err(other_machine(machine_name(machine)));
    }
    if header.e_type(LE) != ET_DYN {
        return Err(Fault::new(
            Problem::NotLibrary,
            "it is an ELF file but no shared library",
            "build the driver with crate-type cdylib",
        ));
    }
    let sizes = (header.e_ehsize(LE), header.e_phentsize(LE), header.e_shentsize(LE));
    let expected = (size_of::<Header>(), size_of::<Segment>(), size_of::<Section>());
    if (usize::from(sizes.0), usize::from(sizes.1), usize::from(sizes.2)) != expected
        || header.e_version(LE) != 1
        || header.e_entry(LE) != 0
        || header.e_flags(LE) != 0
    {
        return Err(damaged("its header has impossible sizes"));
    }
    Ok(header)
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const NATIVE: u16 = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };

fn machine_name(machine: u16) -> &'static str {
    match machine {
        3 => "x86 (32 bits)",
        40 => "arm (32 bits)",
        X86_64 => "x86_64",
        AARCH64 => "aarch64",
        243 => "riscv64",
        _ => "another machine",
    }
}

fn other_machine(which: &str) -> Fault {
    Fault::new(
        Problem::Architecture,
        format_args!("it is made for {which}, this host is {}", machine_name(NATIVE)),
        format!("build the driver for {}", std::env::consts::ARCH),
    )
}

fn damaged(what: impl std::fmt::Display) -> Fault {
    Fault::new(
        Problem::Damaged,
        format_args!("it is damaged ({what})"),
        "build, copy or install it again",
    )
}

fn check_segments(bytes: &[u8], segments: &[Segment]) -> Result<(), Fault> {
    let mut end = 0;
    for segment in segments {
        let kind = segment.p_type.get(LE);
        let known = [
            PT_NULL,
            PT_LOAD,
            PT_DYNAMIC,
            PT_NOTE,
            PT_PHDR,
            PT_TLS,
            PT_GNU_EH_FRAME,
            PT_GNU_STACK,
            PT_GNU_RELRO,
            PT_GNU_PROPERTY,
        ];
        if !known.contains(&kind) {
            return Err(damaged(format_args!("a program header of unknown type {kind:#x}")));
        }
        let Range { offset, file, .. } = Range::of(segment);
        if offset.checked_add(file).is_none_or(|end| end > bytes.len() as u64) {
            return Err(damaged("it is shorter than its headers say"));
        }
        if kind != PT_NULL && segment.p_paddr.get(LE) != segment.p_vaddr.get(LE) {
            return Err(damaged("a program header names two addresses"));
        }
        if kind == PT_LOAD {
            end = check_load(segment, end)?;
        }
    }
    match end {
        0 => Err(damaged("nothing of it is to be loaded")),
        _ => Ok(()),
    }
}

/// Where a segment lies, in the file and in memory.
#[derive(Clone, Copy)]
struct Range {
    offset: u64,
    file: u64,
    address: u64,
    memory: u64,
}

impl Range {
    fn of(segment: &Segment) -> Self {
        Self {
            offset: segment.p_offset.get(LE),
            file: segment.p_filesz.get(LE),
            address: segment.p_vaddr.get(LE),
            memory: segment.p_memsz.get(LE),
        }
    }

    fn holds(self, address: u64, size: u64) -> bool {
        address >= self.address
            && address
                .checked_add(size)
                .is_some_and(|end| end <= self.address.saturating_add(self.memory))
    }
}

/// Checks a loaded segment that must begin at or after `end`; gives its own end.
fn check_load(segment: &Segment, end: u64) -> Result<u64, Fault> {
    let Range {
        offset,
        file,
        address,
        memory,
    } = Range::of(segment);
    let align = segment.p_align.get(LE);
    let flags = segment.p_flags.get(LE);
    let sane = file <= memory
        && address >= end
        && address.checked_add(memory).is_some_and(|end| end < MAX_SPAN)
        && (0x1000..=0x20_0000).contains(&align)
        && align.is_power_of_two()
        && address % align == offset % align;
    if !sane {
        return Err(damaged("a segment lies where none can"));
    }
    let all = PF_R | PF_W | PF_X;
    if flags & !all != 0 || flags & PF_R == 0 || flags & (PF_W | PF_X) == PF_W | PF_X {
        return Err(damaged("a segment has rights that none has"));
    }
    Ok(address + memory)
}

/// A loaded section lies in a segment, at the same distance in the file and in memory, with exactly
/// the rights that it needs.
fn check_section(section: &Section, segments: &[Segment]) -> Result<(), Fault> {
    let (address, size, offset) = (section.sh_addr(LE), section.sh_size(LE), section.sh_offset(LE));
    let flags = section.sh_flags(LE);
    let in_file = section.sh_type(LE) != SHT_NOBITS;
    if size == 0 || (!in_file && flags & u64::from(SHF_TLS) != 0) {
        return Ok(());
    }
    let home = loads(segments)
        .find(|segment| Range::of(segment).holds(address, size))
        .ok_or_else(|| damaged("a section lies in no segment"))?;
    let range = Range::of(home);
    let shift = address - range.address;
    if in_file && (offset.checked_sub(range.offset) != Some(shift) || shift + size > range.file) {
        return Err(damaged("a section and its segment lie at different places of the file"));
    }
    let rights = home.p_flags.get(LE);
    for (needs, right) in [(SHF_WRITE, PF_W), (SHF_EXECINSTR, PF_X)] {
        let wanted = flags & u64::from(needs) != 0;
        if wanted && rights & right == 0 {
            return Err(damaged("a section lacks the rights that it needs"));
        }
    }
    Ok(())
}

fn loads(segments: &[Segment]) -> impl Iterator<Item = &Segment> {
    segments.iter().filter(|segment| segment.p_type.get(LE) == PT_LOAD)
}

/// A segment ends where its last section does, but for a linker's padding, and has no right that no
/// section of it needs.
fn check_spans(segments: &[Segment], sections: &SectionTable<'_, Header>) -> Result<(), Fault> {
    for segment in loads(segments) {
        let range = Range::of(segment);
        let mut end = range.address;
        let mut needed = 0;
        for section in sections.iter() {
            let (address, size, flags) = (section.sh_addr(LE), section.sh_size(LE), section.sh_flags(LE));
            let thread_local = section.sh_type(LE) == SHT_NOBITS && flags & u64::from(SHF_TLS) != 0;
            if flags & u64::from(SHF_ALLOC) == 0 || thread_local || !range.holds(address, size) {
                continue;
            }
            end = end.max(address + size);
            needed |= flags;
        }
        if range.address + range.memory > end + PADDING {
            return Err(damaged("a segment reaches far beyond its sections"));
        }
        let rights = segment.p_flags.get(LE);
        if (rights & PF_W != 0 && needed & u64::from(SHF_WRITE) == 0)
            || (rights & PF_X != 0 && needed & u64::from(SHF_EXECINSTR) == 0)
        {
            return Err(damaged("a segment has rights that none of its sections needs"));
        }
    }
    Ok(())
}

/// The segments that are no mappings: stack, thread-local storage, what turns read-only.
fn check_special(segments: &[Segment], sections: &SectionTable<'_, Header>) -> Result<(), Fault> {
    let all = |kind: u32| segments.iter().filter(move |segment| segment.p_type.get(LE) == kind);
    let mut stacks = all(PT_GNU_STACK);
    match (stacks.next(), stacks.next()) {
        (Some(stack), None) if stack.p_flags.get(LE) & PF_X == 0 => {}
        _ => return Err(damaged("it asks for a stack that can be executed")),
    }
    for relro in all(PT_GNU_RELRO).map(Range::of) {
        // Some linkers round its end up to a page, beyond the segment's own end.
        let inside = loads(segments).map(Range::of).any(|load| {
            load.holds(relro.address, 0) && relro.memory <= load.address + load.memory + PADDING - relro.address
        });
        if !inside {
            return Err(damaged("what turns read-only lies outside of its segments"));
        }
        for name in [".data", ".bss"] {
            if let Some((_, section)) = sections.section_by_name(LE, name.as_bytes()) {
                let (address, size) = (section.sh_addr(LE), section.sh_size(LE));
                if size > 0 && address < relro.address.saturating_add(relro.memory) && relro.address < address + size {
                    return Err(damaged(format_args!("{name} would turn read-only")));
                }
            }
        }
    }
    let locals: Vec<_> = sections
        .iter()
        .filter(|section| section.sh_flags(LE) & u64::from(SHF_TLS) != 0)
        .map(|section| {
            (
                section.sh_addr(LE),
                section.sh_size(LE),
                section.sh_type(LE) != SHT_NOBITS,
            )
        })
        .collect();
    let ranges: Vec<_> = all(PT_TLS).map(Range::of).collect();
    let (begin, file_end, end) = (
        locals.iter().map(|local| local.0).min(),
        locals
            .iter()
            .filter(|local| local.2)
            .map(|local| local.0 + local.1)
            .max(),
        locals.iter().map(|local| local.0 + local.1).max(),
    );
    let same = match (ranges.as_slice(), begin.zip(end)) {
        ([], None) => true,
        ([tls], Some((begin, end))) => {
            tls.address == begin
                && tls.file == file_end.unwrap_or(begin) - begin
                && (end - begin..=end - begin + 63).contains(&tls.memory)
        }
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(damaged("its thread-local storage is described in two ways"))
    }
}
