//! What a codec needs to travel from MP4 to Matroska, and where its streams can be entered.

use crate::mp4::TrackConfig;

/// A codec that ffmpeg decodes for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::video) enum Codec {
    H264,
    Hevc,
    Mpeg4,
    Vp8,
    Vp9,
}

/// How a packet lets decoding begin while the decoder still holds pictures of another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::video) enum Entry {
    /// As it is.
    Clean,
    /// As a broken-link access (HEVC): the NAL units' type is rewritten.
    BrokenLink,
    /// Only in a fresh decoder.
    Fresh,
}

impl Codec {
    /// By the name that ffmpeg and LeRobot give it.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "h264" => Self::H264,
            "hevc" => Self::Hevc,
            "mpeg4" => Self::Mpeg4,
            "vp8" => Self::Vp8,
            "vp9" => Self::Vp9,
            _ => return None,
        })
    }

    /// ffmpeg's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Mpeg4 => "mpeg4",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
        }
    }

    /// Matroska's name (Matroska codec mappings, section 4.2).
    pub fn matroska_id(self) -> &'static str {
        match self {
            Self::H264 => "V_MPEG4/ISO/AVC",
            Self::Hevc => "V_MPEGH/ISO/HEVC",
            Self::Mpeg4 => "V_MPEG4/ISO/ASP",
            Self::Vp8 => "V_VP8",
            Self::Vp9 => "V_VP9",
        }
    }

    /// The decoder's configuration out of an MP4 sample entry; empty where the stream has it itself.
    pub fn configuration(self, config: &TrackConfig) -> Result<Vec<u8>, String> {
        let child = |kind: &[u8; 4]| {
            config.child(kind).ok_or_else(|| {
                format!("the sample entry has no `{}` box", String::from_utf8_lossy(kind))
            })
        };
        match self {
            Self::H264 => child(b"avcC").map(<[u8]>::to_vec),
            Self::Hevc => child(b"hvcC").map(<[u8]>::to_vec),
            Self::Mpeg4 => decoder_specific(child(b"esds")?),
            Self::Vp8 | Self::Vp9 => Ok(Vec::new()),
        }
    }

    /// How decoding can begin at key frame `packet` of a stream with this configuration.
    pub fn entry(self, configuration: &[u8], packet: &[u8]) -> Entry {
        match self {
            Self::H264 => {
                let size = configuration.get(4).map_or(4, |b| usize::from(b & 3) + 1);
                let idr = nal_units(packet, size).any(|n| packet[n.start] & 0x1f == 5);
                if idr { Entry::Clean } else { Entry::Fresh }
            }
            Self::Hevc => {
                let size = hevc_length_size(configuration);
                let idr =
                    nal_units(packet, size).any(|n| matches!(packet[n.start] >> 1 & 0x3f, 16..=20));
                if idr { Entry::Clean } else { Entry::BrokenLink }
            }
            Self::Mpeg4 | Self::Vp8 | Self::Vp9 => Entry::Clean,
        }
    }
}

/// A clean random access of HEVC as a broken-link one, which is what splicing it behind other
/// pictures makes it (ITU-T H.265, section 7.4.2.2): `CRA_NUT` becomes `BLA_W_LP`, whose slice headers
/// read the same.
pub(super) fn as_broken_link(configuration: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut out = packet.to_vec();
    for unit in nal_units(packet, hevc_length_size(configuration)) {
        let head = out[unit.start];
        if head >> 1 & 0x3f == 21 {
            out[unit.start] = head & 0x81 | 16 << 1;
        }
    }
    out
}

fn hevc_length_size(configuration: &[u8]) -> usize {
    configuration.get(21).map_or(4, |b| usize::from(b & 3) + 1)
}

/// Places of the NAL units in a packet whose units are led by their length (ISO/IEC 14496-15); ends
/// at what is malformed. No unit is empty.
fn nal_units(packet: &[u8], size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        let head = packet.get(at..at.checked_add(size)?)?;
        let length = head.iter().fold(0usize, |sum, &b| sum << 8 | usize::from(b));
        let start = at + size;
        let end = start.checked_add(length).filter(|&e| e <= packet.len() && length > 0)?;
        at = end;
        Some(start..end)
    })
}

/// NAL units behind start codes (Annex B), without the zeros between them.
fn annex_b_units(packet: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        packet.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(i, _)| i).collect();
    let ends = starts.iter().skip(1).copied().chain([packet.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let unit = packet.get(start + 3..end).unwrap_or(&[]);
            let zeros = unit.iter().rev().take_while(|&&b| b == 0).count();
            &unit[..unit.len() - zeros]
        })
        .filter(|unit| !unit.is_empty())
        .collect()
}

/// Whether a message of raw NAL units behind start codes (Annex B) holds parameter sets, so that
/// decoding can begin with it.
pub(in crate::video) fn starts_annex_b(codec: Codec, packet: &[u8]) -> bool {
    annex_b_configuration(codec, packet).is_some()
}

