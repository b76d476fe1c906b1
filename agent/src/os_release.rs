//! The two lines of os-release that name a slot's system: `IMAGE_ID` and `IMAGE_VERSION`.
//!
//! The format is that of os-release(5): shell-like assignments, a line each, values optionally quoted. Only plain values
//! are taken; a release has no character that would need more.

use bundle_format::Release;

/// The release that `IMAGE_VERSION` names.
pub fn release(text: &str) -> Result<Release, String> {
    let value =
        value(text, "IMAGE_VERSION").ok_or("the running slot's os-release has no IMAGE_VERSION")?;
    value.parse().map_err(|e| format!("the running slot's IMAGE_VERSION: {e}"))
}

/// The value of one key; the last assignment counts, as in a shell.
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let assigned = |line: &'a str| line.trim().strip_prefix(key)?.strip_prefix('=');
    let value = text.lines().filter_map(assigned).next_back()?.trim();
    let unquoted =
        ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some(unquoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_image_version() {
        let text = "ID=acme\nIMAGE_ID=acme_sgw\nIMAGE_VERSION=\"7.4.2-90\"\n";
        assert_eq!(release(text).map(|r| r.to_string()), Ok("7.4.2-90".to_owned()));
        assert_eq!(value(text, "IMAGE_ID"), Some("acme_sgw"));
    }

    #[test]
    fn a_missing_or_wrong_version_says_so() {
        assert!(release("ID=acme\n").unwrap_err().contains("no IMAGE_VERSION"));
        assert!(release("IMAGE_VERSION=latest\n").unwrap_err().contains("latest"));
    }
}
