//! A GRUB environment block, read and changed exactly as GRUB 2.06 does it.
//!
//! The boot script sees a copy of the boot state through `load_env` and changes it through
//! `save_env`. Whether a copy counts must be the same answer on both sides, for any 4096 bytes that
//! a cut write may leave behind, so this reader has GRUB's habits, not nicer ones:
//!
//! * A name runs up to the next `=`, line breaks included: a line without `=` swallows the next.
//! * A backslash takes the meaning from the character after it, in values and in comments.
//! * A value whose line does not end within the block ends the reading; what came before counts.
//! * The last of several equal names wins when reading, the first one is changed when writing.
//! * Names and values are C strings: a NUL ends them.
//! * Nothing can be changed in a block that is not filled up with `#` after its last line.
//!
//! A test gives the same damaged blocks to GRUB and to this file.

use crate::copies::Block;

/// The first line of every environment block.
pub(crate) const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";

/// What fills a block up after its last line.
pub(crate) const PADDING: u8 = b'#';

/// Whether `load_env` would take the block at all.
pub(crate) fn is_signed(block: &Block) -> bool {
    block.starts_with(SIGNATURE)
}

/// The value that `load_env` would give the variable `name`.
pub(crate) fn get(block: &Block, name: &[u8]) -> Option<Vec<u8>> {
    let body = block.strip_prefix(SIGNATURE)?;
    // The padding is a comment that does not end: GRUB reads through it and finds nothing.
    let mut rest = &body[..used_len(body)];
    let mut found = None;
    while let Some((assignment, after)) = next_line(rest) {
        if let Some((its_name, value)) = assignment
            && c_string(its_name) == name
        {
            found = Some(c_string(&unescaped(value)).to_vec());
        }
        rest = after;
    }
    found
}

/// The block after `save_env` set `name` to `value`, a value without anything to escape. `None` if
/// GRUB would refuse.
pub(crate) fn set(block: &Block, name: &[u8], value: &[u8]) -> Option<Box<Block>> {
    let body = block.strip_prefix(SIGNATURE)?;
    let (used, padding) = body.split_at(used_len(body));
    if !used.ends_with(b"\n") {
        return None;
    }
    let mut changed = SIGNATURE.to_vec();
    if let Some(start) = value_of(used, name) {
        let old = line_len(&used[start..])?;
        changed.extend_from_slice(&used[..start]);
        changed.extend_from_slice(value);
        changed.extend_from_slice(&used[start + old..]);
    } else {
        changed.extend_from_slice(used);
        for part in [name, b"=", value, b"\n"] {
            changed.extend_from_slice(part);
        }
    }
    if changed.len() > SIGNATURE.len() + used.len() + padding.len() {
        return None;
    }
    changed.resize(block.len(), PADDING);
    changed.into_boxed_slice().try_into().ok()
}

/// How much of the body stands before the padding.
fn used_len(body: &[u8]) -> usize {
    body.iter().rposition(|&byte| byte != PADDING).map_or(0, |last| last + 1)
}

/// Name and value of an assignment, the backslashes still in it.
type Assignment<'a> = (&'a [u8], &'a [u8]);

/// The first line of `text` (`None` in place of a comment) and what comes after it; `None` where
/// GRUB stops reading.
fn next_line(text: &[u8]) -> Option<(Option<Assignment<'_>>, &[u8])> {
    if text.first() == Some(&b'#') {
        return Some((None, text.get(line_len(text)? + 1..)?));
    }
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    let length = line_len(value)?;
    Some((Some((name, &value[..length])), &value[length + 1..]))
}

/// Where the value of `name` starts, searched as `save_env` does: line by line, at their starts.
fn value_of(text: &[u8], name: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at + name.len() + 1 < text.len() {
        let line = &text[at..];
        if line.strip_prefix(name).is_some_and(|after| after.starts_with(b"=")) {
            return Some(at + name.len() + 1);
        }
        at += line_len(line)? + 1;
    }
    None
}

/// How many bytes stand before the line break that no backslash hides.
fn line_len(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\n' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The value without its backslashes.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut bytes = value.iter();
    let mut plain = Vec::new();
    while let Some(&byte) = bytes.next() {
        plain.extend(if byte == b'\\' { bytes.next().copied() } else { Some(byte) });
    }
    plain
}

/// What C sees of these bytes.
fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}
