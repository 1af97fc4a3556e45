//! The entropy device.

use super::{Mmio, Report};
use crate::bare::Identity;
use virtio_drivers::device::rng::VirtIORng;

/// Draws from it.
pub fn check(transport: Mmio, report: &mut Report) {
    let Some(mut rng) = report.worked("it starts", VirtIORng::<Identity, _>::new(transport)) else { return };
    let mut draws = [[0_u8; 64]; 3];
    for draw in &mut draws {
        let got = rng.request_entropy(draw);
        report.check("a request is filled", got == Ok(draw.len()));
    }
    report.check("no draw is like another", draws[0] != draws[1] && draws[1] != draws[2] && draws[0] != draws[2]);
    let ones: u32 = draws.iter().flatten().map(|byte| byte.count_ones()).sum();
    // 1,536 bits; ten standard deviations are 196.
    report.check("half of the bits are set", (768 - 196..768 + 196).contains(&ones));

    let mut large = [0_u8; 6000];
    let got = rng.request_entropy(&mut large).unwrap_or(0);
    report.check("a large request gets something", (1..=large.len()).contains(&got));
    report.check("and no more is written than is said", large[got..].iter().all(|&byte| byte == 0));
}
