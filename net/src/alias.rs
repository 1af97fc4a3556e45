//! Addresses that stand for names. A host that can only be told the name of the other side, as a browser is, cannot look an address up: the guest
//! is given one that is nobody's, and a connection to it leads to the name.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// 198.18.0.0/15, set aside for measuring networks (RFC 2544), so that nobody is there.
const RANGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Addresses in it, without its first and last.
const COUNT: u32 = (1 << 17) - 2;
/// Names at a time that have an address. The one that was given one first makes room.
pub const MAX_ALIASES: usize = 4096;

/// Names, and the addresses that stand for them.
#[derive(Default)]
pub(crate) struct Aliases {
    names: BTreeMap<Ipv4Addr, String>,
    /// The addresses, in the order in which they were given.
    order: VecDeque<Ipv4Addr>,
}

impl Aliases {
    /// The address of `name`: the same as in any other run, unless two names want one. So a guest that was restored, and remembers it, does not
    /// reach somebody else.
    pub fn address(&mut self, name: &str) -> Ipv4Addr {
        // FNV-1a.
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let mut number = hash % COUNT;
        loop {
            let address = Ipv4Addr::from_bits(RANGE.to_bits() + 1 + number);
            match self.names.get(&address) {
                Some(other) if other != name => number = (number + 1) % COUNT,
                Some(_) => return address,
                None => {
                    self.insert(address, name);
                    return address;
                }
            }
        }
    }

    fn insert(&mut self, address: Ipv4Addr, name: &str) {
        if self.order.len() >= MAX_ALIASES
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        self.names.insert(address, name.into());
        self.order.push_back(address);
    }

    /// What to call `address` outside: the name that it stands for, or its digits. None if it stands for a name that is not known, or no longer.
    pub fn outside(&self, address: Ipv4Addr) -> Option<String> {
        match self.names.get(&address) {
            Some(name) => Some(name.clone()),
            None if (address.to_bits() ^ RANGE.to_bits()) >> 17 == 0 => None,
            None => Some(address.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_has_an_address_of_its_own_that_leads_back_to_it() {
        let mut aliases = Aliases::default();
        let names: Vec<String> = (0..MAX_ALIASES).map(|number| format!("host-{number}.example.org")).collect();
        let addresses: BTreeSet<Ipv4Addr> = names.iter().map(|name| aliases.address(name)).collect();
        assert_eq!(addresses.len(), names.len());
        for name in &names {
            let address = aliases.address(name);
            assert!(matches!(address.octets(), [198, 18 | 19, ..]), "{address}");
            assert_eq!(aliases.outside(address).as_ref(), Some(name));
        }
    }

    #[test]
    fn another_run_gives_a_name_the_same_address() {
        let [mut one, mut two] = [Aliases::default(), Aliases::default()];
        one.address("first.example.org");
        assert_eq!(one.address("example.org"), two.address("example.org"));
    }

    #[test]
    fn the_oldest_name_makes_room_and_its_address_leads_nowhere() {
        let mut aliases = Aliases::default();
        let first = aliases.address("first");
        for number in 0..MAX_ALIASES {
            aliases.address(&format!("host-{number}"));
        }
        assert_eq!((aliases.names.len(), aliases.order.len()), (MAX_ALIASES, MAX_ALIASES));
        assert_eq!(aliases.outside(first), None);
    }

    #[test]
    fn other_addresses_are_themselves() {
        let aliases = Aliases::default();
        assert_eq!(aliases.outside(Ipv4Addr::new(1, 2, 3, 4)).as_deref(), Some("1.2.3.4"));
        assert_eq!(aliases.outside(Ipv4Addr::new(198, 17, 255, 255)).as_deref(), Some("198.17.255.255"));
        assert_eq!(aliases.outside(Ipv4Addr::new(198, 20, 0, 0)).as_deref(), Some("198.20.0.0"));
        assert_eq!(aliases.outside(Ipv4Addr::new(198, 19, 255, 255)), None);
    }
}
