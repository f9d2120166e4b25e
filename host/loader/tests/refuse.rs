//! What does not fit is refused before anything of it runs, in one line that names file, cause and remedy.

mod common;

use common::{Dir, World, cc};
use iopkt_base::Errno;
use iopkt_loader::{Kind, Takes, inspect};
use std::path::PathBuf;

/// An object whose constructor leaves a trace, with fields overridden.
fn object(dir: &Dir, name: &str, fields: &str) -> PathBuf {
    let trace = dir.0.join("ran");
    let src = format!(
        r#"#include <iopkt/driver.h>
#include <fcntl.h>
#include <unistd.h>
int creat(const char *, mode_t);
__attribute__((constructor)) static void ran(void) {{ close(creat("{trace}", 0600)); }}
static int load(const struct iopkt_host *h, struct iopkt_port *p, const char *o, void **s)
{{ (void)h; (void)o; (void)s; h->resident(p, IOPKT_STAY_REMOVED); return 0; }}
static const struct iopkt_driver_ops ops = {{ .head = IOPKT_HEAD(struct iopkt_driver_ops), .load = load }};
#pragma GCC diagnostic ignored "-Woverride-init"
IOPKT_EXPORT const struct iopkt_object iopkt_object = {{
    .magic = IOPKT_MAGIC, .head = IOPKT_HEAD(struct iopkt_object), .kind = IOPKT_KIND_DRIVER,
    .name = "stub", .prefix = "stub", .version = "1", .description = "a stub",
    .options = "a\tflag\nb=N\tvalue\nc[=N]\tmaybe\n", .driver = &ops,
    {fields}
}};
"#,
        trace = trace.display()
    );
    let so = dir.0.join(name);
    cc(&src, &so);
    so
}

fn refused(w: &World, name: &str, fields: &str, errno: Errno, says: &str) {
    let so = object(&w.dir, name, fields);
    let e = w.load(&so.display().to_string(), "").err().unwrap_or_else(|| panic!("{name} was loaded"));
    assert!(e.text.contains(says) && e.text.contains(name), "{name}: {e}");
    assert_eq!(e.errno, errno, "{e}");
    assert!(!e.text.contains('\n'));
    assert!(!w.dir.0.join("ran").exists(), "{name} has run");
    assert!(!common::mapped(name), "{name} is mapped");
}

#[test]
fn objects_that_do_not_fit() {
    let w = World::new("unfit");
    let (noexec, unfit) = (Errno(libc::ENOEXEC), Errno::EOPNOTSUPP);
    refused(&w, "magic.so", ".magic = \"NOTOURS!\"", noexec, "wrong magic");
    refused(
        &w,
        "major.so",
        ".head = { sizeof(struct iopkt_object), 2, 0 }",
        unfit,
        "built for driver ABI 2.0",
    );
    refused(
        &w,
        "needs.so",
        ".head = { sizeof(struct iopkt_object), 1, 9 }, .needs_minor = 7",
        unfit,
        "needs driver ABI 1.7, this io-pkt has 1.2; update io-pkt",
    );
    refused(&w, "bits.so", ".needs = 0x10", unfit, "0x10");
    refused(&w, "kind.so", ".kind = IOPKT_KIND_MODULE", Errno::EINVAL, "is a stack module, not a driver");
    refused(&w, "kind9.so", ".kind = 9", unfit, "unknown kind 9");
    refused(&w, "noname.so", ".name = \"\"", noexec, "no name");
    refused(&w, "prefix.so", ".prefix = \"a/b\"", noexec, "no good interface prefix");
    refused(&w, "control.so", ".description = \"a\\nb\"", noexec, "description is not clean");
    refused(&w, "options.so", ".options = \"no tab\\n\"", noexec, "list of options");
}

#[test]
fn tables_of_another_size_or_missing() {
    let w = World::new("tables");
    let so = object(&w.dir, "notable.so", ".driver = 0");
    let e = w.load(&so.display().to_string(), "").err().unwrap();
    assert!(e.text.contains("entry table is missing"), "{e}");
    // A newer minor version that needs nothing new is welcome.
    let so = object(&w.dir, "minor.so", ".head = { sizeof(struct iopkt_object) + 64, 1, 9 }");
    let mut d = w.load(&so.display().to_string(), "").unwrap();
    assert_eq!(d.info().abi, (1, 9));
    d.unload(common::PATIENCE).unwrap();
}

