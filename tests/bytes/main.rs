//! Bytes from outside: from files, and from sockets.

mod decoders; // what hostile bytes do to whoever reads them
mod disk; // log and store on real files
