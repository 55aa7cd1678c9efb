//! The world: the only folder that names glommio, a file, a socket or a clock.
