//! The 9P transport and its server, message by message (9P2000.L as Linux's v9fs speaks it). The share holds `hello`, and `outside`, a
//! symbolic link that leads out of it.

use super::{Mmio, Report};
use crate::bare::Identity;
use alloc::vec;
use alloc::vec::Vec;
use virtio_drivers::device::virtio_9p::VirtIO9p;

const TAG: u16 = 0x4242;
const NO_TAG: u16 = 0xffff;
const NO_FID: u32 = u32::MAX;
const HEADER: usize = 7;
const MSIZE: u32 = 8192;

const RLERROR: u8 = 7;
const TLOPEN: u8 = 12;
const TLCREATE: u8 = 14;
const TREADLINK: u8 = 22;
const TGETATTR: u8 = 24;
const TREADDIR: u8 = 40;
const TFSYNC: u8 = 50;
const TMKDIR: u8 = 72;
const TRENAMEAT: u8 = 74;
const TUNLINKAT: u8 = 76;
const TVERSION: u8 = 100;
const TATTACH: u8 = 104;
const TWALK: u8 = 110;
const TREAD: u8 = 116;
const TWRITE: u8 = 118;
const TCLUNK: u8 = 120;

const O_RDONLY: u32 = 0;
const O_RDWR: u32 = 2;
const GETATTR_BASIC: u64 = 0x7ff;
const ENOENT: u32 = 2;
const QID: usize = 13;
const QTSYMLINK: u8 = 2;

