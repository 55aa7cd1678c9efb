//! Puts that are handed over together are as puts one by one, whatever they repeat and whoever looks on.

use std::collections::BTreeMap;

use coracle_engine::store::PUTS_MAX;
use coracle_engine::view::View;

use super::small;
use super::world::World;

const KEYS: u64 = 40;

/// What should be there.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u64) -> Vec<u8> {
    // Some keys are beginnings of others.
    b"key"[..(number % 4) as usize]
        .iter()
        .copied()
        .chain(number.to_be_bytes())
        .collect()
}

#[test]
fn puts_together_are_as_puts_one_by_one() {
    for seed in 0..20u64 {
        let mut world = World::created(small(), seed);
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut model = Model::new();
        let mut seen: Vec<(View, Model)> = Vec::new();
        for round in 0..60 {
            let count = draw(PUTS_MAX as u64 + 1);
            let puts: Vec<(Vec<u8>, Vec<u8>)> = (0..count)
                .map(|_| (key(draw(KEYS)), vec![draw(256) as u8; draw(90) as usize]))
                .collect();
            let lent: Vec<(&[u8], &[u8])> = puts
                .iter()
                .map(|(key, value)| (&key[..], &value[..]))
                .collect();
            world.store().put_all(&lent);
            model.extend(puts.iter().cloned());
            if let Some((gone, _)) = puts.first().filter(|_| draw(3) == 0) {
                world.store().delete(gone);
                model.remove(gone);
            }
            match draw(4) {
                0 => seen.push((world.store().view(), model.clone())),
                1 => seen.truncate(draw(seen.len() as u64 + 1) as usize),
                _ => {}
            }
            let now = std::iter::once((None, &model));
            let before = seen.iter().map(|(view, model)| (Some(view), model));
            for (view, model) in now.chain(before) {
                for number in 0..KEYS {
                    let key = key(number);
                    let found = world.get(view, &key).expect("no crash").expect("a read");
                    assert_eq!(
                        found.as_ref(),
                        model.get(&key),
                        "seed {seed}, round {round}, key {number}"
                    );
                }
            }
        }
    }
}
