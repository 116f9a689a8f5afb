//! The dynamic section: what the system's loader follows without asking.

use object::LittleEndian as LE;
use object::elf::{
    DT_FINI_ARRAY, DT_GNU_HASH, DT_INIT_ARRAY, DT_JMPREL, DT_RELA, DT_STRTAB, DT_SYMTAB, DT_VERNEED, DT_VERSYM, Dyn64,
    PT_DYNAMIC,
};
use object::pod::slice_from_all_bytes;
use object::read::elf::{SectionHeader, SectionTable};

use super::{Header, Segment, damaged};
use crate::refusal::Fault;

/// Entries that name an address, and the section that lies there.
const ADDRESSES: [(u32, &str); 9] = [
    (DT_STRTAB, ".dynstr"),
    (DT_SYMTAB, ".dynsym"),
    (DT_GNU_HASH, ".gnu.hash"),
    (DT_RELA, ".rela.dyn"),
    (DT_JMPREL, ".rela.plt"),
    (DT_INIT_ARRAY, ".init_array"),
    (DT_FINI_ARRAY, ".fini_array"),
    (DT_VERSYM, ".gnu.version"),
    (DT_VERNEED, ".gnu.version_r"),
];

/// Checks that there is one dynamic section and that its addresses are those of the sections.
pub(super) fn check(bytes: &[u8], segments: &[Segment], sections: &SectionTable<'_, Header>) -> Result<(), Fault> {
    let mut dynamics = segments.iter().filter(|segment| segment.p_type.get(LE) == PT_DYNAMIC);
    let (Some(segment), None) = (dynamics.next(), dynamics.next()) else {
        return Err(damaged("it has no dynamic section, or several"));
    };
    let Some((_, section)) = sections.section_by_name(LE, b".dynamic") else {
        return Err(damaged("it has no section .dynamic"));
    };
    let place = (
        segment.p_offset.get(LE),
        segment.p_vaddr.get(LE),
        segment.p_filesz.get(LE),
    );
    if place != (section.sh_offset(LE), section.sh_addr(LE), section.sh_size(LE)) {
        return Err(damaged("its dynamic section is described in two ways"));
    }
    let data = section.data(LE, bytes).map_err(damaged)?;
    let entries =
        slice_from_all_bytes::<Dyn64<LE>>(data).map_err(|()| damaged("its dynamic section has half an entry"))?;
    for (tag, name) in ADDRESSES {
        let entry = entries.iter().find(|entry| entry.d_tag.get(LE) == u64::from(tag));
        let section = sections
            .section_by_name(LE, name.as_bytes())
            .map(|(_, section)| section);
        match (entry, section) {
            (None, None) => {}
            (Some(entry), Some(section)) if entry.d_val.get(LE) == section.sh_addr(LE) => {}
            // An empty table may be left out on either side.
            (None, Some(section)) if section.sh_size(LE) == 0 => {}
            _ => return Err(damaged(format_args!("its dynamic section and {name} differ"))),
        }
    }
    Ok(())
}
