//! Memory of this process that will be needed throughout, had from the kernel at once: a page fault for each of its pages takes longer.

use rustix::mm::{Advice, madvise};
use std::ops::Range;

/// Has all pages of these addresses in memory, before they are written. Where that cannot be done, they come when they are touched.
pub fn bring_in(addresses: &Range<usize>) {
    advise(addresses, Advice::LinuxPopulateWrite);
}

/// Has the pages of these addresses come as large ones, where the kernel knows such and there is room for one.
pub fn prefer_large_pages(addresses: &Range<usize>) {
    advise(addresses, Advice::LinuxHugepage);
}

fn advise(addresses: &Range<usize>, advice: Advice) {
    let page = rustix::param::page_size();
    let (start, end) = (addresses.start / page * page, addresses.end.next_multiple_of(page));
    // SAFETY: neither advice changes a byte, whatever lies there and whoever uses it; the kernel refuses what is not mapped. It need not be able to follow it.
    let _ = unsafe { madvise(std::ptr::without_provenance_mut(start), end - start, advice) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::backend::ram::{MappedRam, pages_loaded};
    use emu::bus::Ram;
    use std::fs;

    /// Memory that nobody has touched.
    fn untouched(bytes: u64) -> Ram {
        Ram::new(Box::new(MappedRam::zeroed(bytes).unwrap()))
    }

    fn addresses(bytes: &[u8]) -> Range<usize> {
        bytes.as_ptr().addr()..bytes.as_ptr().addr() + bytes.len()
    }

    #[test]
    fn what_is_brought_in_is_there_and_what_is_next_to_it_is_not() {
        const LENGTH: usize = 1 << 20;
        let ram = untouched(4 * LENGTH as u64);
        let (memory, page) = (ram.bytes(), rustix::param::page_size());
        // From within a page to within another.
        bring_in(&addresses(&memory[LENGTH + 10..2 * LENGTH + 10]));
        let loaded = |from: usize, length: usize| pages_loaded(&memory[from..from + length]).map(|pages| pages * 4096);
        assert_eq!(loaded(LENGTH, LENGTH + page), Some((LENGTH + page) as u64));
        assert_eq!((loaded(0, LENGTH), loaded(2 * LENGTH + page, LENGTH)), (Some(0), Some(0)));
        assert!(memory.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_not_mapped_stays_so() {
        bring_in(&(0..1 << 20));
        prefer_large_pages(&(0..1 << 20));
    }

    #[test]
    fn all_pages_of_the_addresses_may_be_large_ones() {
        if !fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap() {
            return;
        }
        let memory = untouched(8 << 20);
        let whole = addresses(memory.bytes());
        let all = whole.start + (2 << 20) + 10..whole.end - (1 << 20) - 10;
        prefer_large_pages(&all);
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut within = false;
        let mut advised = Vec::new();
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let number = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(start, end)| Some((number(start)?, number(end)?))) {
                within = start < all.end && all.start < end;
                if within {
                    advised.push((start..end, false));
                }
            } else if within && line.starts_with("VmFlags:") {
                advised.last_mut().unwrap().1 = line.split(' ').any(|flag| flag == "hg");
            }
        }
        let page = rustix::param::page_size();
        let large: Vec<_> = advised.into_iter().filter(|(_, large)| *large).map(|(range, _)| range).collect();
        assert_eq!(large, vec![all.start / page * page..all.end.next_multiple_of(page); 1]);
    }
}
