//! Reading: `moov` of a file in memory to a flat list of samples.

use super::{Sample, Track, TrackConfig};

type Res<T> = Result<T, String>;

/// The first video track of an MP4 file. Errors say what is wrong with the file.
pub(crate) fn read_track(file: &[u8]) -> Res<Track> {
    let mut moov = None;
    let mut fragmented = false;
    let mut cursor = Boxes { bytes: file };
    loop {
        match cursor.next_box() {
            Ok(Some((kind, body))) => match &kind {
                b"moov" => moov = Some(body),
                b"moof" => fragmented = true,
                _ => {}
            },
            Ok(None) => break,
            // A truncated last box matters only if the index was in it.
            Err(_) if moov.is_some() => break,
            Err(e) => return Err(format!("{e}; no index (`moov`) before it")),
        }
    }
    let moov = moov.ok_or("no index (`moov` box): the file is truncated or not MP4")?;
    let mut problem = None;
    let mut boxes = Boxes { bytes: moov };
    while let Some((kind, body)) = boxes.next_box()? {
        if &kind == b"trak" {
            match read_trak(body, file.len()) {
                Ok(Some(track)) if track.samples.is_empty() && fragmented => {
                    return Err("fragmented MP4 is not supported".to_owned());
                }
                Ok(Some(track)) => return Ok(track),
                Ok(None) => {}
                Err(e) => problem = problem.or(Some(e)),
            }
        }
    }
    Err(problem.unwrap_or_else(|| "no video track".to_owned()))
}

/// Walks sibling boxes.
struct Boxes<'a> {
    bytes: &'a [u8],
}

impl<'a> Boxes<'a> {
    fn next_box(&mut self) -> Res<Option<([u8; 4], &'a [u8])>> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let (Ok(size32), Some(kind)) = (be32(self.bytes, 0), self.bytes.get(4..8)) else {
            return Err("truncated box header".to_owned());
        };
        let kind: [u8; 4] = [kind[0], kind[1], kind[2], kind[3]];
        let (header, size) = match size32 {
            0 => (8, self.bytes.len()),
            1 => (16, usize::try_from(be64(self.bytes, 8)?).map_err(|_| "box too large")?),
            n => (8, n as usize),
        };
        let name = String::from_utf8_lossy(&kind).into_owned();
        let body = self
            .bytes
            .get(header..size)
            .ok_or_else(|| format!("box `{name}` reaches past the end of its parent"))?;
        self.bytes = &self.bytes[size..];
        Ok(Some((kind, body)))
    }
}

fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Res<Option<&'a [u8]>> {
    let Some((first, rest)) = path.split_first() else { return Ok(Some(bytes)) };
    let mut boxes = Boxes { bytes };
    while let Some((kind, body)) = boxes.next_box()? {
        if &kind == *first {
            return find(body, rest);
        }
    }
    Ok(None)
}

fn need<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Res<&'a [u8]> {
    find(bytes, path)?.ok_or_else(|| {
        let names: Vec<_> = path.iter().map(|k| String::from_utf8_lossy(&k[..])).collect();
        format!("box `{}` is missing", names.join("/"))
    })
}

fn read_trak(trak: &[u8], file_len: usize) -> Res<Option<Track>> {
    let mdia = need(trak, &[b"mdia"])?;
    let hdlr = need(mdia, &[b"hdlr"])?;
    if hdlr.get(8..12) != Some(&b"vide"[..]) {
        return Ok(None);
    }
    let mdhd = need(mdia, &[b"mdhd"])?;
    let timescale = if mdhd.first() == Some(&1) { be32(mdhd, 20)? } else { be32(mdhd, 12)? };
    if timescale == 0 {
        return Err("timescale 0".to_owned());
    }
    let media_time = match find(trak, &[b"edts", b"elst"])? {
        Some(elst) => edit_start(elst)?,
        None => 0,
    };
    let stbl = need(mdia, &[b"minf", b"stbl"])?;
    let stsd = need(stbl, &[b"stsd"])?;
    let sample_entry = first_entry(stsd)?;
    let (width, height) = (be16(sample_entry, 32)?, be16(sample_entry, 34)?);
    let config =
        TrackConfig { timescale, sample_entry: sample_entry.to_vec(), width, height, media_time };
    Ok(Some(Track { samples: read_samples(stbl, media_time, file_len)?, config }))
}

/// Media time of the first edit that is not empty.
fn edit_start(elst: &[u8]) -> Res<i64> {
    let wide = elst.first() == Some(&1);
    let count = be32(elst, 4)? as usize;
    let step = if wide { 20 } else { 12 };
    for i in 0..count {
        let at = 8 + i * step;
        let time =
            if wide { be64(elst, at + 8)? as i64 } else { i64::from(be32(elst, at + 4)? as i32) };
        if time >= 0 {
            return Ok(time);
        }
    }
    Ok(0)
}

fn first_entry(stsd: &[u8]) -> Res<&[u8]> {
    let count = be32(stsd, 4)?;
    if count != 1 {
        return Err(format!("{count} sample descriptions; only one is supported"));
    }
    let size = be32(stsd, 8)? as usize;
    match stsd.get(8..).and_then(|entry| entry.get(..size)) {
        Some(entry) if size >= 86 => Ok(entry),
        _ => Err("truncated sample description".to_owned()),
    }
}

