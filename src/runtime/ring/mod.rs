//! A ring of our own on the executor's thread: sockets and log writes, one call of the kernel per turn.
//!
//! ```text
//!            queue                    enter, once a turn                  drain
//!  turn ──▶ sends, writes ──▶ kernel ──────────────────────▶ kernel ──▶ connections, bytes, durable batches ──▶ turn
//! ```
//!
//! glommio keeps the executor, its timers and the files of tables. It is woken through an eventfd when
//! something completes while nobody looks. Connections are accepted and received by requests that stay;
//! bytes arrive in buffers that the kernel picks from a pool, and leave from buffers that stay with their
//! connection until the kernel is done with them.

pub mod buffers; // what the kernel puts received bytes into
pub mod queue; // requests and completions
pub mod side; // the ring as a driver has it
pub mod sockets; // connections on the ring
pub mod writes; // log writes on the ring

pub use queue::Ring;
pub use side::Side;
