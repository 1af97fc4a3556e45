//! What the machine's init tells the container's process 1 when the host has said how to start.

use crate::error::{Error, Result};

/// How to start the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The terminal's name, for a program on the terminal; one on three pipes has none.
    pub terminal: Option<String>,
    /// The clock is set already.
    pub clock_is_set: bool,
    /// The text of the host's info.
    pub info: Vec<u8>,
}

impl Order {
    /// As bytes: two flags, then the name with a line's end, if there is a terminal, then the info.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.clock_is_set), u8::from(self.terminal.is_some())];
        if let Some(name) = &self.terminal {
            bytes.extend(name.bytes());
            bytes.push(b'\n');
        }
        bytes.extend(&self.info);
        bytes
    }

    /// What [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let decode = || {
            let (&[clock, on_terminal], mut info) = bytes.split_first_chunk()?;
            let mut terminal = None;
            if on_terminal != 0 {
                let end = info.iter().position(|byte| *byte == b'\n')?;
                terminal = Some(String::from_utf8_lossy(&info[..end]).into_owned());
                info = &info[end + 1..];
            }
            Some(Self { terminal, clock_is_set: clock != 0, info: info.to_vec() })
        };
        // There is none where the machine's init has ended.
        decode().ok_or(Error::NoStart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        for terminal in [None, Some("xterm".to_owned()), Some(String::new())] {
            for (clock_is_set, info) in [(true, &b"c: a\n\xff"[..]), (false, b"")] {
                let order = Order { terminal: terminal.clone(), clock_is_set, info: info.into() };
                assert_eq!(Order::decode(&order.encode()).unwrap(), order);
            }
        }
        assert!(Order::decode(b"").is_err() && Order::decode(&[0, 1, b'x']).is_err());
    }
}
