//! Stands in for the host binary where this crate tests itself.

fn main() {
    if std::env::args().nth(1).as_deref() == Some(nexus_sandbox::MODE) {
        nexus_sandbox::exec_main();
    }
}
