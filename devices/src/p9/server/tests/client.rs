//! A client: messages as Linux sends them, replies taken apart.

use super::super::Server;
use crate::p9::wire::{Data, HEADER, NO_FID, Names, Qid, TMessage, VERSION};
use crate::p9::{Access, Errno, FileSystem, Handle, MemoryFs};

pub(super) const CAPACITY: u64 = 1 << 20;
pub(super) const ROOT: u32 = 0;
pub(super) const TAG: u16 = 0x1234;
pub(super) const O_RDWR: u32 = 2;
pub(super) const O_CREAT: u32 = 0o100;
pub(super) const O_EXCL: u32 = 0o200;
pub(super) const AT_REMOVEDIR: u32 = 0x200;

/// A client that has attached as fid [`ROOT`].
pub(super) struct Client {
    pub server: Server<MemoryFs>,
}

/// The body of a reply, read field by field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer(pub Vec<u8>);

impl Answer {
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        self.0.drain(..N).collect::<Vec<_>>().try_into().unwrap()
    }
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.0.drain(..length).collect()
    }
    pub fn qid(&mut self) -> Qid {
        Qid { kind: self.take::<1>()[0], version: self.u32(), path: self.u64() }
    }
}

pub(super) type Answered = Result<Answer, Errno>;

fn errno(number: u32) -> Errno {
    let known = [
        Errno::EPERM,
        Errno::ENOENT,
        Errno::EBADF,
        Errno::ENOMEM,
        Errno::EBUSY,
        Errno::EEXIST,
        Errno::ENOTDIR,
        Errno::EISDIR,
        Errno::EINVAL,
        Errno::ENFILE,
        Errno::ENOSPC,
        Errno::EROFS,
        Errno::ERANGE,
        Errno::ENAMETOOLONG,
        Errno::ENOTEMPTY,
        Errno::ELOOP,
        Errno::ENODATA,
        Errno::EPROTO,
        Errno::EMSGSIZE,
        Errno::EOPNOTSUPP,
        Errno::ESTALE,
        Errno::ENXIO,
        Errno::EFBIG,
    ];
    known.into_iter().find(|errno| errno.get() == number).unwrap_or_else(|| panic!("unexpected errno {number}"))
}

impl Client {
    pub fn new() -> Self {
        Self::with(MemoryFs::new(CAPACITY), Access::ReadWrite)
    }

    pub fn with(fs: MemoryFs, access: Access) -> Self {
        let mut client = Self { server: Server::new(fs, access) };
        client.version(8192);
        client.call(TMessage::Attach { fid: ROOT, afid: NO_FID, uname: b"root", aname: b"", n_uname: 0 }).unwrap();
        client
    }

    pub fn version(&mut self, msize: u32) -> u32 {
        let mut answer = self.call(TMessage::Version { msize, version: VERSION }).unwrap();
        let agreed = answer.u32();
        assert_eq!(answer.0, b"\x08\x009P2000.L");
        agreed
    }

    pub fn raw(&mut self, message: &[u8], room: usize) -> Vec<u8> {
        let mut reply = b"left from before".to_vec();
        self.server.handle(message, room, &mut reply);
        assert!(reply.len() <= room);
        reply
    }

    pub fn call_with_room(&mut self, request: TMessage<'_>, room: usize) -> Answered {
        let message = request.encode(TAG);
        assert_eq!(TMessage::decode(&message), Ok(Some(request)));
        let reply = self.raw(&message, room);
        assert_eq!(reply[..4], (reply.len() as u32).to_le_bytes());
        assert_eq!(reply[5..HEADER], TAG.to_le_bytes());
        let mut answer = Answer(reply[HEADER..].to_vec());
        match reply[4] {
            7 => Err(errno(answer.u32())),
            kind => {
                assert_eq!(kind, message[4] + 1);
                Ok(answer)
            }
        }
    }

    pub fn call(&mut self, request: TMessage<'_>) -> Answered {
        self.call_with_room(request, 1 << 21)
    }

