//! What is explored: one test for each row. The last number is how many states there are at least; there were a quarter more.

use crate::{
    alone, explore,
    faults::{
        Faults,
        Kind::{self, *},
    },
};

/// Set to `full`, the rows that take longer are explored too; set to `all`, also the one that takes longer than all the others.
const SWITCH: &str = "PATCHMESH_MODEL";

fn is_full(name: &str) -> bool {
    is_set(name, &["full", "all"])
}

fn is_all(name: &str) -> bool {
    is_set(name, &["all"])
}

fn is_set(name: &str, to: &[&str]) -> bool {
    let set = std::env::var(SWITCH).is_ok_and(|value| to.contains(&value.as_str()));
    if !set {
        eprintln!("skipped: {name} takes long: set {SWITCH}={} to explore it", to[0]);
    }
    set
}

macro_rules! rows {
    ($when:expr; $($name:ident: $faults:expr, reboots $reboots:literal, least $least:literal;)*) => {$(
        #[test]
        fn $name() {
            let (_row, name, when) = (alone(), stringify!($name), $when);
            if when(name) {
                explore(name, $faults, $reboots, $least);
            }
        }
    )*};
}

/// At most two of each of `kinds`.
const fn two_of_each(kinds: &[Kind]) -> Faults {
    Faults::of(kinds, 2, 2 * kinds.len() as u8)
}

rows! { |_| true;
    nothing_goes_wrong: Faults::NONE, reboots false, least 55;
    nothing_goes_wrong_and_hosts_reboot: Faults::NONE, reboots true, least 85;
    one_fault_of_any_kind: Faults::of(&Kind::ALL, 1, 1), reboots false, least 8_000;
    one_fault_of_any_kind_and_hosts_reboot: Faults::of(&Kind::ALL, 1, 1), reboots true, least 14_000;
    two_losses: two_of_each(&[Loss]), reboots false, least 1_800;
    two_doublings: two_of_each(&[Doubling]), reboots false, least 20_000;
    two_reorderings: two_of_each(&[Reordering]), reboots false, least 25_000;
    two_host_crashes: two_of_each(&[HostCrash]), reboots false, least 8_000;
    two_host_crashes_and_hosts_reboot: two_of_each(&[HostCrash]), reboots true, least 8_000;
    two_control_crashes: two_of_each(&[ControlCrash]), reboots false, least 5_000;
    two_steps: two_of_each(&[Step]), reboots false, least 460;
}

rows! { is_full;
    two_losses_and_two_steps: two_of_each(&[Loss, Step]), reboots false, least 20_000;
    two_host_crashes_and_two_steps: two_of_each(&[HostCrash, Step]), reboots false, least 55_000;
    two_control_crashes_and_two_steps: two_of_each(&[ControlCrash, Step]), reboots false, least 42_000;
    two_delays: two_of_each(&[Delay]), reboots false, least 120_000;
    two_losses_and_two_host_crashes: two_of_each(&[Loss, HostCrash]), reboots false, least 240_000;
    two_losses_and_two_control_crashes: two_of_each(&[Loss, ControlCrash]), reboots false, least 270_000;
    two_doublings_and_two_steps: two_of_each(&[Doubling, Step]), reboots false, least 450_000;
    two_reorderings_and_two_steps: two_of_each(&[Reordering, Step]), reboots false, least 520_000;
    two_faults_of_any_kind: Faults::of(&Kind::ALL, 2, 2), reboots false, least 590_000;
    two_losses_and_two_doublings: two_of_each(&[Loss, Doubling]), reboots false, least 850_000;
}

rows! { is_all;
    two_host_crashes_and_two_control_crashes: two_of_each(&[HostCrash, ControlCrash]), reboots false, least 1_500_000;
}