/// The decoder's configuration (`avcC`, `hvcC`) out of the parameter sets of a message; `None` where it
/// has none.
pub(super) fn annex_b_configuration(codec: Codec, packet: &[u8]) -> Option<Vec<u8>> {
    let units = annex_b_units(packet);
    let kind = |unit: &[u8]| match codec {
        Codec::H264 => unit[0] & 0x1f,
        _ => unit[0] >> 1 & 0x3f,
    };
    let of = |wanted: u8| -> Vec<&[u8]> {
        units
            .iter()
            .copied()
            .filter(|u| kind(u) == wanted && u.len() >= 4 && u.len() <= usize::from(u16::MAX))
            .take(31)
            .collect()
    };
    let add = |out: &mut Vec<u8>, sets: &[&[u8]]| {
        for set in sets {
            out.extend((set.len() as u16).to_be_bytes());
            out.extend(*set);
        }
    };
    match codec {
        Codec::H264 => {
            let (sps, pps) = (of(7), of(8));
            let first = sps.first()?;
            // ISO/IEC 14496-15, section 5.3.3: version, profile, lengths of four bytes.
            let mut out = vec![1, first[1], first[2], first[3], 0xff, 0xe0 | sps.len() as u8];
            add(&mut out, &sps);
            out.push(pps.len() as u8);
            add(&mut out, &pps);
            Some(out)
        }
        Codec::Hevc => {
            let arrays = [32u8, 33, 34].map(|kind| (kind, of(kind)));
            if arrays[1].1.is_empty() {
                return None;
            }
            // Section 8.3.3; what stands in the sets themselves is left open.
            let mut out = vec![0; 23];
            (out[0], out[21], out[22]) = (1, 3, 3);
            for (kind, sets) in &arrays {
                out.push(0x80 | kind);
                out.extend((sets.len() as u16).to_be_bytes());
                add(&mut out, sets);
            }
            Some(out)
        }
        _ => None,
    }
}

/// A packet of a message with lengths of four bytes instead of start codes: ffmpeg waits for the next
/// packet to end one with start codes.
pub(super) fn with_lengths(packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(packet.len() + 16);
    for unit in annex_b_units(packet) {
        out.extend((unit.len() as u32).to_be_bytes());
        out.extend(unit);
    }
    out
}

/// A packet of MP4 with start codes instead of lengths, led by the parameter sets of the sample entry
/// where `key`.
pub(in crate::video) fn to_annex_b(
    config: &TrackConfig,
    packet: &[u8],
    key: bool,
) -> Result<Vec<u8>, String> {
    let name = config.codec();
    let codec = Codec::of(&name).ok_or_else(|| format!("{name} has no start codes"))?;
    let configuration = codec.configuration(config)?;
    let (size, sets) = match codec {
        Codec::H264 => {
            let size = configuration.get(4).map_or(4, |b| usize::from(b & 3) + 1);
            (size, avc_sets(&configuration))
        }
        Codec::Hevc => (hevc_length_size(&configuration), hevc_sets(&configuration)),
        _ => return Err(format!("{name} has no start codes")),
    };
    let sets = sets.ok_or("the parameter sets of the sample entry are cut off")?;
    let mut out = Vec::with_capacity(packet.len() + 64);
    let mut unit = |unit: &[u8]| {
        out.extend([0, 0, 0, 1]);
        out.extend(unit);
    };
    if key {
        sets.iter().for_each(|set| unit(set));
    }
    nal_units(packet, size).for_each(|range| unit(&packet[range]));
    Ok(out)
}

/// Parameter sets of an `avcC` (ISO/IEC 14496-15, section 5.3.3).
fn avc_sets(avcc: &[u8]) -> Option<Vec<&[u8]>> {
    let mut out = Vec::new();
    let mut rest = avcc.get(5..)?;
    for mask in [0x1f, 0xff] {
        let (&count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            out.push(sized(&mut rest)?);
        }
    }
    Some(out)
}

/// Parameter sets of an `hvcC` (section 8.3.3).
fn hevc_sets(hvcc: &[u8]) -> Option<Vec<&[u8]>> {
    let mut out = Vec::new();
    let (&arrays, mut rest) = hvcc.get(22..)?.split_first()?;
    for _ in 0..arrays {
        let head = rest.get(..3)?;
        rest = &rest[3..];
        for _ in 0..u16::from_be_bytes([head[1], head[2]]) {
            out.push(sized(&mut rest)?);
        }
    }
    Some(out)
}

/// Bytes behind their length of 16 bits.
fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let part = rest.get(2..2 + size)?;
    *rest = &rest[2 + size..];
    Some(part)
}

/// The `DecoderSpecificInfo` of an `esds` box (ISO/IEC 14496-1, section 7.2.6), of MPEG-4 visual.
fn decoder_specific(esds: &[u8]) -> Result<Vec<u8>, String> {
    let cut = || "the `esds` box is cut off".to_owned();
    let mut rest = esds.get(4..).ok_or_else(cut)?;
    let mut descriptor = |tag: u8, skip: &dyn Fn(&[u8]) -> usize| -> Result<Vec<u8>, String> {
        loop {
            let (&kind, after) = rest.split_first().ok_or_else(cut)?;
            let mut size = 0usize;
            let mut used = 0;
            for &byte in after.iter().take(4) {
                size = size << 7 | usize::from(byte & 0x7f);
                used += 1;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let body = after.get(used..).ok_or_else(cut)?;
            if kind == tag {
                // Nested ones follow its fixed fields.
                let fixed = skip(body);
                let kept = body.get(..size).unwrap_or(body).to_vec();
                rest = body.get(fixed..).ok_or_else(cut)?;
                return Ok(kept);
            }
            rest = body.get(size..).ok_or_else(cut)?;
        }
    };
    descriptor(3, &|body| {
        let flags = body.get(2).copied().unwrap_or(0);
        let url = if flags & 0x40 != 0 { 1 + usize::from(*body.get(3).unwrap_or(&0)) } else { 0 };
        3 + 2 * usize::from(flags & 0x80 != 0) + url + 2 * usize::from(flags & 0x20 != 0)
    })?;
    let config = descriptor(4, &|_| 13)?;
    match config.first() {
        Some(0x20) => descriptor(5, &|_| 0),
        Some(kind) => Err(format!("`mp4v` of object type {kind:#04x}; only MPEG-4 part 2 is read")),
        None => Err(cut()),
    }
}
