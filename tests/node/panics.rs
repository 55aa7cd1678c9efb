//! A bug in one thread ends the whole process, at once and with a message.

use std::process::Command;

use coracle::runtime::failure::end_on_panic;

use crate::process::run;

/// Set where this test is the process that panics.
const PANICS: &str = "TEST_PANICS";

#[test]
fn a_panic_in_any_thread_ends_the_process() {
    if std::env::var_os(PANICS).is_some() {
        end_on_panic();
        let thread = std::thread::spawn(|| panic!("on purpose"));
        let _ = thread.join();
        // As a node does that waits for its other shards.
        loop {
            std::thread::park();
        }
    }
    let program = std::env::current_exe().expect("this test is a program");
    let (code, _, told) = run(Command::new(program)
        .args(["--exact", "panics::a_panic_in_any_thread_ends_the_process"])
        .arg("--nocapture")
        .env(PANICS, "1"));
    assert_eq!(code, -1, "a signal ends it: {told}");
    assert!(told.contains("on purpose"), "{told}");
    assert!(told.contains("coracle: that is a bug"), "{told}");
}
