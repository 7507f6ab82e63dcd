//! Writing: packets go straight to the file behind `mdat`'s header, the index follows at the end.

use std::io::{self, Seek, SeekFrom, Write};

use super::{Packet, TrackConfig};

/// Writes one video track. Memory grows by a few bytes per packet.
pub(crate) struct Mp4Writer<W> {
    out: W,
    config: TrackConfig,
    mdat_at: u64,
    position: u64,
    sizes: Vec<u32>,
    durations: Vec<u32>,
    cts: Vec<i32>,
    syncs: Vec<u32>,
    /// First sample (0-based) and file offset of each chunk.
    chunks: Vec<(usize, u64)>,
    ticks: u64,
}

impl<W: Write + Seek> Mp4Writer<W> {
    /// Starts a file.
    pub fn new(mut out: W, config: TrackConfig) -> io::Result<Self> {
        let mut head = Vec::new();
        boxed(&mut head, b"ftyp", |b| {
            b.extend(b"isom");
            b.extend(512u32.to_be_bytes());
            b.extend(b"isomiso2mp41");
            if matches!(&config.four_cc(), b"av01" | b"avc1") {
                b.extend(config.four_cc());
            }
        });
        let mdat_at = head.len() as u64;
        head.extend(1u32.to_be_bytes());
        head.extend(b"mdat");
        head.extend(16u64.to_be_bytes());
        out.write_all(&head)?;
        Ok(Self {
            out,
            config,
            mdat_at,
            position: head.len() as u64,
            sizes: Vec::new(),
            durations: Vec::new(),
            cts: Vec::new(),
            syncs: Vec::new(),
            chunks: Vec::new(),
            ticks: 0,
        })
    }

    /// What packets must be like.
    pub fn config(&self) -> &TrackConfig {
        &self.config
    }

    /// End of the last packet, in ticks of decoding time: where a next episode starts.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// Opens a new chunk, as each episode does.
    pub fn start_chunk(&mut self) {
        self.chunks.push((self.sizes.len(), self.position));
    }

    /// Appends a packet.
    pub fn write(&mut self, packet: Packet<'_>) -> io::Result<()> {
        if self.chunks.is_empty() {
            self.start_chunk();
        }
        let size = u32::try_from(packet.data.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "packet above 4 GiB"))?;
        self.out.write_all(packet.data)?;
        self.position += u64::from(size);
        self.sizes.push(size);
        self.durations.push(packet.duration);
        self.cts.push(packet.cts);
        if packet.sync {
            self.syncs.push(self.sizes.len() as u32);
        }
        self.ticks += u64::from(packet.duration);
        Ok(())
    }

    /// Writes the index and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        let moov = self.moov();
        self.out.write_all(&moov)?;
        let mdat_size = self.position - self.mdat_at;
        self.out.seek(SeekFrom::Start(self.mdat_at + 8))?;
        self.out.write_all(&mdat_size.to_be_bytes())?;
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn moov(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let shown = self.ticks;
        boxed(&mut out, b"moov", |moov| {
            full(moov, b"mvhd", 1, 0, |b| {
                b.extend([0; 16]);
                b.extend(self.config.timescale.to_be_bytes());
                b.extend(shown.to_be_bytes());
                b.extend(0x0001_0000u32.to_be_bytes());
                b.extend(0x0100u16.to_be_bytes());
                b.extend([0; 10]);
                matrix(b);
                b.extend([0; 24]);
                b.extend(2u32.to_be_bytes());
            });
            boxed(moov, b"trak", |trak| {
                full(trak, b"tkhd", 1, 3, |b| {
                    b.extend([0; 16]);
                    b.extend(1u32.to_be_bytes());
                    b.extend([0; 4]);
                    b.extend(shown.to_be_bytes());
                    b.extend([0; 16]);
                    matrix(b);
                    b.extend((u32::from(self.config.width) << 16).to_be_bytes());
                    b.extend((u32::from(self.config.height) << 16).to_be_bytes());
                });
                boxed(trak, b"edts", |edts| {
                    full(edts, b"elst", 1, 0, |b| {
                        b.extend(1u32.to_be_bytes());
                        b.extend(shown.to_be_bytes());
                        b.extend(self.config.media_time.to_be_bytes());
                        b.extend(0x0001_0000u32.to_be_bytes());
                    });
                });
                boxed(trak, b"mdia", |mdia| self.mdia(mdia, shown));
            });
        });
        out
    }

    fn mdia(&self, mdia: &mut Vec<u8>, shown: u64) {
        full(mdia, b"mdhd", 1, 0, |b| {
            b.extend([0; 16]);
            b.extend(self.config.timescale.to_be_bytes());
            b.extend(shown.to_be_bytes());
            // Language `und`, packed.
            b.extend(0x55c4u16.to_be_bytes());
            b.extend([0; 2]);
        });
        full(mdia, b"hdlr", 0, 0, |b| {
            b.extend([0; 4]);
            b.extend(b"vide");
            b.extend([0; 12]);
            b.extend(b"VideoHandler\0");
        });
        boxed(mdia, b"minf", |minf| {
            full(minf, b"vmhd", 0, 1, |b| b.extend([0; 8]));
            boxed(minf, b"dinf", |dinf| {
                full(dinf, b"dref", 0, 0, |b| {
                    b.extend(1u32.to_be_bytes());
                    full(b, b"url ", 0, 1, |_| {});
                });
            });
            boxed(minf, b"stbl", |stbl| self.stbl(stbl));
        });
    }

    fn stbl(&self, stbl: &mut Vec<u8>) {
        full(stbl, b"stsd", 0, 0, |b| {
            b.extend(1u32.to_be_bytes());
            b.extend(&self.config.sample_entry);
        });
        full(stbl, b"stts", 0, 0, |b| {
            runs(b, self.durations.iter().copied(), |v| v.to_be_bytes());
        });
        if self.cts.iter().any(|&c| c != 0) {
            full(stbl, b"ctts", 1, 0, |b| runs(b, self.cts.iter().copied(), |v| v.to_be_bytes()));
        }
        if self.syncs.len() != self.sizes.len() {
            full(stbl, b"stss", 0, 0, |b| {
                b.extend((self.syncs.len() as u32).to_be_bytes());
                self.syncs.iter().for_each(|n| b.extend(n.to_be_bytes()));
            });
        }
        let ends = self.chunks.iter().skip(1).map(|c| c.0).chain([self.sizes.len()]);
        let chunks: Vec<(usize, u64)> = self
            .chunks
            .iter()
            .zip(ends)
            .filter(|((start, _), end)| end > start)
            .map(|((start, offset), end)| (end - start, *offset))
            .collect();
        full(stbl, b"stsc", 0, 0, |b| {
            let mut entries: Vec<(u32, u32)> = Vec::new();
            for (i, (count, _)) in chunks.iter().enumerate() {
                if entries.last().is_none_or(|last| last.1 != *count as u32) {
                    entries.push((i as u32 + 1, *count as u32));
                }
            }
            b.extend((entries.len() as u32).to_be_bytes());
            for (first, count) in entries {
                b.extend(first.to_be_bytes());
                b.extend(count.to_be_bytes());
                b.extend(1u32.to_be_bytes());
            }
        });
        full(stbl, b"stsz", 0, 0, |b| {
            b.extend([0; 4]);
            b.extend((self.sizes.len() as u32).to_be_bytes());
            self.sizes.iter().for_each(|n| b.extend(n.to_be_bytes()));
        });
        let wide = chunks.iter().any(|c| c.1 > u64::from(u32::MAX));
        full(stbl, if wide { b"co64" } else { b"stco" }, 0, 0, |b| {
            b.extend((chunks.len() as u32).to_be_bytes());
            for (_, offset) in &chunks {
                if wide {
                    b.extend(offset.to_be_bytes());
                } else {
                    b.extend((*offset as u32).to_be_bytes());
                }
            }
        });
    }
}