/// A field of a request.
enum Field<'a> {
    U16(u16),
    U32(u32),
    U64(u64),
    Text(&'a [u8]),
    Data(&'a [u8]),
}

use Field::{Data, Text, U16, U32, U64};

/// A client that waits for each reply.
struct Client(VirtIO9p<Identity, Mmio>);

impl Client {
    /// The body of the reply, or the number of the error. `None` if the reply is not one to this request.
    fn ask(&mut self, kind: u8, fields: &[Field<'_>]) -> Option<Result<Vec<u8>, u32>> {
        let tag = if kind == TVERSION { NO_TAG } else { TAG };
        let mut request = vec![0, 0, 0, 0, kind];
        request.extend(tag.to_le_bytes());
        for field in fields {
            match field {
                U16(value) => request.extend(value.to_le_bytes()),
                U32(value) => request.extend(value.to_le_bytes()),
                U64(value) => request.extend(value.to_le_bytes()),
                Text(text) => {
                    request.extend((text.len() as u16).to_le_bytes());
                    request.extend(*text);
                }
                Data(data) => {
                    request.extend((data.len() as u32).to_le_bytes());
                    request.extend(*data);
                }
            }
        }
        let size = request.len() as u32;
        request[..4].copy_from_slice(&size.to_le_bytes());
        let mut reply = vec![0; MSIZE as usize];
        let length = self.0.request(&request, &mut reply).ok()? as usize;
        reply.truncate(length);
        let body = reply.split_off(HEADER.min(length));
        if reply.len() < HEADER || reply[5..] != tag.to_le_bytes() {
            return None;
        }
        match (reply[4], body.as_slice()) {
            (RLERROR, &[a, b, c, d]) => Some(Err(u32::from_le_bytes([a, b, c, d]))),
            (answered, _) if answered == kind + 1 => Some(Ok(body)),
            _ => None,
        }
    }

    fn succeed(&mut self, kind: u8, fields: &[Field<'_>]) -> Option<Vec<u8>> {
        self.ask(kind, fields)?.ok()
    }

    fn works(&mut self, kind: u8, fields: &[Field<'_>]) -> bool {
        self.succeed(kind, fields).is_some()
    }

    fn error(&mut self, kind: u8, fields: &[Field<'_>]) -> Option<u32> {
        self.ask(kind, fields)?.err()
    }

    fn walk(&mut self, from: u32, to: u32, name: &[u8]) -> bool {
        self.succeed(TWALK, &[U32(from), U32(to), U16(1), Text(name)]).is_some_and(|body| body.len() == 2 + QID)
    }

    fn read(&mut self, fid: u32, offset: u64, count: u32) -> Option<Vec<u8>> {
        let body = self.succeed(TREAD, &[U32(fid), U64(offset), U32(count)])?;
        Some(body.get(4..)?.to_vec())
    }

    fn clunk(&mut self, fid: u32) -> bool {
        self.works(TCLUNK, &[U32(fid)])
    }
}

/// Uses the share as a client does.
pub fn check(transport: Mmio, report: &mut Report) {
    let p9 = VirtIO9p::<Identity, _>::new(transport);
    // What is in other shares, it does not know.
    if p9.as_ref().is_ok_and(|p9| p9.mount_tag() != "share") {
        return;
    }
    let Some(p9) = report.worked("it starts", p9) else { return };
    let mut client = Client(p9);

    report.check("nothing works before a version is agreed on", !client.works(TCLUNK, &[U32(0)]));
    let version = client.succeed(TVERSION, &[U32(MSIZE), Text(b"9P2000.L")]);
    let agreed = version.is_some_and(|body| body.get(..4) == Some(&MSIZE.to_le_bytes()) && body.get(6..) == Some(b"9P2000.L"));
    report.check("a version is agreed on", agreed);
    let root = client.succeed(TATTACH, &[U32(0), U32(NO_FID), Text(b""), Text(b""), U32(0)]);
    report.check("the root is attached", root.as_ref().is_some_and(|qid| qid.len() == QID));

    report.check("a file is found", client.walk(0, 1, b"hello"));
    report.check("it is opened", client.works(TLOPEN, &[U32(1), U32(O_RDONLY)]));
    report.check("it is read", client.read(1, 0, 4096).as_deref() == Some(b"hello from the host\n"));
    report.check("from anywhere", client.read(1, 11, 4).as_deref() == Some(b"the "));
    report.check("up to its end", client.read(1, 100, 4096).as_deref() == Some(b""));
    let attributes = client.succeed(TGETATTR, &[U32(1), U64(GETATTR_BASIC)]);
    // valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8]
    report.check("it has a size", attributes.is_some_and(|body| body.get(49..57) == Some(&20_u64.to_le_bytes())));
    report.check("it is let go", client.clunk(1) && client.error(TCLUNK, &[U32(1)]).is_some());

    write(&mut client, report);
    confinement(&mut client, report, root.as_deref());

    report.check("a file that is not there is not found", client.error(TWALK, &[U32(0), U32(9), U16(1), Text(b"nothing")]) == Some(ENOENT));
    report.check("a message of no known type is an error", client.error(98, &[]).is_some());
    report.check("it works on after errors", client.walk(0, 1, b"hello") && client.clunk(1));
}

fn write(client: &mut Client, report: &mut Report) {
    let contents: Vec<u8> = (0..3000_u32).map(|at| (at * 17) as u8).collect();
    report.check("a directory is made", client.works(TMKDIR, &[U32(0), Text(b"made"), U32(0o755), U32(0)]));
    report.check("it is found", client.walk(0, 2, b"made"));
    // The fid of the directory becomes that of the file.
    report.check("it is found twice", client.works(TWALK, &[U32(2), U32(3), U16(0)]));
    report.check("a file is made", client.works(TLCREATE, &[U32(3), Text(b"file"), U32(O_RDWR), U32(0o644), U32(0)]));
    let written = client.succeed(TWRITE, &[U32(3), U64(0), Data(&contents)]);
    report.check("it is written", written.as_deref() == Some(&3000_u32.to_le_bytes()));
    report.check("it is synced", client.works(TFSYNC, &[U32(3), U32(0)]));
    report.check("it is read back", client.read(3, 0, 4000).as_ref() == Some(&contents));
    report.check("it is renamed", client.works(TRENAMEAT, &[U32(2), Text(b"file"), U32(0), Text(b"from-the-guest")]));
    report.check("it is still open", client.read(3, 2990, 100).as_deref() == Some(&contents[2990..]));
    report.check("all is let go", client.clunk(3));

    report.check("the directory is opened", client.works(TLOPEN, &[U32(2), U32(O_RDONLY)]));
    let listing = client.succeed(TREADDIR, &[U32(2), U64(0), U32(4000)]);
    // count[4], then entries: qid[13] offset[8] type[1] name[s]
    let names = listing.map(|body| names(body.get(4..).unwrap_or_default()));
    report.check("it is empty", names.is_some_and(|names| names.iter().all(|name| name == b"." || name == b"..")));
    report.check("it is let go", client.clunk(2));
    report.check("it is removed", client.works(TUNLINKAT, &[U32(0), Text(b"made"), U32(0x200)]));
    report.check("it is gone", client.error(TWALK, &[U32(0), U32(9), U16(1), Text(b"made")]) == Some(ENOENT));
}

fn names(mut entries: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    while let Some(length) = entries.get(22..24) {
        let end = 24 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        names.push(entries.get(24..end).unwrap_or_default().to_vec());
        entries = entries.get(end..).unwrap_or_default();
    }
    names
}

/// Type and path of a QID. Its version, between them, changes with the file.
fn identity(qid: &[u8]) -> (&[u8], &[u8]) {
    (qid.get(..1).unwrap_or_default(), qid.get(5..).unwrap_or_default())
}

fn confinement(client: &mut Client, report: &mut Report, root: Option<&[u8]>) {
    let up = client.succeed(TWALK, &[U32(0), U32(4), U16(3), Text(b".."), Text(b".."), Text(b"..")]);
    let last = up.as_ref().and_then(|body| body.get(2 + 2 * QID..));
    report.check("nothing is above the root", last.is_some() && last.map(identity) == root.map(identity));
    report.check("it is let go", client.clunk(4));
    let link = client.succeed(TWALK, &[U32(0), U32(5), U16(1), Text(b"outside")]);
    report.check("a link is a link", link.is_some_and(|body| body.get(2) == Some(&QTSYMLINK)));
    let target = client.succeed(TREADLINK, &[U32(5)]);
    report.check("its text is read", target.is_some_and(|body| body.get(2..) == Some(b"/etc/passwd")));
    report.check("it is not followed", client.error(TLOPEN, &[U32(5), U32(O_RDONLY)]).is_some());
    report.check("nor walked through", client.error(TWALK, &[U32(5), U32(6), U16(1), Text(b"x")]).is_some());
    report.check("a name is no path", client.error(TWALK, &[U32(0), U32(6), U16(1), Text(b"made/../../etc")]).is_some());
    report.check("it is let go", client.clunk(5));
}
