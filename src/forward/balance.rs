//! Which node takes a tag: weights and standby, as Fluentd has them.
//!
//! In:  every candidate with its weight and whether it is up
//! Out: the one that is chosen
//!
//! A node of weight 0 is never used. Standby nodes serve while weight of regular nodes is missing,
//! and only as many of them as make it up.

/// A connection that chunks may go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<T> {
    /// Whatever the caller calls it.
    pub(super) id: T,
    /// Its part of the whole.
    pub(super) weight: u32,
    /// It serves only while others are missing.
    pub(super) standby: bool,
    /// Nothing speaks against it now.
    pub(super) is_up: bool,
    /// It has more to do than fits its window.
    pub(super) is_full: bool,
}

/// The candidates that serve now.
pub(super) fn in_service<T: Copy>(all: &[Candidate<T>]) -> Vec<Candidate<T>> {
    let used = || all.iter().filter(|candidate| candidate.weight > 0);
    let mut serving: Vec<_> = used().filter(|c| !c.standby && c.is_up).copied().collect();
    let down = used().filter(|c| !c.standby && !c.is_up);
    let mut missing: u64 = down.map(|candidate| u64::from(candidate.weight)).sum();
    // Only standby nodes are configured: then they are what there is.
    if used().all(|candidate| candidate.standby) {
        missing = u64::MAX;
    }
    for candidate in used().filter(|c| c.standby && c.is_up) {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(u64::from(candidate.weight));
        serving.push(*candidate);
    }
    serving
}

/// One of those that serve now, as likely as its weight says; a full one only when all are full.
/// `dice` is in `0.0..1.0`.
pub(super) fn choose<T: Copy>(all: &[Candidate<T>], dice: f64) -> Option<T> {
    let mut serving = in_service(all);
    if serving.iter().any(|candidate| !candidate.is_full) {
        serving.retain(|candidate| !candidate.is_full);
    }
    let total: f64 = serving.iter().map(|candidate| f64::from(candidate.weight)).sum();
    let mut left = dice * total;
    for candidate in &serving {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return Some(candidate.id);
        }
    }
    serving.last().map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(id: usize, weight: u32, standby: bool, is_up: bool) -> Candidate<usize> {
        Candidate { id, weight, standby, is_up, is_full: false }
    }

    fn ids(all: &[Candidate<usize>]) -> Vec<usize> {
        in_service(all).into_iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn standby_nodes_make_up_the_weight_that_is_missing_and_no_more() {
        let nodes = |up: [bool; 5]| {
            let weights = [(60, false), (60, false), (30, true), (60, true), (0, false)];
            let all = weights.into_iter().zip(up).enumerate();
            all.map(|(id, ((weight, standby), up))| candidate(id, weight, standby, up))
                .collect::<Vec<_>>()
        };
        for (up, expected) in [
            ([true, true, true, true, true], vec![0, 1]),
            ([true, false, true, true, true], vec![0, 2, 3]),
            ([true, false, false, true, true], vec![0, 3]),
            ([false, false, true, true, true], vec![2, 3]),
            ([false, false, false, false, true], vec![]),
        ] {
            assert_eq!(ids(&nodes(up)), expected, "{up:?}");
        }
    }

    #[test]
    fn nodes_that_are_all_standby_serve() {
        assert_eq!(ids(&[candidate(0, 60, true, true), candidate(1, 60, true, true)]), [0, 1]);
    }

    #[test]
    fn a_node_is_chosen_as_often_as_its_weight_says() {
        let all = [candidate(0, 10, false, true), candidate(1, 30, false, true)];
        let mut times = [0; 2];
        for dice in 0..1000 {
            times[choose(&all, f64::from(dice) / 1000.0).unwrap()] += 1;
        }
        assert_eq!(times, [250, 750]);
        assert_eq!(choose(&all, 1.0), Some(1), "dice at their very end");
        assert_eq!(choose::<usize>(&[], 0.5), None);
    }

    #[test]
    fn a_full_node_is_chosen_only_when_all_are_full() {
        let full = |id| Candidate { is_full: true, ..candidate(id, 60, false, true) };
        assert_eq!(choose(&[full(0), candidate(1, 1, false, true)], 0.0), Some(1));
        assert_eq!(choose(&[full(0), full(1)], 0.0), Some(0));
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_is_up_and_has_weight(
            nodes in proptest::collection::vec((0..3_u32, any::<bool>(), any::<bool>()), 0..8),
            dice in 0.0..1.0,
        ) {
            let all: Vec<_> = nodes
                .iter()
                .enumerate()
                .map(|(id, (weight, standby, is_up))| candidate(id, *weight, *standby, *is_up))
                .collect();
            let usable = all.iter().any(|node| node.weight > 0 && node.is_up);
            match choose(&all, dice) {
                Some(id) => prop_assert!(all[id].is_up && all[id].weight > 0),
                None => prop_assert!(!usable),
            }
        }
    }
}
