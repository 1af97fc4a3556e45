//! Which cases are run, and what becomes of their results.

/// Chooses one case in so many.
pub struct Sampler {
    step: u32,
    left: u32,
}

impl Sampler {
    /// One case in `step`, which is not 0.
    pub fn new(step: u32) -> Self {
        Self { step, left: 1 }
    }

    /// Whether the next case is run.
    pub fn take(&mut self) -> bool {
        self.left -= 1;
        let taken = self.left == 0;
        if taken {
            self.left = self.step;
        }
        taken
    }
}

/// A hash of everything that an instruction came to: FNV-1a over words of 64 bits, with a rotation that brings high bits down.
pub struct Hash(u64);

impl Hash {
    /// Of nothing.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes words in.
    pub fn fold(&mut self, words: &[u64]) {
        for word in words {
            self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
    }

    /// Prints the line of an instruction; `exact` if the manual leaves no choice.
    pub fn print(&self, instruction: &str, exact: bool) {
        let mark = if exact { ' ' } else { '~' };
        println!("{:016x}{mark}{}", self.0, instruction.replace(['{', '}'], ""));
    }
}
