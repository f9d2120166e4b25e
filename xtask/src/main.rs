//! What cargo alone does not do: `cargo xtask demo | dist | test | check | budget | rules | fuzz | miri`.

mod budget;
mod check;
mod demo;
mod dist;
mod edges;
mod fuzz;
mod miri;
mod rules;
mod sh;
mod test;

const USAGE: &str = "usage: cargo xtask COMMAND
  demo            build the product and run the main job on the simulated USB bus, as root or not
  test [FILTER]   build and run all tests (as root: namespaces, TAP and the real gadget are part of them)
  dist            lay the product out in target/dist: bin/ lib/ include/ man/
  check           format, lints, allowed edges between crates, no-host proof of the core, licences, instruction budget
  budget [--bless]
                  instructions of a segment, counted by valgrind, against bench/budget.txt (or into it)
  edges           print the crates and their edges
  rules [--all | --missing | --json]
                  requirements of the RFCs: claimed, in code, tested
  fuzz [--seconds N] [TARGET [--input FILE]]
                  build the fuzz targets (nightly, AddressSanitizer) and run each for N seconds (60); or one input again
  miri            the unsafe code of buffers and the driver SDK under Miri (nightly)";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let r = match words.as_slice() {
        ["demo"] => demo::run(),
        ["test", rest @ ..] => test::run(rest),
        ["dist"] => dist::run()
            .map(|d| println!("the product is in {}; put {}/bin on PATH", d.display(), d.display())),
        ["check"] => check::run(),
        ["budget"] => budget::run(false),
        ["budget", "--bless"] => budget::run(true),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["miri"] => miri::run(),
        ["edges"] => edges::print(),
        ["rules", rest @ ..] => rules::print(rest),
        ["-h" | "--help" | "help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_string()),
    };
    if let Err(e) = r {
        eprintln!("xtask: {e}");
        std::process::exit(1);
    }
}