/// The sample entry of video encoded here: `av01` (AV1-ISOBMFF §2.2) or `avc1` (ISO/IEC 14496-15 §5.4)
/// with the content of its configuration box, and its colours: BT.709 primaries, sRGB transfer, BT.601
/// matrix, limited range.
pub(crate) fn sample_entry(
    (kind, configuration_kind): (&[u8; 4], &[u8; 4]),
    width: u16,
    height: u16,
    configuration: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    boxed(&mut out, kind, |b| {
        b.extend([0; 6]);
        b.extend(1u16.to_be_bytes());
        b.extend([0; 16]);
        b.extend(width.to_be_bytes());
        b.extend(height.to_be_bytes());
        b.extend(0x0048_0000u32.to_be_bytes());
        b.extend(0x0048_0000u32.to_be_bytes());
        b.extend([0; 4]);
        b.extend(1u16.to_be_bytes());
        b.extend([0; 32]);
        b.extend(24u16.to_be_bytes());
        b.extend([0xff, 0xff]);
        boxed(b, configuration_kind, |c| c.extend(configuration));
        boxed(b, b"colr", |c| {
            c.extend(b"nclx");
            for code in [1u16, 13, 6] {
                c.extend(code.to_be_bytes());
            }
            c.push(0);
        });
        boxed(b, b"pasp", |p| {
            p.extend(1u32.to_be_bytes());
            p.extend(1u32.to_be_bytes());
        });
    });
    out
}

fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    body(out);
    let size = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

fn full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, kind, |b| {
        b.extend((u32::from(version) << 24 | flags).to_be_bytes());
        body(b);
    });
}

fn matrix(out: &mut Vec<u8>) {
    for value in [0x0001_0000u32, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] {
        out.extend(value.to_be_bytes());
    }
}

/// Run-length coded table: count, then (run, value).
fn runs<T: PartialEq + Copy>(
    out: &mut Vec<u8>,
    values: impl Iterator<Item = T>,
    bytes: impl Fn(T) -> [u8; 4],
) {
    let mut entries: Vec<(u32, T)> = Vec::new();
    for value in values {
        match entries.last_mut() {
            Some((count, last)) if *last == value => *count += 1,
            _ => entries.push((1, value)),
        }
    }
    out.extend((entries.len() as u32).to_be_bytes());
    for (count, value) in entries {
        out.extend(count.to_be_bytes());
        out.extend(bytes(value));
    }
}