fn read_samples(stbl: &[u8], media_time: i64, file_len: usize) -> Res<Vec<Sample>> {
    let sizes = sample_sizes(stbl, file_len)?;
    let mut samples: Vec<Sample> = sizes
        .iter()
        .map(|&size| Sample { offset: 0, size, pts: 0, cts: 0, duration: 0, sync: true })
        .collect();
    place(stbl, &mut samples)?;
    time(stbl, &mut samples, media_time)?;
    if let Some(stss) = find(stbl, &[b"stss"])? {
        samples.iter_mut().for_each(|s| s.sync = false);
        for i in 0..entries(stss, 4, 8, 4)? {
            let number = be32(stss, 8 + i * 4)? as usize;
            if let Some(sample) = number.checked_sub(1).and_then(|n| samples.get_mut(n)) {
                sample.sync = true;
            }
        }
    }
    Ok(samples)
}

fn sample_sizes(stbl: &[u8], file_len: usize) -> Res<Vec<u32>> {
    let Some(stsz) = find(stbl, &[b"stsz"])? else {
        return Err("box `stsz` is missing (compact sizes are not supported)".to_owned());
    };
    let (uniform, count) = (be32(stsz, 4)?, be32(stsz, 8)? as usize);
    if uniform != 0 {
        // No table backs the count here, but a coded frame has at least one byte.
        if count > file_len {
            return Err(format!("{count} samples in a file of {file_len} bytes"));
        }
        return Ok(vec![uniform; count]);
    }
    entries(stsz, 8, 12, 4)?;
    (0..count).map(|i| be32(stsz, 12 + i * 4)).collect()
}

/// File offsets, from the chunk tables.
fn place(stbl: &[u8], samples: &mut [Sample]) -> Res<()> {
    let (chunks, wide) = match find(stbl, &[b"stco"])? {
        Some(stco) => (stco, false),
        None => (need(stbl, &[b"co64"])?, true),
    };
    let chunk_count = entries(chunks, 4, 8, if wide { 8 } else { 4 })?;
    let stsc = need(stbl, &[b"stsc"])?;
    let runs = entries(stsc, 4, 8, 12)?;
    let (mut next, mut run) = (0usize, 0usize);
    for chunk in 0..chunk_count {
        while run + 1 < runs && be32(stsc, 8 + (run + 1) * 12)? as usize <= chunk + 1 {
            run += 1;
        }
        if runs == 0 {
            break;
        }
        let per_chunk = be32(stsc, 8 + run * 12 + 4)? as usize;
        let mut offset =
            if wide { be64(chunks, 8 + chunk * 8)? } else { be32(chunks, 8 + chunk * 4)?.into() };
        for _ in 0..per_chunk {
            let Some(sample) = samples.get_mut(next) else { return Ok(()) };
            sample.offset = offset;
            offset = offset.checked_add(sample.size.into()).ok_or("sample offset overflows")?;
            next += 1;
        }
    }
    if next < samples.len() {
        return Err(format!("chunk tables place {next} of {} samples", samples.len()));
    }
    Ok(())
}

/// Decoding and presentation times.
fn time(stbl: &[u8], samples: &mut [Sample], media_time: i64) -> Res<()> {
    let stts = need(stbl, &[b"stts"])?;
    let (mut next, mut dts) = (0usize, 0i64);
    for i in 0..entries(stts, 4, 8, 8)? {
        let (count, delta) = (be32(stts, 8 + i * 8)?, be32(stts, 12 + i * 8)?);
        for _ in 0..count {
            let Some(sample) = samples.get_mut(next) else { break };
            sample.duration = delta;
            sample.pts = dts - media_time;
            dts = dts.checked_add(delta.into()).ok_or("sample times overflow")?;
            next += 1;
        }
    }
    if next < samples.len() {
        return Err(format!("time table covers {next} of {} samples", samples.len()));
    }
    if let Some(ctts) = find(stbl, &[b"ctts"])? {
        let mut next = 0usize;
        for i in 0..entries(ctts, 4, 8, 8)? {
            let (count, offset) = (be32(ctts, 8 + i * 8)?, be32(ctts, 12 + i * 8)? as i32);
            for _ in 0..count {
                let Some(sample) = samples.get_mut(next) else { break };
                sample.cts = offset;
                sample.pts =
                    sample.pts.checked_add(offset.into()).ok_or("sample times overflow")?;
                next += 1;
            }
        }
    }
    Ok(())
}

/// The entry count at `count_at`, checked against the table's bytes.
fn entries(table: &[u8], count_at: usize, start: usize, size: usize) -> Res<usize> {
    let count = be32(table, count_at)? as usize;
    let room = table.len().saturating_sub(start) / size;
    if count > room {
        return Err(format!("a table of {count} entries has room for {room}"));
    }
    Ok(count)
}

fn be16(bytes: &[u8], at: usize) -> Res<u16> {
    let b = bytes.get(at..at + 2).ok_or("truncated box")?;
    Ok(u16::from_be_bytes([b[0], b[1]]))
}

fn be32(bytes: &[u8], at: usize) -> Res<u32> {
    let b = bytes.get(at..at + 4).ok_or("truncated box")?;
    Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

fn be64(bytes: &[u8], at: usize) -> Res<u64> {
    Ok(u64::from(be32(bytes, at)?) << 32 | u64::from(be32(bytes, at + 4)?))
}
