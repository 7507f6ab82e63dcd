//! Names of files that come from outside: each must stay inside the folder it is meant for.

use std::collections::HashSet;

use super::error::StoreError;

/// Folder inside a folder under construction where files lie that are not complete.
pub(super) const PARTS: &str = ".embody-parts";

/// Says why `name` may not be a path below a folder.
///
/// # Errors
/// The reason.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 1024 {
        return Err("a name is empty or longer than 1024 bytes");
    }
    if name.chars().any(|c| c == '\\' || c.is_control()) {
        return Err("it holds a backslash or a control character");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Err("it is absolute or has an empty part");
        }
        if part == "." || part == ".." {
            return Err("it leaves its folder");
        }
        // Whoever opens such a folder with git would run what is configured in it.
        if part.eq_ignore_ascii_case(".git") || part == PARTS {
            return Err("that name is not for data");
        }
    }
    Ok(())
}

/// Checks every name of a listing: safe, once each, and none a folder of another.
///
/// # Errors
/// The first that is not.
pub(super) fn check_names<'a>(
    url: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), StoreError> {
    let hostile = |name: &str, why| StoreError::HostileName {
        url: url.to_owned(),
        name: name.to_owned(),
        why,
    };
    let mut seen = HashSet::new();
    for name in names.clone() {
        check_name(name).map_err(|why| hostile(name, why))?;
        if !seen.insert(name) {
            return Err(hostile(name, "twice"));
        }
    }
    for name in names {
        for (at, _) in name.match_indices('/') {
            if seen.contains(&name[..at]) {
                return Err(hostile(name, "and a file where its folder would be"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            "a\\..\\b",
            "a\0b",
            "a\nb",
            ".git/config",
            "a/.GIT/hooks/x",
            ".embody-parts/x",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        for name in ["a", "data/chunk-000/file-000.parquet", ".gitattributes", "a..b", "ä/ö x"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_file_can_not_be_a_folder() {
        let check = |names: &[&str]| check_names("u", names.iter().copied());
        assert!(check(&["a", "b/c"]).is_ok());
        assert!(check(&["a", "a/c"]).is_err());
        assert!(check(&["a/c", "a"]).is_err());
        assert!(check(&["a", "a"]).is_err());
    }
}
