//! Lines, and bytes behind them.

/// Longest line of the protocol, without its end.
pub const MAX_LINE: usize = 255;

/// What a line says, with the bytes that may follow it.
pub trait Framed: Sized {
    /// Understands a line without its end; and how many bytes follow it.
    fn parse(line: &str) -> Option<(Self, usize)>;
    /// Where those bytes go, in a message that has any.
    fn bytes(&mut self) -> Option<&mut Vec<u8>>;
}

/// Cuts bytes into messages, however they come. A line that is too long or means nothing is dropped. It holds one message at most.
#[derive(Debug)]
pub struct FrameReader<M> {
    line: Vec<u8>,
    too_long: bool,
    /// A message, and how many of its bytes are still to come.
    open: Option<(M, usize)>,
}

impl<M> Default for FrameReader<M> {
    fn default() -> Self {
        Self { line: Vec::new(), too_long: false, open: None }
    }
}

impl<M: Framed> FrameReader<M> {
    /// Takes bytes, and calls `message` for each message that they end.
    pub fn read(&mut self, mut bytes: &[u8], mut message: impl FnMut(M)) {
        while !bytes.is_empty() {
            if let Some((mut open, missing)) = self.open.take() {
                let count = missing.min(bytes.len());
                open.bytes().into_iter().for_each(|payload| payload.extend_from_slice(&bytes[..count]));
                bytes = &bytes[count..];
                self.close(open, missing - count, &mut message);
                continue;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (part, rest) = end.map_or((bytes, &[][..]), |end| (&bytes[..end], &bytes[end + 1..]));
            let room = MAX_LINE - self.line.len();
            self.too_long |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            bytes = rest;
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let parsed = if std::mem::take(&mut self.too_long) { None } else { str::from_utf8(&line).ok().and_then(M::parse) };
                if let Some((parsed, missing)) = parsed {
                    self.close(parsed, missing, &mut message);
                }
            }
        }
    }

    fn close(&mut self, open: M, missing: usize, message: &mut impl FnMut(M)) {
        if missing == 0 {
            message(open);
        } else {
            self.open = Some((open, missing));
        }
    }
}
