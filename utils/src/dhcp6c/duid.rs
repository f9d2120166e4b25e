//! Who we are to DHCPv6 servers (RFC 8415 section 11): the same over restarts, whatever interface there is. A modem may come back with another
//! link-level address, so the first one that we are known by is written down (`var/db/dhcp6c_duid` below the stack's root, in KAME's
//! form: two bytes of length in the machine's order, and the DUID).

use iopkt_sys::paths::Root;
use std::path::Path;

/// The stack's DUID; made of a link-level address (DUID-LL) the first time.
pub(super) fn of_this_stack(mac: [u8; 6]) -> Vec<u8> {
    let path = Root::find().with_prefix(std::env::var_os("SOCK").unwrap_or_default(), "/var/db/dhcp6c_duid");
    at(&path, mac)
}

fn at(path: &Path, mac: [u8; 6]) -> Vec<u8> {
    if let Some(d) = std::fs::read(path).ok().and_then(|b| read(&b)) {
        return d;
    }
    let duid = [&[0, 3, 0, 1][..], &mac].concat();
    let text = [&(duid.len() as u16).to_ne_bytes()[..], &duid].concat();
    let new = path.with_extension("new");
    let dir = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = dir.and_then(|()| std::fs::write(&new, text)).and_then(|()| std::fs::rename(&new, path));
    if let Err(e) = written {
        let _ = std::fs::remove_file(&new);
        eprintln!("dhcp6c: {}: {e}; after a restart servers may take us for another one", path.display());
    }
    duid
}

/// Two bytes for the type at least, 128 behind it at most (11.1).
fn read(b: &[u8]) -> Option<Vec<u8>> {
    let (n, d) = b.split_first_chunk::<2>()?;
    let n = usize::from(u16::from_ne_bytes(*n));
    (d.len() == n && (3..=130).contains(&n)).then(|| d.to_vec())
}

/// Number of the first association of an interface: of its name (FNV-1a), which a plug that comes back has again.
pub(super) fn iaid(ifname: &str) -> u32 {
    ifname.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept() {
        let dir = std::env::temp_dir().join(format!("iopkt-duid-{}", std::process::id()));
        let path = dir.join("var/db/dhcp6c_duid");
        let first = at(&path, [2, 0, 0, 0, 0, 1]);
        assert_eq!(first, [0, 3, 0, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(at(&path, [2, 0, 0, 0, 0, 2]), first);
        // A file that is no DUID is replaced.
        std::fs::write(&path, [9, 0, 1]).unwrap();
        assert_eq!(at(&path, [2, 0, 0, 0, 0, 2])[9], 2);
        std::fs::remove_dir_all(dir).unwrap();
        assert_ne!(iaid("ecm0"), iaid("ecm1"));
    }
}
