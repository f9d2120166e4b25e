//! `iopkt-utils`: the tools in one program, called by their names (links) or as `iopkt-utils NAME ...`.

use iopkt_utils::tools;

fn main() {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let called = args.first().map_or("", |a| a.rsplit('/').next().unwrap_or(a));
    let known = |n: &str| tools::NAMES.contains(&n);
    let code = match args.get(1) {
        _ if known(called) => tools::main(called, &args[1..]),
        Some(n) if known(n) => tools::main(n, &args[2..]),
        other => {
            println!("usage: iopkt-utils TOOL [argument...]\ntools: {}", tools::NAMES.join(" "));
            i32::from(other.is_none_or(|o| o != "--help"))
        }
    };
    std::process::exit(code);
}
