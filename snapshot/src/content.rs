//! The content digest: the name of a snapshot, whatever form it is stored in.

use crate::digest::{Digest, Digester};
use crate::header::MachineId;
use crate::index::Group;

/// What keeps this digest apart from a digest of anything else.
const DOMAIN: &[u8] = b"prebake snapshot content 1\n";

/// The digest of all that a snapshot says: the machine, the base that it is a delta on, the sections (their `table` as it is encoded) and the
/// pages that it is about; not where they are in the file.
#[expect(clippy::cast_possible_truncation, reason = "there are fewer groups than a u32 numbers: RAM and disks are bounded")]
pub fn content_digest(machine: &MachineId, base: Option<Digest>, section_count: u32, table: &[u8], groups: &[Group]) -> Digest {
    let mut digester = Digester::new();
    digester.update(DOMAIN);
    digester.update(machine.model.as_padded());
    digester.update(&machine.ram_size.to_le_bytes());
    digester.update(&machine.devices.to_le_bytes());
    digester.update(base.unwrap_or(Digest::NONE).as_bytes());
    digester.update(&section_count.to_le_bytes());
    digester.update(table);
    let mut placeless = Vec::new();
    for group in groups {
        Group { slot: 0, ..*group }.encode(&mut placeless);
    }
    digester.update(&(groups.len() as u32).to_le_bytes());
    digester.update(&placeless);
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Model;
    use crate::pages::{PageSet, Space};

    #[test]
    fn depends_on_what_is_said_and_not_on_where_it_is() {
        let machine = MachineId { model: Model::new("pc1-v2/1").unwrap(), ram_size: 2 << 20, devices: 1 };
        let group =
            Group { space: Space::Ram, number: 3, covered: PageSet::ALL, present: PageSet(1), slot: 0, digest: Digest::of(b"page") };
        let digest = |machine: MachineId, count, table: &[u8], group| content_digest(&machine, None, count, table, &[group]);
        let reference = digest(machine, 1, b"table", group);

        assert_eq!(digest(machine, 1, b"table", Group { slot: 7, ..group }), reference);
        for other in [
            digest(MachineId { model: Model::new("pc1-v2/2").unwrap(), ..machine }, 1, b"table", group),
            digest(MachineId { ram_size: 4 << 20, ..machine }, 1, b"table", group),
            digest(MachineId { devices: 0, ..machine }, 1, b"table", group),
            digest(machine, 2, b"table", group),
            digest(machine, 1, b"other", group),
            digest(machine, 1, b"table", Group { space: Space::Disk(0), ..group }),
            digest(machine, 1, b"table", Group { number: 4, ..group }),
            digest(machine, 1, b"table", Group { present: PageSet(2), ..group }),
            digest(machine, 1, b"table", Group { digest: Digest::of(b"other"), ..group }),
            digest(machine, 1, b"table", Group { covered: PageSet(3), ..group }),
            content_digest(&machine, Some(Digest::of(b"base")), 1, b"table", &[group]),
            content_digest(&machine, None, 1, b"table", &[]),
        ] {
            assert_ne!(other, reference);
        }
    }
}
