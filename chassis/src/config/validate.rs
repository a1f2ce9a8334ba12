//! Checks of a configuration's values that its types cannot make.

use super::ConfigError;
use std::fmt::Display;

/// Says what is wrong with a configuration whose types are right. All problems are reported, not only the first.
pub trait Validate {
    fn validate(&self, problems: &mut Problems);

    /// Reads a file that is of another form than this configuration. `None`: it is of this form.
    fn translate(_document: &serde_json::Value, _problems: &mut Problems) -> Option<Translated> {
        None
    }
}

/// A file of another form, in the keys of the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translated {
    /// What the file says in its own form; its values are known to be good.
    pub values: serde_json::Value,
    /// What stands in the keys of the configuration, below a key of that form.
    pub own: Option<(&'static str, serde_json::Value)>,
}

/// Collects what [`Validate::validate`] finds.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: Vec<String>,
    pub(super) found: Vec<ConfigError>,
}

impl Problems {
    /// The value `got` of `key` (relative to the enclosing [`within`](Self::within)) is none of those `accepted`.
    pub fn wrong(&mut self, key: &str, got: impl Display, accepted: &str) {
        let mut path = self.prefix.clone();
        path.push(key.to_owned());
        self.found.push(ConfigError::Invalid { key: path.join("."), got: got.to_string(), accepted: accepted.to_owned() });
    }

    /// Checks a section: keys inside are reported below `section`.
    pub fn within(&mut self, section: &str, check: impl FnOnce(&mut Self)) {
        self.prefix.push(section.to_owned());
        check(self);
        self.prefix.pop();
    }
}

#[cfg(test)]
impl Problems {
    /// The keys found wrong, for tests of a [`Validate`].
    pub(crate) fn into_keys(self) -> Vec<String> {
        self.found
            .into_iter()
            .map(|error| match error {
                ConfigError::Invalid { key, .. } => key,
                other => other.to_string(),
            })
            .collect()
    }
}
