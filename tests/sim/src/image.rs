//! The simulated systems: small images that say who they are in their own bytes, and signed bundles of them.
//!
//! An image is four chunks: the first begins with the text that plays os-release and health, the second is its own, the
//! third is zeros in every other release, the fourth is the same in all. So a staging meets chunks that differ, chunks
//! that become zeros, and chunks that are there already.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::{Arc, OnceLock};

use bundle_format::{Digest, Release, Trust};
use upgrade_agent::source::Handed;
use upgrade_bundle::{Description, ImageOptions, SigningKey, Workshop, build};

use crate::random::Random;
use crate::storage::Bytes;

/// The platform of every simulated appliance.
pub const PLATFORM: &str = "Sim";

/// Length of a chunk.
pub const CHUNK: usize = 64 * 1024;

/// Length of an image and of a slot.
pub const IMAGE_LEN: usize = 4 * CHUNK;

/// A client hands over this much at a time, so that a bundle takes several writes.
const HANDED_PIECE: usize = 48 * 1024;

/// The releases there are; each in every temper.
pub const RELEASES: u32 = 6;

/// What an image does when it runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Temper {
    /// All probes are good.
    Good,
    /// A probe says no.
    Sick,
    /// Its kernel panics.
    Panics,
    /// It hangs, and the watchdog resets it.
    Hangs,
    /// It runs, but its agent never starts; the deadline unit resets it.
    Mute,
}

impl Temper {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Good, Self::Sick, Self::Panics, Self::Hangs, Self::Mute];
}

/// An image and its signed bundle.
#[derive(Debug)]
pub struct Image {
    /// Its release.
    pub release: Release,
    /// What it does when it runs.
    pub temper: Temper,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
    name: String,
    bundle: Arc<[u8]>,
}

impl Image {
    /// The bundle's file name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The bundle, as a client hands it over.
    pub fn handed(&self) -> Handed {
        let len = self.bundle.len() as u64;
        Handed::new(Slow(Cursor::new(Arc::clone(&self.bundle))), Some(len))
    }
}

/// A file that gives little at a time.
struct Slow(Cursor<Arc<[u8]>>);

impl Read for Slow {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let piece = bytes.len().min(HANDED_PIECE);
        self.0.read(&mut bytes[..piece])
    }
}

impl Seek for Slow {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Every image there is, and whom the appliance trusts.
#[derive(Debug)]
pub struct Images {
    all: Vec<Image>,
    trust: Trust,
}

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    /// A whole image: its place in [`Images`].
    Whole(usize),
    /// Its first chunk is that of an image, the rest is not: it would be loaded, and then die.
    Broken(usize),
    /// Nothing that could be loaded.
    Nothing,
}

impl Images {
    /// All images, made once in a process.
    pub fn get() -> &'static Self {
        static IMAGES: OnceLock<Images> = OnceLock::new();
        IMAGES.get_or_init(Self::make)
    }

    fn make() -> Self {
        let key = SigningKey::from_seed([7; 32]);
        let trust = Trust::from_keys([key.public()], NonZeroU8::MIN)
            .expect("OK because the key is not weak");
        let tempers = |release| Temper::ALL.into_iter().map(move |temper| (release, temper));
        let all = (1..=RELEASES)
            .flat_map(tempers)
            .map(|(release, temper)| image(&key, release, temper))
            .collect();
        Self { all, trust }
    }

    /// The image of a release (from 1 on) in a temper.
    pub fn of(&self, release: u32, temper: Temper) -> &Image {
        &self.all[Self::place(release, temper)]
    }

    /// Where an image stands.
    pub fn place(release: u32, temper: Temper) -> usize {
        let before = usize::try_from(release - 1).expect("OK because there are few releases");
        before * Temper::ALL.len()
            + Temper::ALL.iter().position(|t| *t == temper).expect("OK because ALL has all")
    }

    /// The image at a place.
    pub fn at(&self, place: usize) -> &Image {
        &self.all[place]
    }

    /// Whom the appliance trusts.
    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// What these bytes are.
    pub fn holding(&self, bytes: &Bytes) -> Holding {
        for (place, image) in self.all.iter().enumerate() {
            if bytes.starts_as(&image.bytes, CHUNK) {
                let whole = bytes.starts_as(&image.bytes, IMAGE_LEN);
                return if whole { Holding::Whole(place) } else { Holding::Broken(place) };
            }
        }
        Holding::Nothing
    }
}

fn image(key: &SigningKey, number: u32, temper: Temper) -> Image {
    let nth = Temper::ALL.iter().position(|t| *t == temper).expect("OK because ALL has all") + 1;
    let release: Release =
        format!("{number}.0.0-{nth}").parse().expect("OK because it is a release");
    let raw = raw(release, number, temper);
    let options = ImageOptions { chunk_size: 64 * 1024, level: 1, ..ImageOptions::default() };
    let platform = PLATFORM.parse().expect("OK because it is a platform");
    let description = Description { image: options, ..Description::new(platform, release) };
    let workshop = Workshop { threads: NonZeroUsize::MIN, ..Workshop::default() };
    let mut bundle = Vec::new();
    let spool = Cursor::new(Vec::new());
    let built =
        build(&description, &raw[..], std::slice::from_ref(key), &workshop, spool, &mut bundle)
            .expect("OK because the description is right and memory does not fail");
    Image {
        release,
        temper,
        digest: Digest::of(&raw),
        bytes: Bytes::new(&raw),
        name: built.name.to_string(),
        bundle: bundle.into(),
    }
}

fn raw(release: Release, number: u32, temper: Temper) -> Vec<u8> {
    let health = format!("{temper:?}").to_lowercase();
    let text = format!("IMAGE_ID=sim\nIMAGE_VERSION={release}\nHEALTH={health}\n");
    let mut raw = text.into_bytes();
    raw.resize(1024, 0);
    let mut own = Random::new(u64::from(number) << 8 | temper as u64);
    fill(&mut raw, 2 * CHUNK, &mut own);
    if number.is_multiple_of(2) {
        raw.resize(3 * CHUNK, 0);
    } else {
        fill(&mut raw, 3 * CHUNK, &mut own);
    }
    fill(&mut raw, IMAGE_LEN, &mut Random::new(0));
    raw
}

fn fill(raw: &mut Vec<u8>, len: usize, random: &mut Random) {
    while raw.len() < len {
        raw.extend_from_slice(&random.next().to_le_bytes());
    }
}
