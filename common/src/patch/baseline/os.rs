//! Operating systems, and what baselines may say for each (spec 1.2, 1.3).

use core::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::words::{FilterKey, words};
use crate::inventory::{deb, rpm};

words! {
    /// An operating system of a baseline.
    OperatingSystem {
        /// Windows Server.
        Windows = "WINDOWS",
        /// Amazon Linux 1.
        AmazonLinux = "AMAZON_LINUX",
        /// Amazon Linux 2.
        AmazonLinux2 = "AMAZON_LINUX_2",
        /// Amazon Linux 2022.
        AmazonLinux2022 = "AMAZON_LINUX_2022",
        /// Amazon Linux 2023.
        AmazonLinux2023 = "AMAZON_LINUX_2023",
        /// Ubuntu.
        Ubuntu = "UBUNTU",
        /// Red Hat Enterprise Linux.
        RedHat = "REDHAT_ENTERPRISE_LINUX",
        /// SUSE Linux Enterprise Server.
        Suse = "SUSE",
        /// CentOS and CentOS Stream.
        CentOs = "CENTOS",
        /// Oracle Linux.
        Oracle = "ORACLE_LINUX",
        /// Debian.
        Debian = "DEBIAN",
        /// macOS.
        MacOs = "MACOS",
        /// Raspberry Pi OS.
        Raspbian = "RASPBIAN",
        /// Rocky Linux.
        Rocky = "ROCKY_LINUX",
        /// AlmaLinux.
        Alma = "ALMA_LINUX",
    }
}

impl Serialize for OperatingSystem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for OperatingSystem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::parse(&word).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|os| os.as_str()).collect();
            let clipped: String = word.chars().take(40).collect();
            de::Error::custom(format!("{clipped:?} is no operating system: write {}", known.join(", ")))
        })
    }
}

/// Operating systems that are patched in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Debian's: apt.
    Apt,
    /// Red Hat's and Amazon's: yum and dnf.
    Rpm,
    /// SUSE's: zypper.
    Zypper,
    /// Apple's.
    MacOs,
    /// Microsoft's.
    Windows,
}

impl Family {
    /// Whether a security gate, non-security updates and alternative sources mean anything.
    pub fn is_linux(self) -> bool {
        matches!(self, Self::Apt | Self::Rpm | Self::Zypper)
    }

    /// The order of versions.
    pub fn order(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Apt => deb::compare(a, b),
            _ => rpm::compare(a, b),
        }
    }
}

/// What the values of a filter may be. `*` is always allowed and means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Anything within the limits of length.
    Any,
    /// One of these, in this spelling.
    OneOf(&'static [&'static str]),
}

const RPM_CLASSES: Values = Values::OneOf(&["Security", "Bugfix", "Enhancement", "Recommended", "Newpackage"]);
const PRIORITIES: Values = Values::OneOf(&["Required", "Important", "Standard", "Optional", "Extra"]);

impl OperatingSystem {
    /// How it is patched.
    pub fn family(self) -> Family {
        match self {
            Self::Ubuntu | Self::Debian | Self::Raspbian => Family::Apt,
            Self::Suse => Family::Zypper,
            Self::MacOs => Family::MacOs,
            Self::Windows => Family::Windows,
            _ => Family::Rpm,
        }
    }

    /// The keys that its filters may use, each with its values (spec 1.3).
    pub fn filters(self) -> Vec<(FilterKey, Values)> {
        use FilterKey as K;
        let product = (K::Product, Values::Any);
        match self.family() {
            Family::Apt => vec![product, (K::Priority, PRIORITIES), (K::Section, Values::Any)],
            Family::Rpm => vec![product, (K::Classification, RPM_CLASSES), (K::Severity, self.severities())],
            Family::Zypper => {
                let classes = &["Security", "Recommended", "Optional", "Feature", "Document", "Yast"];
                vec![product, (K::Classification, Values::OneOf(classes)), (K::Severity, self.severities())]
            }
            Family::MacOs => {
                let managers = &["softwareupdate", "installer", "brew", "brew cask"];
                vec![product, (K::Classification, Values::OneOf(managers))]
            }
            Family::Windows => vec![
                (K::PatchSet, Values::OneOf(&["OS", "APPLICATION"])),
                product,
                (K::ProductFamily, Values::Any),
                (
                    K::Classification,
                    Values::OneOf(&[
                        "CriticalUpdates",
                        "DefinitionUpdates",
                        "Drivers",
                        "FeaturePacks",
                        "SecurityUpdates",
                        "ServicePacks",
                        "Tools",
                        "UpdateRollups",
                        "Updates",
                        "Upgrades",
                    ]),
                ),
                (K::MsrcSeverity, Values::OneOf(&["Critical", "Important", "Moderate", "Low", "Unspecified"])),
            ],
        }
    }

