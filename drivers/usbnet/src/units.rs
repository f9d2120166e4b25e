//! Interface numbers that devices had, so that one which comes back gets its name back.

/// Most devices remembered.
const MAX: usize = 64;

/// Which device had which number.
#[derive(Debug, Default)]
pub struct Units(Vec<(String, u32)>);

impl Units {
    /// The number that this device had.
    pub fn of(&self, key: &str) -> Option<u32> {
        self.0.iter().find(|u| u.0 == key).map(|u| u.1)
    }

    /// The device has the interface `name` now.
    pub fn remember(&mut self, key: String, name: &str) {
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let Ok(unit) = digits.parse() else { return };
        self.0.retain(|u| u.0 != key);
        if self.0.len() >= MAX {
            self.0.remove(0);
        }
        self.0.push((key, unit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_number_counts_and_the_oldest_device_is_forgotten() {
        let mut u = Units::default();
        u.remember("a".into(), "ecm0");
        u.remember("b".into(), "wan12");
        u.remember("a".into(), "ecm3");
        u.remember("c".into(), "odd");
        assert_eq!((u.of("a"), u.of("b"), u.of("c")), (Some(3), Some(12), None));
        for i in 0..MAX {
            u.remember(format!("n{i}"), "ecm1");
        }
        assert_eq!((u.of("a"), u.of("n0")), (None, Some(1)));
    }
}
