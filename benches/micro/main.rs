//! Small measurements of the parts, one file a subject: `cargo bench`, or `cargo bench -- SUBJECT`. README.md says how to compare two versions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement of something that fails would mean nothing")]

mod blocks;
mod decode;
mod dispatch;
mod guest;
mod p9;
mod packing;
mod settle;
mod snapshots;
mod tlb;
mod virtqueue;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    // Long enough for a figure within 2 % on a quiet machine, short enough that all of them take two minutes.
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .without_plots()
        .configure_from_args();
    let subjects = [
        decode::measure,
        dispatch::measure,
        tlb::measure,
        blocks::measure,
        snapshots::measure,
        virtqueue::measure,
        p9::measure,
        packing::measure,
        settle::measure,
    ];
    subjects.iter().for_each(|measure| measure(&mut criterion));
    criterion.final_summary();
}
