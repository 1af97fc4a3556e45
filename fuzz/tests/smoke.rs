//! Each target over its seeds, and over what some thousand changes make of them. The same every time; `make fuzz` looks further.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use fuzz::Target;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Changed inputs for each target.
const CHANGED: u32 = 600;
/// Longest input.
const LONGEST: usize = 2048;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// One of `seeds` with a few changes.
fn change(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 => input.insert(at, random.next() as u8),
            1 => input.truncate(at),
            2 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            3 => {
                let noise = random.next().to_le_bytes();
                input.splice(at..at, noise[..random.below(8)].iter().copied());
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = if random.below(2) == 0 { random.next() as u8 } else { *byte ^ 1 << random.below(8) };
                }
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn feed(target: &Target, input: &[u8]) {
    let unharmed = catch_unwind(AssertUnwindSafe(|| target.run(input))).is_ok();
    assert!(
        unharmed,
        "the target {} is harmed by {}",
        target.name,
        input.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    );
}

fn smoke(name: &str) {
    let target = Target::ALL.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(name);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| feed(target, seed));
    let mut random = Random(1);
    for _ in 0..CHANGED {
        feed(target, &change(&seeds, &mut random));
    }
}

macro_rules! smoke {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name));
        })*

        #[test]
        fn every_target_is_fed() {
            assert_eq!(Target::ALL.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

smoke!(walk cpu devices p9 snapshot restore boot payload net);

/// A guest that never opens a stream feeds nothing that is behind one.
#[test]
fn streams_of_the_network_are_opened() {
    let open: usize = seeds("net").iter().map(|seed| fuzz::net::talk(seed)).sum();
    assert!(open >= 3, "{open} streams");
}
