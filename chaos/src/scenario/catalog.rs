//! The scenarios that come with the laboratory.

use super::plan::{PlanError, Scenario};

/// The texts of `chaos/scenarios`, in the order of a list.
const TEXTS: &[&str] = &[
    include_str!("../../scenarios/leader-killed.toml"),
    include_str!("../../scenarios/follower-killed.toml"),
    include_str!("../../scenarios/all-nodes-killed.toml"),
    include_str!("../../scenarios/leader-frozen.toml"),
    include_str!("../../scenarios/follower-frozen.toml"),
    include_str!("../../scenarios/relay-killed.toml"),
    include_str!("../../scenarios/relay-frozen.toml"),
    include_str!("../../scenarios/leader-site-killed.toml"),
    include_str!("../../scenarios/site-killed.toml"),
    include_str!("../../scenarios/site-drained.toml"),
    include_str!("../../scenarios/follower-crash-loop.toml"),
    include_str!("../../scenarios/leader-cut-off.toml"),
    include_str!("../../scenarios/follower-cut-off.toml"),
    include_str!("../../scenarios/leader-is-not-heard.toml"),
    include_str!("../../scenarios/leader-hears-nobody.toml"),
    include_str!("../../scenarios/follower-hears-nobody.toml"),
    include_str!("../../scenarios/one-link-cut.toml"),
    include_str!("../../scenarios/flapping-link.toml"),
    include_str!("../../scenarios/latency-step.toml"),
    include_str!("../../scenarios/reordered.toml"),
    include_str!("../../scenarios/loss-1.toml"),
    include_str!("../../scenarios/loss-5.toml"),
    include_str!("../../scenarios/loss-bursts.toml"),
    include_str!("../../scenarios/mtu-black-hole.toml"),
    include_str!("../../scenarios/city-cut-off.toml"),
    include_str!("../../scenarios/leaders-city-cut-off.toml"),
    include_str!("../../scenarios/leader-disk-full.toml"),
    include_str!("../../scenarios/follower-disk-full.toml"),
    include_str!("../../scenarios/leader-disk-slow.toml"),
    include_str!("../../scenarios/follower-disk-slow.toml"),
    include_str!("../../scenarios/leader-sync-fails.toml"),
    include_str!("../../scenarios/follower-sync-fails.toml"),
    include_str!("../../scenarios/lying-disk-loses-power.toml"),
    include_str!("../../scenarios/leader-loses-power.toml"),
    include_str!("../../scenarios/follower-loses-power.toml"),
    include_str!("../../scenarios/all-lose-power.toml"),
    include_str!("../../scenarios/torn-write.toml"),
    include_str!("../../scenarios/bit-flip-wal.toml"),
    include_str!("../../scenarios/bit-flip-table.toml"),
    include_str!("../../scenarios/bit-flip-manifest.toml"),
    include_str!("../../scenarios/bit-flip-mark.toml"),
    include_str!("../../scenarios/bit-flip-identity.toml"),
    include_str!("../../scenarios/clock-hour-ahead.toml"),
    include_str!("../../scenarios/clock-hour-behind.toml"),
    include_str!("../../scenarios/clock-years-ahead.toml"),
    include_str!("../../scenarios/clock-years-behind.toml"),
    include_str!("../../scenarios/clock-double-rate.toml"),
    include_str!("../../scenarios/leader-starved.toml"),
    include_str!("../../scenarios/follower-starved.toml"),
    include_str!("../../scenarios/follower-out-of-descriptors.toml"),
    include_str!("../../scenarios/leader-out-of-descriptors.toml"),
    include_str!("../../scenarios/relay-starved.toml"),
    include_str!("../../scenarios/relay-out-of-descriptors.toml"),
    include_str!("../../scenarios/crash-points.toml"),
    include_str!("../../scenarios/api-while-leaders-die.toml"),
    include_str!("../../scenarios/sip-storm.toml"),
    include_str!("../../scenarios/phones-silent.toml"),
    include_str!("../../scenarios/callers-leave.toml"),
];

/// All of them.
///
/// # Errors
/// When one cannot be run as it is written; a test reads them all.
pub fn all() -> Result<Vec<Scenario>, PlanError> {
    TEXTS.iter().map(|text| Scenario::parse(text)).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    // Goal: every file of the folder is in the list, can be read, is called as its file, and has a name of
    // its own.
    #[test]
    fn every_file_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .collect();
        let listed: BTreeSet<String> =
            all().unwrap().into_iter().map(|scenario| scenario.name).collect();
        assert_eq!(listed, files);
        assert_eq!(listed.len(), TEXTS.len());
    }
}
