//! The log from outside. One program: it takes longer to build than to run.

mod world; // a log on a simulated disk, beside a model of it
mod model; // random operations
mod edges; // what is rare, by hand
mod crash; // the power goes at every effect
mod verdicts; // what recovery says, as a transcript
mod damage; // bytes that are not what was written
mod decoders; // hostile bytes
