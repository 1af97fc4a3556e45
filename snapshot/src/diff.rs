//! What differs between two snapshots.

use crate::index::Group;
use crate::pages::{GROUP_SIZE, PAGE_SIZE, PAGES_PER_GROUP, Space};
use crate::section::{SectionEntry, SectionName};
use crate::{Error, MachineId, ReadAt, Snapshot};
use std::collections::BTreeMap;
use std::fmt;

/// Which of the two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

/// All that differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The fields of the machine's identity that differ.
    pub fields: Vec<FieldDifference>,
    /// The sections that differ.
    pub sections: Vec<SectionDifference>,
    /// The pages that differ.
    pub pages: PageDifferences,
}

/// A field of the header that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// Its name.
    pub field: &'static str,
    /// Its value in the first snapshot.
    pub first: String,
    /// Its value in the second.
    pub second: String,
}

/// A section that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SectionDifference {
    /// It is in one snapshot only.
    OnlyIn {
        /// Which section.
        name: SectionName,
        /// Which snapshot.
        side: Side,
    },
    /// Its version or critical flag differ, so its bytes mean different things.
    Kind {
        /// The entry in the first snapshot.
        first: SectionEntry,
        /// The entry in the second.
        second: SectionEntry,
    },
    /// Its bytes differ.
    Body {
        /// Which section.
        name: SectionName,
        /// Bytes in the first snapshot.
        first_len: u32,
        /// Bytes in the second.
        second_len: u32,
        /// Where the first byte that differs is, or the end of the shorter one.
        offset: u32,
    },
}

/// The pages that differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageDifferences {
    /// How many.
    pub total: u64,
    /// The first of them, in ascending order: as many as were asked for.
    pub listed: Vec<PageDifference>,
}

/// A page that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageDifference {
    /// The memory that it is in.
    pub space: Space,
    /// Its address there.
    pub address: u64,
    /// Where in the page the first byte that differs is.
    pub offset: u16,
    /// Bytes in the page that differ.
    pub bytes: u16,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.sections.is_empty() && self.pages.total == 0
    }
}

/// Compares two snapshots and lists at most `limit` pages. Only groups of pages whose digests differ are read.
pub fn diff<A: ReadAt, B: ReadAt>(first: &Snapshot<A>, second: &Snapshot<B>, limit: usize) -> Result<Diff, Error> {
    Ok(Diff {
        fields: diff_fields(first.machine(), second.machine()),
        sections: diff_sections(first, second),
        pages: diff_pages(first, second, limit)?,
    })
}

/// The items of both sides in order of their keys, those of equal keys together.
fn pair_up<T: Copy, K: Ord>(
    first: impl IntoIterator<Item = T>,
    second: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> BTreeMap<K, [Option<T>; 2]> {
    let mut both: BTreeMap<K, [Option<T>; 2]> = BTreeMap::new();
    for item in first {
        both.entry(key(&item)).or_default()[0] = Some(item);
    }
    for item in second {
        both.entry(key(&item)).or_default()[1] = Some(item);
    }
    both
}

fn diff_fields(first: &MachineId, second: &MachineId) -> Vec<FieldDifference> {
    let describe = |machine: &MachineId| {
        [("model", machine.model.to_string()), ("ram_size", machine.ram_size.to_string()), ("devices", format!("{:#x}", machine.devices))]
    };
    let pairs = describe(first).into_iter().zip(describe(second));
    pairs.filter(|(first, second)| first != second).map(|((field, first), (_, second))| FieldDifference { field, first, second }).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a section has at most as many bytes as its length of 32 bits says")]
fn diff_sections<A: ReadAt, B: ReadAt>(first: &Snapshot<A>, second: &Snapshot<B>) -> Vec<SectionDifference> {
    let both = pair_up(first.sections_with_bodies(), second.sections_with_bodies(), |(entry, _)| entry.name);
    let differences = both.into_iter().filter_map(|(name, sides)| match sides {
        [None, None] => None,
        [Some(_), None] => Some(SectionDifference::OnlyIn { name, side: Side::First }),
        [None, Some(_)] => Some(SectionDifference::OnlyIn { name, side: Side::Second }),
        [Some((first, _)), Some((second, _))] if (first.version, first.critical) != (second.version, second.critical) => {
            Some(SectionDifference::Kind { first: *first, second: *second })
        }
        [Some((first, first_body)), Some((second, second_body))] => (first_body != second_body).then(|| {
            let equal = first_body.iter().zip(second_body).take_while(|(first, second)| first == second).count();
            SectionDifference::Body { name, first_len: first.len, second_len: second.len, offset: equal as u32 }
        }),
    });
    differences.collect()
}

#[expect(clippy::cast_possible_truncation, reason = "offsets in a page")]
fn diff_pages<A: ReadAt, B: ReadAt>(first: &Snapshot<A>, second: &Snapshot<B>, limit: usize) -> Result<PageDifferences, Error> {
    let both = pair_up(first.groups(), second.groups(), |group| (group.space, group.number));
    let content = |group: Option<&Group>| group.map(|group| (group.present, group.digest));
    let mut differences = PageDifferences::default();
    let mut buffers = [Box::new([0; GROUP_SIZE]), Box::new([0; GROUP_SIZE])];
    for ((space, number), sides) in both {
        if content(sides[0]) == content(sides[1]) {
            continue;
        }
        let [first_bytes, second_bytes] = &mut buffers;
        first.read_group(space, u64::from(number), first_bytes)?;
        second.read_group(space, u64::from(number), second_bytes)?;
        let group_address = u64::from(number) * GROUP_SIZE as u64;
        for page in 0..PAGES_PER_GROUP {
            let range = page * PAGE_SIZE..(page + 1) * PAGE_SIZE;
            let pairs = first_bytes[range.clone()].iter().zip(&second_bytes[range.clone()]);
            let mut differing = pairs.enumerate().filter(|(_, (first, second))| first != second).map(|(offset, _)| offset);
            let Some(offset) = differing.next() else { continue };
            differences.total += 1;
            if differences.listed.len() < limit {
                let bytes = 1 + differing.count();
                let address = group_address + range.start as u64;
                differences.listed.push(PageDifference { space, address, offset: offset as u16, bytes: bytes as u16 });
            }
        }
    }
    Ok(differences)
}

impl fmt::Display for Diff {
    /// A line for each difference; nothing if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for FieldDifference { field, first, second } in &self.fields {
            writeln!(f, "{field}: {first} / {second}")?;
        }
        for section in &self.sections {
            match section {
                SectionDifference::OnlyIn { name, side: Side::First } => writeln!(f, "section {name}: only in the first")?,
                SectionDifference::OnlyIn { name, side: Side::Second } => writeln!(f, "section {name}: only in the second")?,
                SectionDifference::Kind { first, second } => {
                    let critical = |entry: &SectionEntry| if entry.critical { ", critical" } else { "" };
                    let name = first.name;
                    writeln!(f, "section {name}: version {}{} / {}{}", first.version, critical(first), second.version, critical(second))?;
                }
                SectionDifference::Body { name, first_len, second_len, offset } => {
                    writeln!(f, "section {name}: {first_len} / {second_len} bytes, different from byte {offset} on")?;
                }
            }
        }
        let PageDifferences { total, listed } = &self.pages;
        for PageDifference { space, address, offset, bytes } in listed {
            writeln!(f, "page {address:#x} of {space}: {bytes} bytes differ, the first at {offset:#x}")?;
        }
        match total - listed.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "and {more} more pages, {total} in all"),
        }
    }
}
