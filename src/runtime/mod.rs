//! The world: the only folder that names glommio, a file, a socket or a clock.

pub mod disk; // the effects of log and store, carried out on real files
