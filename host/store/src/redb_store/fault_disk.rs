//! A disk in memory that fills up, fails and loses power on demand.

#![allow(clippy::unwrap_used, reason = "a poisoned lock is a failed test")]

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::disk::{Disk, RESERVE};
use super::open;

const PAGE: u64 = 4096;
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    content: Vec<u8>,
    /// What survives a power cut for certain.
    synced: Vec<u8>,
    /// What came since, and may survive in part.
    unsynced: Vec<Change>,
    used: BTreeSet<u64>,
    reserve: bool,
    capacity: u64,
    /// Reports endless space, as some file systems do, and fails only when written to.
    lies: bool,
    open: bool,
    /// Writes, syncs and changes of length so far.
    operations: u64,
    fail_at: Option<u64>,
    cut_at: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct FaultDisk(Arc<Mutex<State>>);

impl FaultDisk {
    /// A disk with a new store on it.
    pub(super) fn new(capacity: u64) -> Self {
        let disk = Self(Arc::new(Mutex::new(State {
            capacity,
            ..State::default()
        })));
        open::initialise(disk.open().unwrap(), &disk).unwrap();
        disk
    }

    /// A disk with these bytes on it.
    pub(super) fn with(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            capacity: u64::MAX,
            synced: content.clone(),
            content,
            ..State::default()
        })))
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    pub(super) fn set_capacity(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    pub(super) fn lie_about_space(&self) {
        self.state().lies = true;
    }

    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets one operation fail, so many from now.
    pub(super) fn fail_after(&self, operations: u64) {
        let mut state = self.state();
        state.fail_at = Some(state.operations + operations);
    }

    /// From that operation on, nothing works any more.
    pub(super) fn cut_power_after(&self, operations: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.operations + operations);
    }

    /// What is on the disk after the power cut: everything synced, and of the rest whatever
    /// sectors the dice let through.
    pub(super) fn power_up(&self, dice: &mut Dice) -> Self {
        let mut state = self.state();
        let mut content = std::mem::take(&mut state.synced);
        for change in std::mem::take(&mut state.unsynced) {
            match change {
                Change::Length(length) if dice.coin() => content.resize(length as usize, 0),
                Change::Length(_) => {}
                Change::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if dice.coin() {
                            let at = offset as usize + index * SECTOR;
                            if content.len() < at + sector.len() {
                                content.resize(at + sector.len(), 0);
                            }
                            content[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(State {
            synced: content.clone(),
            used: (0..(content.len() as u64).div_ceil(PAGE)).collect(),
            content,
            reserve: state.reserve,
            capacity: state.capacity,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations += 1;
        if state.cut_at.is_some_and(|cut| state.operations >= cut) {
            return Err(io::Error::other("the power is gone"));
        }
        if state.fail_at == Some(state.operations) {
            return Err(io::Error::other("injected"));
        }
        Ok(state)
    }
}

impl State {
    fn taken(&self) -> u64 {
        self.used.len() as u64 * PAGE + if self.reserve { RESERVE } else { 0 }
    }
}

impl Disk for FaultDisk {
    fn path(&self) -> PathBuf {
        PathBuf::from("memory")
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.state();
        if state.open {
            return Err(io::Error::other("opened while it was open"));
        }
        state.open = true;
        Ok(Box::new(self.clone()))
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        if state.lies {
            return Ok(u64::MAX);
        }
        Ok(state.capacity.saturating_sub(state.taken()))
    }

    fn reserve_held(&self) -> bool {
        self.state().reserve
    }

    fn hold_reserve(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.taken() + RESERVE > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.reserve = true;
        Ok(())
    }

    fn release_reserve(&self) -> io::Result<()> {
        self.state().reserve = false;
        Ok(())
    }
}

impl StorageBackend for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let start = offset as usize;
        let stored = state
            .content
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(stored);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.operate()?;
        state.content.resize(len as usize, 0);
        // A file grows without taking space; cutting it gives space back.
        state.used.retain(|page| page * PAGE < len);
        state.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        state.synced = state.content.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.operate()?;
        let end = offset + data.len() as u64;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            if !state.used.contains(&page) {
                if state.taken() + PAGE > state.capacity {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                state.used.insert(page);
            }
        }
        if (state.content.len() as u64) < end {
            state.content.resize(end as usize, 0);
        }
        state.content[offset as usize..end as usize].copy_from_slice(data);
        state.unsynced.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.state().open = false;
        Ok(())
    }
}

/// Reproducible chance.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}
