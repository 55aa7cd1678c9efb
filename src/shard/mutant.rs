//! Planted bugs. Each breaks one rule when the simulator asks for it; a simulator that does not catch
//! it is worth nothing. Always compiled, never set outside the simulator and tests.

/// Which rule to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    #[default]
    None,
    /// Votes and acknowledgements leave before their batch is durable.
    AckBeforeDurable,
    /// A batch counts as durable when it is encoded (the log's mutant).
    SkipSync,
    /// A proposal is answered by its index, whatever the term.
    AnswerByIndex,
    /// A vote is not written down.
    ForgetVote,
    /// The lease lasts longer than followers keep their promise.
    LeaseWithoutMargin,
    /// The epoch is not checked again at apply.
    ApplyWithoutEpoch,
    /// A leader's messages leave before its own term is durable.
    SendBeforeTerm,
    /// A ready without records is sent although an earlier one is in flight.
    EmptyReadyEarly,
    /// Batches do not carry the commit index.
    CommitLeftOut,
    /// Ranges change without a checkpoint before.
    NoCheckpoint,
    /// An edit leaves before the log is durable (the state store's mutant).
    EditBeforeLog,
    /// A read's context is used again.
    ReadContextReused,
    /// Placement answers before what it says is written.
    AnswerUnwritten,
    /// Placement's word alone has a peer go.
    TrustVerdict,
    /// A split's new regions are written after the old one, not with it.
    ChildApart,
    /// A split brings a peer back that is gone from here already.
    ResurrectChild,
    /// Entries that nobody lets go of keep the log for ever (the log's mutant).
    KeepStuck,
    /// A quiet follower sleeps on when its leader's store is silent.
    QuietMissesElection,
}

impl Mutant {
    /// Every planted bug, by its name on the command line.
    pub const ALL: [(&'static str, Mutant); 18] = [
        ("ack-before-durable", Mutant::AckBeforeDurable),
        ("skip-sync", Mutant::SkipSync),
        ("answer-by-index", Mutant::AnswerByIndex),
        ("forget-vote", Mutant::ForgetVote),
        ("lease-without-margin", Mutant::LeaseWithoutMargin),
        ("apply-without-epoch", Mutant::ApplyWithoutEpoch),
        ("send-before-term", Mutant::SendBeforeTerm),
        ("empty-ready-early", Mutant::EmptyReadyEarly),
        ("commit-left-out", Mutant::CommitLeftOut),
        ("no-checkpoint", Mutant::NoCheckpoint),
        ("edit-before-log", Mutant::EditBeforeLog),
        ("read-context-reused", Mutant::ReadContextReused),
        ("answer-unwritten", Mutant::AnswerUnwritten),
        ("trust-verdict", Mutant::TrustVerdict),
        ("child-apart", Mutant::ChildApart),
        ("resurrect-child", Mutant::ResurrectChild),
        ("keep-stuck", Mutant::KeepStuck),
        ("quiet-misses-election", Mutant::QuietMissesElection),
    ];

    /// The planted bug of a name.
    pub fn named(name: &str) -> Option<Mutant> {
        Mutant::ALL
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, mutant)| *mutant)
    }
}
