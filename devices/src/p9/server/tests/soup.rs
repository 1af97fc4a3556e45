//! Any bytes, and any requests in any order.

use super::client::{Client, TAG};
use crate::p9::wire::{Changes, Data, HEADER, NO_FID, Names, TMessage};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![&b"a"[..], b"b", b"c"]).prop_map(<[u8]>::to_vec),
        1 => prop::sample::select(vec![&b".."[..], b".", b"", b"x/y"]).prop_map(<[u8]>::to_vec),
    ]
}

/// Requests in disorder, but with small numbers, so that many of them make sense.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![
        8u8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 104, 108, 110, 110, 110, 116, 118, 120, 122,
    ]);
    (kinds, prop::collection::vec((0u32..5, name(), prop::collection::vec(name(), 0..3)), 4), any::<[u8; 8]>()).prop_map(
        |(kind, parts, noise)| {
            let fid = |index: usize| parts[index].0;
            let name = |index: usize| &parts[index].1[..];
            let number = u32::from(noise[0]);
            let (flags, mode) = (u32::from(noise[1] & 3) | u32::from(noise[1] & 4) << 7, u32::from(noise[2]) << 9 | 0o644);
            let offset = if noise[3] & 0x40 == 0 { u64::from(noise[3] & 7) } else { u64::from_le_bytes(noise) };
            let request = match kind {
                8 => TMessage::Statfs { fid: fid(0) },
                12 => TMessage::Lopen { fid: fid(0), flags },
                14 => TMessage::Lcreate { fid: fid(0), name: name(0), flags: flags | u32::from(noise[2] & 2) << 6, mode, gid: 0 },
                16 => TMessage::Symlink { fid: fid(0), name: name(0), text: name(1), gid: 0 },
                18 => TMessage::Mknod { dfid: fid(0), name: name(0), mode, major: 1, minor: 2, gid: 0 },
                20 => TMessage::Rename { fid: fid(0), dfid: fid(1), name: name(0) },
                22 => TMessage::Readlink { fid: fid(0) },
                24 => TMessage::Getattr { fid: fid(0), request_mask: 0 },
                26 => {
                    let changes = Changes { valid: u32::from(noise[4]), mode, size: offset, atime_sec: offset, ..Changes::default() };
                    TMessage::Setattr { fid: fid(0), changes }
                }
                30 => TMessage::Xattrwalk { fid: fid(0), newfid: fid(1), name: name(0) },
                32 => TMessage::Xattrcreate { fid: fid(0), name: name(0), size: offset, flags: u32::from(noise[5] & 3) },
                40 => TMessage::Readdir { fid: fid(0), offset, count: number },
                50 => TMessage::Fsync { fid: fid(0), datasync: 0 },
                52 => TMessage::Lock { fid: fid(0), kind: noise[6], flags: 0, start: 0, length: 0, proc_id: 0, client_id: b"" },
                54 => TMessage::Getlock { fid: fid(0), kind: noise[6], start: 0, length: 0, proc_id: 0, client_id: name(0) },
                70 => TMessage::Link { dfid: fid(0), fid: fid(1), name: name(0) },
                72 => TMessage::Mkdir { dfid: fid(0), name: name(0), mode, gid: 0 },
                74 => TMessage::Renameat { olddirfid: fid(0), oldname: name(0), newdirfid: fid(1), newname: name(1) },
                76 => TMessage::Unlinkat { dfid: fid(0), name: name(0), flags: u32::from(noise[5] & 1) << 9 },
                104 => TMessage::Attach { fid: fid(0), afid: NO_FID, uname: b"", aname: b"", n_uname: 0 },
                108 => TMessage::Flush { oldtag: 0 },
                110 => TMessage::Walk { fid: fid(0), newfid: fid(1), names: Names(parts[2].2.iter().map(|name| &name[..]).collect()) },
                116 => TMessage::Read { fid: fid(0), offset, count: number },
                118 => TMessage::Write { fid: fid(0), offset, data: Data(name(0)) },
                120 => TMessage::Clunk { fid: fid(0) },
                _ => TMessage::Remove { fid: fid(0) },
            };
            request.encode(TAG)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_answered_within_bounds(
        mut message in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..128, honest in any::<bool>(), room in 0usize..600,
    ) {
        if honest && message.len() >= HEADER {
            let size = (message.len() as u32).to_le_bytes();
            message[..4].copy_from_slice(&size);
            message[4] = kind & !1;
        }
        let mut client = Client::new();
        let reply = client.raw(&message, room);
        prop_assert_eq!(reply.is_empty(), room < reply.len().max(11));
    }

    #[test]
    fn any_session_is_answered_and_survives_a_restore(messages in prop::collection::vec(message(), 1..120)) {
        let (mut through, mut interrupted) = (Client::new(), Client::new());
        for (index, message) in messages.iter().enumerate() {
            let reply = through.raw(message, 300);
            prop_assert_eq!(&interrupted.raw(message, 300), &reply);
            if index % 7 == 3 {
                interrupted = interrupted.restored();
            }
        }
        prop_assert_eq!(interrupted.server.save(), through.server.save());
        prop_assert_eq!(&interrupted.server.fs, &through.server.fs);
        through.version(8192);
        prop_assert_eq!(through.server.save().files.len(), 0);
    }
}
