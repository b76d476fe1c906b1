//! The clocks of this machine.

use std::io;
use std::time::Duration;

use flow::readiness::Clock;
use nix::time::{ClockId, clock_gettime};

/// Time since this boot, sleep included.
pub fn boottime() -> Duration {
    // Both clocks always exist on Linux; should the kernel ever say otherwise, no time passes, and no deadline is met early.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Seconds since 1970.
pub fn wall() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| time.tv_sec());
    u64::try_from(now).unwrap_or(0)
}

/// What the kernel says of its clock: adjtimex(2), asked without changing anything.
pub fn discipline() -> io::Result<Clock> {
    let (state, status, max_error) = adjtimex()?;
    let synchronised = state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0;
    Ok(Clock { synchronised, max_error_us: u64::try_from(max_error).unwrap_or(0) })
}

#[expect(unsafe_code, reason = "nix has no adjtimex")]
fn adjtimex() -> io::Result<(i32, i32, i64)> {
    // SAFETY: all-zero bytes are a valid timex (it holds integers only); `modes` 0 changes nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timex of the right type for the length of the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok((state, timex.status, timex.maxerror))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers_about_its_clock() {
        super::discipline().expect("adjtimex without changes is allowed to everybody");
    }

    #[test]
    fn the_boot_clock_never_goes_back() {
        let first = super::boottime();
        assert!(super::boottime() >= first && first > std::time::Duration::ZERO);
    }
}
