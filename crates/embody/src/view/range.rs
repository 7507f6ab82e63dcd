//! The `Range` header of a request for a video: one range of bytes, or the whole.

/// What a header asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Everything.
    All,
    /// From, to (exclusive).
    Part(usize, usize),
    /// Nothing that there is.
    Outside,
}

/// One range of RFC 9110, section 14.1.2; several, or another unit, mean the whole.
pub fn byte_range(header: &str, length: usize) -> Asked {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Asked::All;
    };
    let (from, to) = match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(length)),
        (Ok(from), Err(_)) if last.trim().is_empty() => (from, length),
        (Err(_), Ok(0)) if first.trim().is_empty() => return Asked::Outside,
        (Err(_), Ok(tail)) if first.trim().is_empty() => (length.saturating_sub(tail), length),
        _ => return Asked::All,
    };
    if from >= length { Asked::Outside } else { Asked::Part(from, to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_rfc_has_them() {
        assert_eq!(byte_range("bytes=0-9", 100), Asked::Part(0, 10));
        assert_eq!(byte_range("bytes=90-200", 100), Asked::Part(90, 100));
        assert_eq!(byte_range("bytes=90-", 100), Asked::Part(90, 100));
        assert_eq!(byte_range("bytes=-10", 100), Asked::Part(90, 100));
        assert_eq!(byte_range("bytes=-1000", 100), Asked::Part(0, 100));
        assert_eq!(byte_range("bytes=100-", 100), Asked::Outside);
        assert_eq!(byte_range("bytes=-0", 100), Asked::Outside);
        for whole in ["lines=1-2", "bytes=5-2", "bytes=a-b", "bytes=0-1,4-5", "bytes"] {
            assert_eq!(byte_range(whole, 100), Asked::All, "{whole}");
        }
    }
}
