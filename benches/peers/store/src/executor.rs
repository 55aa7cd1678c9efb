//! The glommio executor of this thread, on which our store and the bare read loop run.

use std::{io::Write, path::Path};

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, io::DmaFile};

thread_local! {
    static EXECUTOR: std::cell::OnceCell<LocalExecutor> = const { std::cell::OnceCell::new() };
}

/// Makes the executor of this thread. `directory` lies on the device that will be used.
pub fn start(core: usize, directory: &Path) {
    let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
        .name("store")
        .make()
        .expect("an executor can be made");
    // The first file of a device that glommio opens decides whether it polls that device for
    // completions; an empty one makes it believe that any device can be polled.
    let probe = directory.join("probe");
    let mut file = std::fs::File::create(&probe).expect("the directory is writable");
    file.write_all(&[0; 4096])
        .and_then(|()| file.sync_all())
        .expect("the disk takes a block");
    executor.run(async {
        let file = DmaFile::open(&probe)
            .await
            .expect("the file system knows direct I/O");
        file.close().await.expect("a file can be closed");
    });
    EXECUTOR.with(|cell| assert!(cell.set(executor).is_ok(), "one executor for a thread"));
}

/// Runs a future to its end.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    EXECUTOR.with(|cell| cell.get().expect("the executor was started").run(work))
}
