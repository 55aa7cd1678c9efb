//! Records of an accepted batch, back where they belong.

use bytes::Bytes;

use crate::batch::{Batch, Found};
use crate::header::Live;
use crate::log::{Log, low_bits};
use crate::region::{Place, State};

impl Log {
    /// Puts the records of a batch of the newest segment, which begins at `at` of its file, where they
    /// belong.
    pub(crate) fn replay(&mut self, batch: &Batch<'_>, live: &Live, at: u32) {
        let segment = low_bits(live.sequence);
        let (mut records, mut ordered) = (0, 0);
        batch.for_each(|found| {
            records += 1;
            ordered += match found {
                Found::Entry { .. } => 1,
                Found::HardState { .. } => 0,
                Found::Meta { flags, .. } => u64::from(flags != 0),
            };
            match found {
                Found::Entry {
                    region,
                    index,
                    term,
                    payload,
                    at: within,
                    checksum,
                } => {
                    let place = self.regions.enter(region) as usize;
                    let known = &mut self.regions[place];
                    if index > known.last() + 1 || index <= known.floor {
                        // What lay between, or before a run that this one replaces, was purged; the
                        // truncation that allowed it comes later.
                        let truncated = known.truncated;
                        known.reset((index - 1, 0));
                        known.truncated = truncated;
                    } else if index <= known.last() {
                        known.cut_tail(index);
                    }
                    let len = payload.len() as u32;
                    known.grow();
                    known.push(
                        term,
                        Place {
                            segment,
                            offset: at + within,
                            len,
                            checksum,
                        },
                    );
                }
                Found::HardState { region, payload } => {
                    let place = self.regions.enter(region) as usize;
                    let payload = Bytes::copy_from_slice(payload);
                    self.regions[place].hard_state = Some(State { payload, segment });
                }
                Found::Meta {
                    region,
                    flags,
                    truncated,
                    payload,
                } => {
                    let place = self.regions.enter(region);
                    let payload = Bytes::copy_from_slice(payload);
                    self.regions[place as usize].meta = Some(State { payload, segment });
                    self.apply_meta(place, flags, truncated);
                }
            }
        });
        let segment = self.segments.back_mut().expect("the segment being read");
        segment.last = batch.position.lsn;
        segment.records += records;
        segment.ordered += ordered;
    }
}
