//! What the parts cost by themselves: `cargo bench --bench parts [-- FILTER]`.

mod choosing;
mod config;
mod leasing;
mod reloading;
mod routing;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    choosing::benches(&mut criterion);
    routing::benches(&mut criterion);
    leasing::benches(&mut criterion);
    reloading::benches(&mut criterion);
    criterion.final_summary();
}