/// A driver that was built before tables grew: what stands behind the size that it gives is not looked at.
#[test]
fn an_object_of_the_first_minor_version() {
    let w = World::new("first");
    let so = w.dir.0.join("first.so");
    cc(
        r#"#include <iopkt/driver.h>
#include <stdlib.h>
static int bind(void *d, struct iopkt_port *p) { (void)d; (void)p; return 0; }
static uint32_t transmit(void *d, struct iopkt_mbuf **v, uint32_t n) { (void)d; (void)v; (void)n; return 0; }
static void detach(void *d) { (void)d; }
static const struct iopkt_device_ops dev_ops = {
    .head = { offsetof(struct iopkt_device_ops, set_media), 1, 0 }, .bind = bind, .transmit = transmit,
    .detach = detach, .set_media = (int (*)(void *, uint32_t))1, .may_destroy = (int (*)(void *))1,
};
static int load(const struct iopkt_host *h, struct iopkt_port *p, const char *o, void **s)
{
    struct iopkt_device d = {
        .head = { offsetof(struct iopkt_device, media), 1, 0 }, .ops = &dev_ops, .unit = IOPKT_UNIT_ANY,
        .link_type = IOPKT_LINK_ETHER, .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 1500,
        .link = { .head = IOPKT_HEAD(struct iopkt_link) }, .media = { 77 },
    };
    (void)o; (void)s;
    return h->attach(p, &d, NULL);
}
static const struct iopkt_driver_ops ops = { .head = IOPKT_HEAD(struct iopkt_driver_ops), .load = load };
IOPKT_EXPORT const struct iopkt_object iopkt_object = {
    .magic = IOPKT_MAGIC, .head = { offsetof(struct iopkt_object, module), 1, 0 }, .kind = IOPKT_KIND_DRIVER,
    .name = "first", .prefix = "fst", .driver = &ops,
};
"#,
        &so,
    );
    let mut d = w.load(so.to_str().unwrap(), "").unwrap();
    assert_eq!(d.info().abi, (1, 0));
    w.rig.dev("fst0", |d| {
        assert!(d.dev.description().media_words.is_empty());
        assert_eq!(d.dev.set_media(77), Err(Errno::EINVAL));
        assert_eq!(d.dev.may_destroy(), Ok(()));
    });
    d.unload(common::PATIENCE).unwrap();
}

#[test]
fn an_object_that_judges_its_list_itself_gets_it_as_it_stands() {
    let w = World::new("raw");
    let so = object(&w.dir, "raw.so", ".needs_minor = 1, .options = \"*\\tanything\\n\"");
    let mut d = w.load(so.to_str().unwrap(), "/x/devn-y.so a=b,name=en, unit=3,,").unwrap();
    assert!(d.info().raw_options);
    assert_eq!(d.options().rest, "/x/devn-y.so a=b,name=en, unit=3,,");
    assert_eq!((&d.options().name, d.options().unit), (&None, None));
    d.unload(common::PATIENCE).unwrap();
    let so = object(&w.dir, "half.so", ".options = \"*\\tanything\\na\\tb\\n\"");
    assert!(w.load(so.to_str().unwrap(), "").err().unwrap().text.contains("list of options"));
}

#[test]
fn files_that_are_no_objects() {
    let w = World::new("files");
    let case = |name: &str, content: &[u8], says: &str| {
        let p = w.dir.0.join(name);
        std::fs::write(&p, content).unwrap();
        let e = w.load(&p.display().to_string(), "").err().unwrap();
        assert!(e.text.contains(says) && e.text.contains(name), "{e}");
        assert_eq!(e.errno, Errno(libc::ENOEXEC));
    };
    let good = std::fs::read(w.dir.0.join("devnp-sample.so")).unwrap();
    case("empty.so", b"", "not an ELF file");
    case("text.so", &[b'#'; 4096], "not an ELF file");
    case("short.so", &good[..100], "cut short");
    let mut other = good.clone();
    other[18] ^= 1;
    case("machine.so", &other, "another machine");
    let mut exec = good.clone();
    exec[16] = 2;
    case("exec.so", &exec, "not a shared object");
    cc("int nothing_of_ours;", &w.dir.0.join("plain.so"));
    let e = w.load(&w.dir.0.join("plain.so").display().to_string(), "").err().unwrap();
    assert!(e.text.contains("exports no iopkt_object"), "{e}");
    cc("void iopkt_object(void) {}", &w.dir.0.join("function.so"));
    let e = w.load(&w.dir.0.join("function.so").display().to_string(), "").err().unwrap();
    assert!(e.text.contains("exports no iopkt_object"), "{e}");
    cc("char iopkt_object[8];", &w.dir.0.join("bss.so"));
    let e = w.load(&w.dir.0.join("bss.so").display().to_string(), "").err().unwrap();
    assert!(e.text.contains("no content in the file"), "{e}");
    cc("const char iopkt_object[24] = \"IOPKTOBJ\";", &w.dir.0.join("tiny.so"));
    let e = w.load(&w.dir.0.join("tiny.so").display().to_string(), "").err().unwrap();
    assert!(e.text.contains("wrong magic or size"), "{e}");
    let e = w.load(&w.dir.0.display().to_string(), "").err().unwrap();
    assert!(e.text.contains("not a regular file"), "{e}");
    let e = w.load("/no/such/devnp-x.so", "").err().unwrap();
    assert_eq!(
        (e.errno, e.text.as_str()),
        (Errno::ENOENT, "/no/such/devnp-x.so: No such file or directory; check the path")
    );
}

