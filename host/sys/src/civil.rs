//! Wall-clock time for people.

use std::time::Duration;

/// A date and time in the local time zone (`TZ`, `/etc/localtime`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 60.
    pub second: u8,
}

impl Civil {
    /// Local time of a moment since 1970-01-01 00:00 UTC.
    pub fn local(since_epoch: Duration) -> Civil {
        let t = libc::time_t::try_from(since_epoch.as_secs()).unwrap_or(0);
        // SAFETY: `tm` is plain integers and a pointer that we do not read; all-zero is a valid value.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values of the right types; localtime_r keeps neither.
        unsafe { libc::localtime_r(&t, &mut tm) };
        Civil {
            year: tm.tm_year + 1900,
            month: tm.tm_mon as u8 + 1,
            day: tm.tm_mday as u8,
            hour: tm.tm_hour as u8,
            minute: tm.tm_min as u8,
            second: tm.tm_sec as u8,
        }
    }

    /// English abbreviation of the month.
    pub fn month_name(&self) -> &'static str {
        const NAMES: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        NAMES[usize::from(self.month.clamp(1, 12) - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_near_its_utc_date_in_any_zone() {
        let c = Civil::local(Duration::from_secs(86_400 * 365)); // 1971-01-01 00:00 UTC
        assert!(
            c.year == 1971 && c.month == 1 && c.day == 1 || c.year == 1970 && c.month == 12 && c.day == 31
        );
        assert!(["Jan", "Dec"].contains(&c.month_name()));
    }
}
