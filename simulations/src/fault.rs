//! Everything that can go wrong. A fault lies in ambush from its time on and strikes at the first moment at which it bites.

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident $word:literal $moment:ident $rank:literal,)*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind { $($(#[doc = $doc])* $name,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its word in scenarios and outputs.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// At which moment it strikes.
            pub fn moment(self) -> Moment {
                match self { $(Self::$name => Moment::$moment,)* }
            }

            /// From which profile on it belongs to: 1 flaky, 2 hostile, 3 disaster.
            pub fn rank(self) -> u8 {
                match self { $(Self::$name => $rank,)* }
            }
        }
    };
}

/// When a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// At its time, whoever it is.
    Time,
    /// While a rollout has hosts at work.
    Busy,
    /// When a host's run asks for something: an effect is about to be performed.
    Effect,
    /// When a host's run saves something.
    Save,
    /// When a runner has begun its work.
    Runner,
    /// When hooks begin.
    Hook,
    /// When a runner is about to start the package manager.
    Install,
    /// When a package manager that a daemon hears of has ended well, and a package asks for a reboot.
    Installed,
    /// When a host asks its package manager what it would do.
    Look,
    /// When a host's run reboots.
    Reboot,
    /// When the coordinator performs an effect.
    Desk,
    /// On a host without work.
    Rest,
}

kinds! {
    /// The daemon dies between two effects of one step.
    DaemonCrash "daemon-crash" Effect 1,
    /// The daemon is killed while its runner works on.
    DaemonKill "daemon-kill" Runner 1,
    /// The runner is killed; the daemon lives.
    RunnerKill "runner-kill" Runner 2,
    /// The power fails while a runner works.
    PowerLoss "power-loss" Runner 1,
    /// The power fails in the middle of a save.
    DiskTorn "disk-torn" Save 2,
    /// No save succeeds for a while.
    DiskFull "disk-full" Save 2,
    /// Saves take seconds for a while.
    DiskSlow "disk-slow" Save 1,
    /// What was remembered of the mesh is gone at the next start.
    ViewLost "view-lost" Effect 2,
    /// A reboot takes much longer than others.
    RebootLate "reboot-late" Reboot 1,
    /// The host does not come back.
    RebootNever "reboot-never" Reboot 3,
    /// The reboot is refused, or accepted and forgotten.
    RebootRefused "reboot-refused" Reboot 2,
    /// A hook fails.
    HookFail "hook-fail" Hook 1,
    /// A hook hangs until its time-out.
    HookHang "hook-hang" Hook 1,
    /// A package fails, and may leave the database unclean.
    PackageBroken "package-broken" Install 1,
    /// The indexes cannot be refreshed for a while.
    RepositoryGone "repository-gone" Look 1,
    /// The repository has newer versions than the plan.
    RepositoryAhead "repository-ahead" Look 2,
    /// Another process holds the package manager's lock for a while.
    ManagerLocked "manager-locked" Look 1,
    /// A working host's clock jumps by minutes to days.
    ClockJump "clock-jump" Effect 2,
    /// A working host's clock jumps by years.
    ClockYears "clock-years" Effect 3,
    /// A host's clock runs away slowly.
    ClockDrift "clock-drift" Effect 1,
    /// The coordinator's clock jumps.
    CoordinatorClock "coordinator-clock" Busy 3,
    /// A host sleeps for minutes, with everything on it.
    Suspend "suspend" Effect 2,
    /// A host answers slowly for a while.
    HostSlow "host-slow" Effect 1,
    /// The coordinator dies between two effects of one step.
    CoordinatorCrash "coordinator-crash" Desk 1,
    /// The coordinator is killed and stays away for a while.
    CoordinatorKill "coordinator-kill" Busy 2,
    /// The coordinator is cut off from everybody.
    CoordinatorIsolated "coordinator-isolated" Busy 2,
    /// The coordinator's process is paused for an hour and resumed.
    CoordinatorPaused "coordinator-paused" Busy 2,
    /// A second coordinator starts on a copy of the store.
    CoordinatorTwin "coordinator-twin" Busy 2,
    /// The coordinator's store is replaced by an older backup.
    CoordinatorRestored "coordinator-restored" Busy 3,
    /// The mesh is split in two.
    Partition "partition" Busy 1,
    /// One half does not reach the other; the other way works.
    PartitionOneWay "partition-one-way" Busy 2,
    /// A split that comes and goes every few seconds.
    PartitionFlapping "partition-flapping" Busy 2,
    /// A new host joins.
    HostJoin "host-join" Time 1,
    /// A host is switched off for ever; its membership ends.
    HostLeave "host-leave" Rest 2,
    /// A second host runs with the identity of the first.
    HostClone "host-clone" Rest 2,
    /// Operators pause, resume and stop at once.
    OperatorCollision "operator-collision" Busy 1,
    /// A STOP is ordered.
    OperatorStop "operator-stop" Busy 2,
    /// A member sends commands, answers and records that are not its own to send.
    Forge "forge" Busy 2,
    /// Old messages are sent again.
    Replay "replay" Busy 1,
    /// A member sends hundreds of messages at once.
    Flood "flood" Busy 2,
    /// Everything is stopped at some member, and resumed at another, while the coordinator is cut off.
    StopEverything "stop-everything" Busy 2,
    /// Operators release the slot of a host that is at work.
    OperatorRelease "operator-release" Busy 2,
    /// The package manager says that all went well and leaves the database unclean, sometimes so that no repair helps.
    PackageUnclean "package-unclean" Installed 1,
    /// A member sends one host the same message over and over, and a daemon that handles it aborts; a second message, if it lasts
    /// long.
    PoisonMessage "poison-message" Busy 2,
    /// What a member of a service serves fails for a while: it does not pass its probe.
    ServiceSick "service-sick" Busy 1,
}

/// Faults of the network that strike single messages.
pub const LOSS: &str = "loss";
/// See [`LOSS`].
pub const DUPLICATION: &str = "duplication";
/// See [`LOSS`].
pub const REORDERING: &str = "reordering";

/// One fault of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// From when on it may strike, in milliseconds.
    pub at: u64,
    /// What goes wrong.
    pub kind: Kind,
    /// Only this host; any if `null`.
    #[serde(default)]
    pub host: Option<u32>,
    /// How long it lasts, in milliseconds; its meaning depends on the kind.
    #[serde(default)]
    pub lasts: u64,
    /// How many of its moments it lets pass; drawn if `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
}