#[test]
fn undefined_symbols_are_named() {
    let w = World::new("undefined");
    let so = object(&w.dir, "undefined.so", "");
    let src = std::fs::read_to_string(so.with_extension("c")).unwrap();
    cc(&format!("extern int nowhere_to_be_found; int *p = &nowhere_to_be_found;\n{src}"), &so);
    let e = w.load(&so.display().to_string(), "").err().unwrap();
    assert!(e.text.contains("cannot load") && e.text.contains("nowhere_to_be_found"), "{e}");
}

/// Any damage to a good file is an error or a good object, never a crash. (The damaged files are not mapped:
/// what dlopen does with damaged program headers is not ours to test.)
#[test]
fn damaged_files_never_crash_the_reader() {
    let w = World::new("damage");
    let good = std::fs::read(w.dir.0.join("devnp-sample.so")).unwrap();
    let p = w.dir.0.join("damaged.so");
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |n: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % n as u64) as usize
    };
    let sections = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
    for round in 0..2000 {
        let mut b = good.clone();
        for _ in 0..=next(4) {
            // Most damage to headers, where the numbers are.
            let at = match round % 3 {
                0 => next(64 + 56 * 8),
                1 => sections + next(good.len() - sections),
                _ => next(good.len()),
            };
            b[at] = next(256) as u8;
        }
        b.truncate(if round % 5 == 0 { next(b.len()) } else { b.len() });
        std::fs::write(&p, &b).unwrap();
        if let Err(e) = inspect(&p) {
            assert!(e.text.contains("damaged.so"), "{e}");
        }
    }
}

#[test]
fn options_are_checked_before_the_object_runs() {
    let w = World::new("options");
    let so = object(&w.dir, "devnp-stub.so", "").display().to_string();
    let bad = |list: &str, says: &str| {
        let e = w.load(&so, list).err().unwrap_or_else(|| panic!("{list} was taken"));
        assert!(e.text.contains(says) && e.text.starts_with("devnp-stub.so: "), "{list}: {e}");
        assert_eq!(e.errno, Errno::EINVAL);
        assert!(!w.dir.0.join("ran").exists());
    };
    bad("zzz", "unknown option zzz; it takes a, b=N, c[=N], name=PREFIX, unit=N, priority=N");
    bad("a,b=1,bb=2", "unknown option bb");
    bad("a=1", "option a takes no value; write a");
    bad("b", "option b needs a value; write b=N");
    bad("b=", "option b needs a value");
    bad("name=", "name=PREFIX");
    bad("name", "name=PREFIX");
    bad("name=en0", "name=PREFIX");
    bad("name=../x", "name=PREFIX");
    bad("name=averylongname", "name=PREFIX");
    bad("unit=x", "unit=N");
    bad("unit", "unit=N");
    bad("unit=10000", "unit=N");
    bad("priority=0", "priority=N, N from 1 to 63");
    bad("priority", "priority=N");
    bad("=", "unknown option ;");
    let mut d = w.load(&so, "c,,a,b=x=y,c=3,name=wan,unit=2").unwrap();
    assert_eq!(d.options().rest, "c,a,b=x=y,c=3");
    assert_eq!((d.options().name.as_deref(), d.options().unit), (Some("wan"), Some(2)));
    d.unload(common::PATIENCE).unwrap();
}

#[test]
fn what_an_object_says_can_be_read() {
    let w = World::new("says");
    let i = inspect(&w.dir.0.join("devnp-sample.so")).unwrap();
    assert_eq!((i.kind, i.abi, i.name.as_str(), i.prefix.as_str()), (Kind::Driver, (1, 2), "sample", "smp"));
    assert_eq!(i.description, "sample driver in C: frames come back");
    let o = i.options.iter().find(|o| o.name == "devices").unwrap();
    assert_eq!(
        (o.takes, o.form.as_str(), o.help.as_str()),
        (Takes::Value, "devices=N", "how many devices (default 1)")
    );
    let r = inspect(common::rusty().as_ref()).unwrap();
    assert_eq!((r.name.as_str(), r.options.len()), ("rusty", 7));
}