    pub fn walk(&mut self, fid: u32, newfid: u32, path: &str) -> Result<Vec<Qid>, Errno> {
        let names = path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect();
        let mut answer = self.call(TMessage::Walk { fid, newfid, names: Names(names) })?;
        let count = answer.u16();
        let qids = (0..count).map(|_| answer.qid()).collect();
        assert_eq!(answer.0, b"");
        Ok(qids)
    }

    pub fn open(&mut self, fid: u32, path: &str, flags: u32) -> Result<Qid, Errno> {
        self.walk(ROOT, fid, path)?;
        self.call(TMessage::Lopen { fid, flags }).map(|mut answer| answer.qid())
    }

    pub fn create(&mut self, fid: u32, name: &str) -> Result<Qid, Errno> {
        self.walk(ROOT, fid, "")?;
        self.call(TMessage::Lcreate { fid, name: name.as_bytes(), flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o100_644, gid: 7 })
            .map(|mut answer| answer.qid())
    }

    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let mut answer = self.call(TMessage::Read { fid, offset, count })?;
        let length = answer.u32();
        assert_eq!(answer.0.len(), length as usize);
        Ok(answer.0)
    }

    pub fn write(&mut self, fid: u32, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        self.call(TMessage::Write { fid, offset, data: Data(bytes) }).map(|mut answer| answer.u32())
    }

    pub fn clunk(&mut self, fid: u32) -> Result<(), Errno> {
        self.call(TMessage::Clunk { fid }).map(|answer| assert_eq!(answer.0, b""))
    }

    pub fn mkdir(&mut self, name: &str) -> Result<Qid, Errno> {
        self.call(TMessage::Mkdir { dfid: ROOT, name: name.as_bytes(), mode: 0o755, gid: 0 }).map(|mut answer| answer.qid())
    }

    pub fn unlink(&mut self, name: &str) -> Answered {
        self.call(TMessage::Unlinkat { dfid: ROOT, name: name.as_bytes(), flags: 0 })
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Answered {
        self.call(TMessage::Renameat { olddirfid: ROOT, oldname: from.as_bytes(), newdirfid: ROOT, newname: to.as_bytes() })
    }

    /// Entries as (name, file number, offset, type).
    pub fn readdir(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<(String, u64, u64, u8)>, Errno> {
        let mut answer = self.call(TMessage::Readdir { fid, offset, count })?;
        assert_eq!(answer.u32() as usize, answer.0.len());
        assert!(answer.0.len() <= count as usize);
        let mut entries = Vec::new();
        while !answer.0.is_empty() {
            let (qid, offset, kind, length) = (answer.qid(), answer.u64(), answer.take::<1>()[0], answer.u16());
            entries.push((String::from_utf8(answer.bytes(usize::from(length))).unwrap(), qid.path, offset, kind));
        }
        Ok(entries)
    }

    pub fn names(&mut self, fid: u32) -> Vec<String> {
        self.readdir(fid, 0, 4096).unwrap().into_iter().map(|(name, ..)| name).collect()
    }

    /// Mode and size.
    pub fn getattr(&mut self, fid: u32) -> Result<(u32, u64), Errno> {
        let mut answer = self.call(TMessage::Getattr { fid, request_mask: 0x7ff })?;
        assert_eq!(answer.0.len(), 153);
        answer.bytes(8 + Qid::SIZE);
        let mode = answer.u32();
        answer.bytes(4 + 4 + 8 + 8);
        Ok((mode, answer.u64()))
    }

    /// The state after save and restore, of the file system too.
    pub fn restored(&self) -> Self {
        let fs = MemoryFs::restore(&self.server.fs.save()).unwrap();
        Self { server: Server::restore(fs, self.server.access, &self.server.save()).unwrap() }
    }

    /// The state after restoring the session alone, as over a host directory.
    pub fn restored_without_handles(&self) -> Self {
        let mut fs = self.server.fs.clone();
        let mut state = self.server.save();
        for file in &mut state.files {
            fs.close(Handle::new(file.handle.take().unwrap()));
        }
        Self { server: Server::restore(fs, self.server.access, &state).unwrap() }
    }
}
