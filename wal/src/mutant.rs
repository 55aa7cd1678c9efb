//! Planted bugs. Each breaks one rule of the log when a test asks for it, and an exploration that
//! does not catch it is worth nothing. They are always compiled and never set outside tests.

/// Which rule to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// None: the log as it is.
    #[default]
    None,
    /// A batch counts as durable as soon as it is encoded.
    AcknowledgeEarly,
    /// A batch that was acknowledged and does not verify is taken for the tail.
    DamageIsTail,
    /// A segment goes back to the pool before what makes it superfluous is durable.
    PurgeEarly,
    /// A segment is reused before a header that does not list it is durable.
    ReuseListed,
    /// Entries that their region cannot let go of keep their segment for ever.
    KeepStuck,
    /// Only those of a region's entries are written anew that keep the oldest segment.
    ForwardPart,
    /// Recovery goes on before what it accepted is durable.
    SkipRecoverySync,
}

impl Mutant {
    /// Every planted bug.
    pub const ALL: [Mutant; 7] = [
        Mutant::AcknowledgeEarly,
        Mutant::DamageIsTail,
        Mutant::PurgeEarly,
        Mutant::ReuseListed,
        Mutant::KeepStuck,
        Mutant::ForwardPart,
        Mutant::SkipRecoverySync,
    ];
}
