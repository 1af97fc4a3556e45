//! The block device. Its disk holds the pattern in every sector.

use super::{Mmio, Report};
use crate::bare::Identity;
use alloc::vec;
use alloc::vec::Vec;
use virtio_drivers::device::blk::{BlkReq, BlkResp, RespStatus, SECTOR_SIZE, VirtIOBlk};

/// Requests in flight at a time.
const DEPTH: usize = 5;

/// What sector `number` holds.
fn pattern(number: usize) -> Vec<u8> {
    (0..SECTOR_SIZE).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// What nobody has written before.
fn other(number: usize) -> Vec<u8> {
    (0..SECTOR_SIZE).map(|at| !(number * 13 + at) as u8).collect()
}

/// Reads all of it, and writes if it may.
pub fn check(transport: Mmio, report: &mut Report) {
    let Some(mut blk) = report.worked("it starts", VirtIOBlk::<Identity, _>::new(transport)) else { return };
    let sectors = blk.capacity() as usize;
    report.check("it has sectors", sectors >= 16);

    let mut id = [0; 20];
    let length = blk.device_id(&mut id);
    report.check("it tells its name", length.is_ok_and(|length| length > 0));

    let mut sector = vec![0; SECTOR_SIZE];
    let all = (0..sectors).all(|number| blk.read_blocks(number, &mut sector).is_ok() && sector == pattern(number));
    report.check("every sector holds what it must", all);
    let mut large = vec![0; 8 * SECTOR_SIZE];
    let read = blk.read_blocks(3, &mut large);
    report
        .check("eight sectors at once", read.is_ok() && large.chunks(SECTOR_SIZE).zip(3..).all(|(found, number)| found == pattern(number)));
    report.check("the sector behind the last is an error", blk.read_blocks(sectors, &mut sector).is_err());
    report.check("and so is one that begins on the disk", blk.read_blocks(sectors - 1, &mut large).is_err());
    report.check("and one at the end of all numbers", blk.read_blocks(usize::MAX, &mut sector).is_err());
    report.check("it works on after errors", blk.read_blocks(1, &mut sector).is_ok() && sector == pattern(1));

    if blk.readonly() {
        report.check("it is not written", blk.write_blocks(2, &other(2)).is_err());
        report.check("and nothing has changed", blk.read_blocks(2, &mut sector).is_ok() && sector == pattern(2));
        return;
    }
    for number in [0, 7, sectors - 1] {
        let written = blk.write_blocks(number, &other(number));
        report.check("a sector is written", written.is_ok() && blk.read_blocks(number, &mut sector).is_ok() && sector == other(number));
    }
    report.check("its neighbour is as it was", blk.read_blocks(8, &mut sector).is_ok() && sector == pattern(8));
    report.check("writing behind the end is an error", blk.write_blocks(sectors, &other(0)).is_err());
    report.check("it is flushed", blk.flush().is_ok());
    in_flight(&mut blk, report);
}

/// Several requests are made available before any of them is looked at, and each is completed once, in an order that is the device's own.
fn in_flight(blk: &mut VirtIOBlk<Identity, Mmio>, report: &mut Report) {
    let mut requests: [BlkReq; DEPTH] = Default::default();
    let mut responses: [BlkResp; DEPTH] = Default::default();
    let mut buffers = vec![vec![0; SECTOR_SIZE]; DEPTH];
    let mut tokens = [0; DEPTH];
    for (at, token) in tokens.iter_mut().enumerate() {
        // SAFETY: the buffers live, and are not looked at, until the request is completed below.
        let submitted = unsafe { blk.read_blocks_nb(10 + at, &mut requests[at], &mut buffers[at], &mut responses[at]) };
        let Some(submitted) = report.worked("a request is made available", submitted) else { return };
        *token = submitted;
    }
    for _ in 0..DEPTH {
        let token = loop {
            match blk.peek_used() {
                Some(token) => break token,
                None => core::hint::spin_loop(),
            }
        };
        let found = tokens.iter().position(|&other| other == token);
        report.check("one of them is completed", found.is_some());
        let Some(at) = found else { return };
        // SAFETY: these are the buffers that the request was made with.
        let completed = unsafe { blk.complete_read_blocks(token, &requests[at], &mut buffers[at], &mut responses[at]) };
        let right = completed.is_ok() && responses[at].status() == RespStatus::OK && buffers[at] == pattern(10 + at);
        report.check("it holds its own sector", right);
    }
    report.check("no more is completed", blk.peek_used().is_none());
}
