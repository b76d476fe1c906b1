//! Versions `A.x.y[.z]` and releases `A.x.y[.z]-build`: how they are written and ordered.
//!
//! One spelling for one version, so that two strings are equal exactly when the versions are: no
//! leading zeros, no sign, no space, and a last `.0` is never written. The order is by number,
//! part by part, and total; a missing `z` counts as 0. A train is `A.x`, a maintenance release
//! `A.x.y`; what may follow what is for the judges of the agent, not for this module.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::refusal::{Code, Refusal};

/// A version `A.x.y[.z]`; each part is 0 to 65535.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    a: u16,
    x: u16,
    y: u16,
    z: u16,
}

impl Version {
    /// The version with these four parts; 0 as the last one means that it is not written.
    pub const fn new(a: u16, x: u16, y: u16, z: u16) -> Self {
        Self { a, x, y, z }
    }

    /// The train: `A.x`.
    pub const fn train(self) -> (u16, u16) {
        (self.a, self.x)
    }

    /// The maintenance release: `A.x.y`.
    pub const fn maintenance(self) -> (u16, u16, u16) {
        (self.a, self.x, self.y)
    }

    /// The patch number `z`; 0 when none is written.
    pub const fn patch(self) -> u16 {
        self.z
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, x, y, z } = self;
        match z {
            0 => f.pad(&format!("{a}.{x}.{y}")),
            _ => f.pad(&format!("{a}.{x}.{y}.{z}")),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Version {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| {
            Err(Refusal::new(Code::VersionSpelling, format!("`{text}` is not a version: {why}")))
        };
        let mut parts = [0_u16; 4];
        let mut count = 0;
        for part in text.split('.') {
            let Some(place) = parts.get_mut(count) else {
                return refuse("more than four parts");
            };
            match number(part) {
                Some(value) => *place = value,
                None => return refuse("a part is not a number from 0 to 65535 written plainly"),
            }
            count += 1;
        }
        match (count, parts[3]) {
            (4, 0) => refuse("a last .0 is never written"),
            (3 | 4, _) => Ok(Self::new(parts[0], parts[1], parts[2], parts[3])),
            _ => refuse("fewer than three parts"),
        }
    }
}

/// A version with its build number, `7.4.2-90`: what a bundle, a slot and os-release name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The version.
    pub version: Version,
    /// The build: later builds of one version have higher numbers.
    pub build: u32,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.version, self.build))
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Release {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| {
            Err(Refusal::new(Code::VersionSpelling, format!("`{text}` is not a release: {why}")))
        };
        let Some((version, build)) = text.split_once('-') else {
            return refuse("no build number; it looks like 7.4.2-90");
        };
        match number(build) {
            Some(build) => Ok(Self { version: version.parse()?, build }),
            None => refuse("the build is not a number from 0 to 4294967295 written plainly"),
        }
    }
}

/// Reads digits only, without a leading zero: `str::parse` alone would accept `+1` and `01`.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// Versions and releases are strings in documents, in their one spelling.
macro_rules! serde_as_string {
    ($($name:ty),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use serde_as_string;

serde_as_string!(Version, Release);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_spellings_of_a_version_are_refused() {
        for text in [
            "",
            "7",
            "7.4",
            "7.4.",
            "7.4.2.",
            ".7.4.2",
            "7.4.2.0",
            "7.04.2",
            "+7.4.2",
            "7.4.2.1.1",
            "7.4.2 ",
            " 7.4.2",
            "v7.4.2",
            "7.4.65536",
            "7.4.-1",
            "7.4.2-90",
            "7.4.\u{0663}",
        ] {
            let refusal = text.parse::<Version>().expect_err(text);
            assert_eq!(refusal.code(), "version-spelling", "{text}");
        }
        for text in ["7.4.2", "7.4.2-", "7.4.2-090", "7.4.2-+1", "7.4.2-4294967296", "7.4-90", "-1"]
        {
            let refusal = text.parse::<Release>().expect_err(text);
            assert_eq!(refusal.code(), "version-spelling", "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number_and_a_missing_patch_is_zero() {
        let written = ["0.0.0", "6.9.9.999", "7.4.2", "7.4.2.1", "7.4.2.10", "7.4.10", "7.10.0"];
        let read: Vec<Version> = written.iter().map(|t| t.parse().expect("a version")).collect();
        assert!(read.is_sorted_by(|a, b| a < b), "{read:?}");
        let (old, new): (Release, Release) =
            ("7.4.2-90".parse().expect("a release"), "7.4.2-172".parse().expect("a release"));
        assert!(old < new && old < "7.4.2.1-1".parse().expect("a release"));
        assert_eq!(
            (read[3].train(), read[3].maintenance(), read[3].patch()),
            ((7, 4), (7, 4, 2), 1)
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back_and_nothing_else_is_equal_to_it(
            a in any::<[u16; 4]>(), b in any::<[u16; 4]>(), build: u32,
        ) {
            let (v, w) = (Version::new(a[0], a[1], a[2], a[3]), Version::new(b[0], b[1], b[2], b[3]));
            prop_assert_eq!(v.to_string().parse::<Version>().expect("printed"), v);
            prop_assert_eq!(v.cmp(&w), a.cmp(&b));
            prop_assert_eq!(v == w, v.to_string() == w.to_string());
            let release = Release { version: v, build };
            prop_assert_eq!(release.to_string().parse::<Release>().expect("printed"), release);
        }

        #[test]
        fn whatever_is_read_prints_as_it_was_written(text in "[0-9.]{0,12}(-[0-9]{1,4})?") {
            if let Ok(v) = text.parse::<Version>() { prop_assert_eq!(v.to_string(), text.clone()); }
            if let Ok(r) = text.parse::<Release>() { prop_assert_eq!(r.to_string(), text); }
        }
    }
}
