//! The words of baselines: as AWS spells them, in files of both formats.

/// An enumeration whose variants have one spelling each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word itself.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What `word` means; `None` if it is none of ours. Letters' case counts.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                schemars::json_schema!({ "type": "string", "enum": words })
            }
        }
    };
}
pub(super) use words;

words! {
    /// How bad it is if a patch is not there. In ascending order: the highest of several counts (spec 1.4).
    ComplianceLevel {
        /// Nobody said; counts lowest (spec 3.7).
        Unspecified = "UNSPECIFIED",
        /// For information.
        Informational = "INFORMATIONAL",
        /// Low.
        Low = "LOW",
        /// Medium.
        Medium = "MEDIUM",
        /// High.
        High = "HIGH",
        /// Critical.
        Critical = "CRITICAL",
    }
}

words! {
    /// What becomes of a rejected patch (spec 1.7).
    RejectedAction {
        /// Not by itself, but if an approved one needs it.
        AllowAsDependency = "ALLOW_AS_DEPENDENCY",
        /// Never.
        Block = "BLOCK",
    }
}

words! {
    /// Whether security updates that the baseline does not approve make a Windows host non-compliant (spec 3.5).
    SecurityUpdates {
        /// They do not.
        Compliant = "COMPLIANT",
        /// They do.
        NonCompliant = "NON_COMPLIANT",
    }
}

words! {
    /// Which clock a date gate reads on Debian's family. Ours: AWS has no such member.
    ApprovalClock {
        /// None: date gates do not count there (spec 1.5).
        Aws = "aws",
        /// When the mesh first saw the version.
        Mesh = "mesh",
    }
}

words! {
    /// What a filter compares. The whole enumeration of AWS; what a baseline may use depends on its operating system.
    FilterKey {
        /// Architecture.
        Arch = "ARCH",
        /// Id of an advisory.
        AdvisoryId = "ADVISORY_ID",
        /// Bugzilla id.
        BugzillaId = "BUGZILLA_ID",
        /// Kind of update; on macOS the package manager.
        Classification = "CLASSIFICATION",
        /// CVE id.
        CveId = "CVE_ID",
        /// Epoch of an rpm.
        Epoch = "EPOCH",
        /// Microsoft's severity.
        MsrcSeverity = "MSRC_SEVERITY",
        /// Name of the package.
        Name = "NAME",
        /// Id of the patch.
        PatchId = "PATCH_ID",
        /// Operating system or applications, on Windows.
        PatchSet = "PATCH_SET",
        /// Priority of a Debian package.
        Priority = "PRIORITY",
        /// Release of the operating system, or name of a Microsoft product.
        Product = "PRODUCT",
        /// Family of Microsoft products.
        ProductFamily = "PRODUCT_FAMILY",
        /// Release of an rpm.
        Release = "RELEASE",
        /// Repository.
        Repository = "REPOSITORY",
        /// Section of a Debian package.
        Section = "SECTION",
        /// Whether it is a security update.
        Security = "SECURITY",
        /// Severity of the advisory.
        Severity = "SEVERITY",
        /// Version.
        Version = "VERSION",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_one_thing_and_levels_ascend() {
        for level in ComplianceLevel::ALL {
            assert_eq!(ComplianceLevel::parse(level.as_str()), Some(*level));
        }
        assert!(ComplianceLevel::ALL.is_sorted());
        assert_eq!(ComplianceLevel::parse("critical"), None);
        assert_eq!(FilterKey::ALL.len(), 19);
    }
}