    fn severities(self) -> Values {
        Values::OneOf(match self {
            Self::AmazonLinux | Self::AmazonLinux2 | Self::AmazonLinux2022 => {
                &["Critical", "Important", "Medium", "Low"]
            }
            // Medium and Moderate are the same thing there, and both are met in files.
            Self::AmazonLinux2023 => &["Critical", "Important", "Medium", "Moderate", "Low", "None"],
            Self::Oracle | Self::Suse => &["Critical", "Important", "Moderate", "Low"],
            _ => &["Critical", "Important", "Moderate", "Medium", "Low"],
        })
    }

    /// Whether a package without an advisory's date is judged by the time at which it was built (spec 1.5).
    pub fn knows_build_times(self) -> bool {
        matches!(self, Self::AmazonLinux2 | Self::AmazonLinux2023 | Self::RedHat)
    }

    /// The operating system whose os-release says `id` and `version`, or whose word `id` is; `None` for one that AWS does not
    /// name.
    pub fn of_host(id: &str, version: &str) -> Option<Self> {
        let id = id.to_ascii_lowercase();
        Some(match id.as_str() {
            "debian" => Self::Debian,
            "ubuntu" => Self::Ubuntu,
            "raspbian" => Self::Raspbian,
            "amzn" | "amazon" => match version {
                "2" | "2.0" => Self::AmazonLinux2,
                _ if version.starts_with("2022") => Self::AmazonLinux2022,
                _ if version.starts_with("2023") => Self::AmazonLinux2023,
                _ => Self::AmazonLinux,
            },
            "rhel" | "redhat" => Self::RedHat,
            "centos" => Self::CentOs,
            "ol" | "oracle" => Self::Oracle,
            "rocky" => Self::Rocky,
            "almalinux" | "alma" => Self::Alma,
            "sles" | "sles_sap" => Self::Suse,
            "macos" | "darwin" => Self::MacOs,
            word => return Self::parse(&word.to_ascii_uppercase()),
        })
    }

    /// Whether a baseline of this operating system may judge a host of `host`. Raspberry Pi OS calls itself Debian on 64 bits.
    pub fn judges(self, host: Self) -> bool {
        self == host || (self == Self::Raspbian && host == Self::Debian)
    }

    /// What a host of `version` is called in the values of PRODUCT, e.g. `Debian12` (spec 1.3).
    pub fn product(self, version: &str) -> String {
        let name = match self {
            Self::Windows => "WindowsServer",
            Self::AmazonLinux | Self::AmazonLinux2 | Self::AmazonLinux2022 | Self::AmazonLinux2023 => "AmazonLinux",
            Self::Ubuntu => "Ubuntu",
            Self::RedHat => "RedhatEnterpriseLinux",
            Self::Suse => "Suse",
            Self::CentOs => "CentOS",
            Self::Oracle => "OracleLinux",
            Self::Debian => "Debian",
            Self::MacOs => "MacOS",
            Self::Raspbian => "Raspbian",
            Self::Rocky => "RockyLinux",
            Self::Alma => "AlmaLinux",
        };
        format!("{name}{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_operating_systems_with_their_families() {
        assert_eq!(OperatingSystem::ALL.len(), 15);
        let of = |family| OperatingSystem::ALL.iter().filter(|os| os.family() == family).count();
        assert_eq!(
            [Family::Apt, Family::Rpm, Family::Zypper, Family::MacOs, Family::Windows].map(of),
            [3, 9, 1, 1, 1],
            "families"
        );
    }

    #[test]
    fn hosts_are_known_by_their_os_release() {
        for (id, version, os, product) in [
            ("debian", "12", OperatingSystem::Debian, "Debian12"),
            ("ubuntu", "22.04", OperatingSystem::Ubuntu, "Ubuntu22.04"),
            ("amzn", "2", OperatingSystem::AmazonLinux2, "AmazonLinux2"),
            ("amzn", "2018.03", OperatingSystem::AmazonLinux, "AmazonLinux2018.03"),
            ("amzn", "2023", OperatingSystem::AmazonLinux2023, "AmazonLinux2023"),
            ("rhel", "8.8", OperatingSystem::RedHat, "RedhatEnterpriseLinux8.8"),
            ("sles", "15.5", OperatingSystem::Suse, "Suse15.5"),
            ("almalinux", "9.3", OperatingSystem::Alma, "AlmaLinux9.3"),
            ("AMAZON_LINUX_2", "2", OperatingSystem::AmazonLinux2, "AmazonLinux2"),
            ("windows", "2019", OperatingSystem::Windows, "WindowsServer2019"),
        ] {
            assert_eq!(OperatingSystem::of_host(id, version), Some(os));
            assert_eq!(os.product(version), product);
        }
        assert_eq!(OperatingSystem::of_host("arch", ""), None);
        assert!(OperatingSystem::Raspbian.judges(OperatingSystem::Debian));
        assert!(!OperatingSystem::Debian.judges(OperatingSystem::Ubuntu));
    }
}
