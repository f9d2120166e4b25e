//! `iopkt-utils`: the tools in one program, called by their names (links) or as `iopkt-utils NAME ...`.

use iopkt_utils::tools;

fn main() {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let text = |i: usize| args.get(i).map_or("".into(), |a| a.to_string_lossy());
    let (called, first) = (text(0), text(1));
    let called = called.rsplit('/').next().unwrap_or("");
    let known = |n: &str| tools::NAMES.contains(&n);
    let code = if known(called) {
        tools::main(called, &args[1..])
    } else if known(&first) {
        tools::main(&first, &args[2..])
    } else {
        println!("usage: iopkt-utils TOOL [argument...]\ntools: {}", tools::NAMES.join(" "));
        i32::from(first != "--help")
    };
    std::process::exit(code);
}
