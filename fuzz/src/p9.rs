//! 9P messages: any session is answered within its bounds, and goes on after a save and a restore as if nothing had been.

use crate::input::Input;
use devices::p9::{Access, MemoryFs, P9};
use driver::reencode;

#[path = "../../devices/tests/driver/mod.rs"]
#[allow(missing_docs, reason = "not of this crate")]
pub mod driver;

const HEADER: usize = 7;
const RLERROR: u8 = 7;

/// A field of a message.
#[derive(Clone, Copy)]
enum Field {
    Byte,
    Fid,
    Word,
    Long,
    Name,
    Names,
    Data,
}

/// Types of messages and their fields, as Linux's v9fs sends them.
const MESSAGES: &[(u8, &[Field])] = {
    use Field::{Byte, Data, Fid, Long, Name, Names, Word};
    &[
        (8, &[Fid]),
        (12, &[Fid, Word]),
        (14, &[Fid, Name, Word, Word, Word]),
        (16, &[Fid, Name, Name, Word]),
        (18, &[Fid, Name, Word, Word, Word, Word]),
        (20, &[Fid, Fid, Name]),
        (22, &[Fid]),
        (24, &[Fid, Long]),
        (26, &[Fid, Word, Word, Word, Word, Long, Long, Long, Long, Long]),
        (30, &[Fid, Fid, Name]),
        (32, &[Fid, Name, Long, Word]),
        (40, &[Fid, Long, Word]),
        (50, &[Fid, Word]),
        (52, &[Fid, Byte, Word, Long, Long, Word, Name]),
        (54, &[Fid, Byte, Long, Long, Word, Name]),
        (70, &[Fid, Fid, Name]),
        (72, &[Fid, Name, Word, Word]),
        (74, &[Fid, Name, Fid, Name]),
        (76, &[Fid, Name, Word]),
        (100, &[Word, Name]),
        (102, &[Fid, Name, Name, Word]),
        (104, &[Fid, Fid, Name, Name, Word]),
        (108, &[Byte, Byte]),
        (110, &[Fid, Fid, Names]),
        (116, &[Fid, Long, Word]),
        (118, &[Fid, Long, Data]),
        (120, &[Fid]),
        (122, &[Fid]),
    ]
};

const NAMES: [&[u8]; 12] = [b"a", b"b", b"c", b"file", b"link", b"..", b".", b"", b"x/y", b"/", b"user.a", b"9P2000.L"];

fn name(input: &mut Input<'_>) -> Vec<u8> {
    match input.u8() {
        known @ 0..=0xdf => NAMES[usize::from(known) % NAMES.len()].to_vec(),
        0xff => vec![b'n'; usize::from(input.u16() & 0x3ff)],
        length => input.bytes(usize::from(length & 31)).to_vec(),
    }
}

fn put_counted(message: &mut Vec<u8>, bytes: &[u8]) {
    message.extend((bytes.len() as u16).to_le_bytes());
    message.extend(bytes);
}

/// A message of known type whose size is right and whose fields are the input's.
pub fn message(input: &mut Input<'_>) -> Vec<u8> {
    let (kind, fields) = input.pick(MESSAGES);
    let mut message = vec![0, 0, 0, 0, kind, 0x34, 0x12];
    for field in fields {
        match field {
            Field::Byte => message.push(input.u8()),
            Field::Fid => message.extend(
                match input.u8() {
                    none @ 0xf0.. => u32::MAX - u32::from(none & 1),
                    number => u32::from(number % 6),
                }
                .to_le_bytes(),
            ),
            Field::Word => message.extend((input.number() as u32).to_le_bytes()),
            Field::Long => message.extend(input.number().to_le_bytes()),
            Field::Name => put_counted(&mut message, &name(input)),
            Field::Names => {
                let count = input.u8() % 20;
                message.extend(u16::from(count).to_le_bytes());
                (0..count).for_each(|_| put_counted(&mut message, &name(input)));
            }
            Field::Data => {
                let length = u32::from(input.u8());
                message.extend(length.to_le_bytes());
                message.extend((0..length).map(|at| at as u8));
            }
        }
    }
    let size = message.len() as u32;
    message[..4].copy_from_slice(&size.to_le_bytes());
    message
}

/// A file system with something in it.
pub fn filesystem() -> MemoryFs {
    let mut fs = MemoryFs::new(1 << 20);
    fs.write_file("file", &[7; 5000]).unwrap();
    fs.write_file("a", b"contents").unwrap();
    fs
}

/// Session after session of messages: each begins with a byte that says how it comes.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let access = if input.bit() { Access::ReadOnly } else { Access::ReadWrite };
    let mut straight = P9::new("share", filesystem(), access).unwrap();
    let mut saved = P9::new("share", filesystem(), access).unwrap();
    // A session that is not begun gets nowhere; the input may begin another.
    for opening in [&b"\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\09P2000.L"[..], b"\x17\0\0\0\x68\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0"] {
        exchange(&mut straight, &mut saved, opening, 8192);
    }
    while !input.is_empty() {
        let how = input.u8();
        let room = match how >> 6 {
            0 => usize::from(input.u8()),
            1 => usize::from(input.u16()),
            _ => 1 << 14,
        };
        let mut message = message(&mut input);
        match how & 15 {
            0 => message = input.bytes(usize::from(how >> 4) * 8).to_vec(),
            1 => message[0] ^= 1 << (how >> 4 & 7),
            2 => message.truncate(usize::from(how >> 4)),
            3 => message.push(how),
            _ => {}
        }
        exchange(&mut straight, &mut saved, &message, room);
        if how & 0x30 == 0x30 {
            let fs = MemoryFs::restore(&reencode(&saved.filesystem().save())).expect("what was saved can be restored");
            saved = P9::restore(fs, access, &reencode(&saved.save())).expect("what was saved can be restored");
        }
    }
    assert_eq!(saved.save(), straight.save());
    assert_eq!(saved.filesystem().save(), straight.filesystem().save());
}

fn exchange(straight: &mut P9<MemoryFs>, saved: &mut P9<MemoryFs>, message: &[u8], room: usize) {
    let reply = straight.serve(message, room);
    assert_eq!(reply, saved.serve(message, room), "after a restore");
    assert!(reply.len() <= room, "{} bytes in room for {room}", reply.len());
    if reply.is_empty() {
        assert!(room < HEADER + 4, "an error would have fitted into {room}");
        return;
    }
    assert_eq!(reply[..4], (reply.len() as u32).to_le_bytes(), "size");
    if let [_, _, _, _, kind, low, high, ..] = *message {
        assert!(reply[4] == RLERROR || reply[4] == kind.wrapping_add(1), "type {} answers {kind}", reply[4]);
        assert_eq!(reply[5..HEADER], [low, high], "tag");
    }
}
