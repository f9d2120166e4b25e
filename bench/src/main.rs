//! Measurements beside a peer in the same run, as ratios.

mod smol;

fn main() {
    let total = 512 << 20;
    println!("smoltcp {:.2} Gbit/s", total as f64 * 8e-9 / smol::transfer(total, 65535));
}
