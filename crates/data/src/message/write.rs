//! Writing CDR, little-endian, version 1: as much as the messages that we write need.

/// A message being written.
pub(crate) struct CdrWriter(Vec<u8>);

impl CdrWriter {
    pub fn new() -> Self {
        Self(vec![0, 1, 0, 0])
    }

    /// Aligns to `size`, counted from behind the four bytes of the header.
    fn pad(&mut self, size: usize) {
        while !(self.0.len() - 4).is_multiple_of(size) {
            self.0.push(0);
        }
    }

    pub fn long(mut self, value: u32) -> Self {
        self.pad(4);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// `builtin_interfaces/Time` of nanoseconds since the epoch.
    pub fn time(self, nanos: i64) -> Self {
        let (secs, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        self.long(secs as i32 as u32).long(rest as u32)
    }

    pub fn text(self, text: &str) -> Self {
        let mut out = self.long(text.len() as u32 + 1);
        out.0.extend(text.as_bytes());
        out.0.push(0);
        out
    }

    pub fn texts(self, texts: &[String]) -> Self {
        let out = self.long(texts.len() as u32);
        texts.iter().fold(out, |out, text| out.text(text))
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut out = self.long(bytes.len() as u32);
        out.0.extend(bytes);
        out
    }

    pub fn doubles(self, values: &[f64]) -> Self {
        let mut out = self.long(values.len() as u32);
        for value in values {
            out.pad(8);
            out.0.extend(value.to_le_bytes());
        }
        out
    }

    pub fn longs(self, values: &[i64]) -> Self {
        let mut out = self.long(values.len() as u32);
        for value in values {
            out.pad(8);
            out.0.extend(value.to_le_bytes());
        }
        out
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
