//! What one endpoint can take.

use crate::crd::Duration;
use placement::units::{Fps, Micros};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one endpoint can take, and for single device classes where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    /// Requests (frames) per second. Not given: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fps: Option<u32>,

    /// Requests served at once without queueing; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub slots: Option<u32>,

    /// Time to serve one request without queueing. Routers learn it from requests; this is what is assumed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time: Option<Duration>,

    /// The same by device class, such as "gpu"; what a class does not give is taken from above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub devices: BTreeMap<String, DevicePerformance>,
}

/// What an endpoint on one device class can take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePerformance {
    /// Requests (frames) per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fps: Option<u32>,

    /// Requests served at once without queueing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub slots: Option<u32>,

    /// Time to serve one request without queueing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time: Option<Duration>,
}

/// What an endpoint on one device class can take, with everything filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// `None`: not limited.
    pub fps: Option<Fps>,
    pub slots: u32,
    /// Declared service time; zero when none is, until it is learned.
    pub service: Micros,
}

impl Performance {
    /// What holds for endpoints on this device class.
    pub fn of(&self, class: &str) -> Serving {
        let device = self.devices.get(class).cloned().unwrap_or_default();
        Serving {
            fps: device.fps.or(self.fps).map(Fps),
            slots: device.slots.or(self.slots).unwrap_or(1).max(1),
            service: device.service_time.or(self.service_time).unwrap_or_default().0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_class_takes_from_the_whole_what_it_does_not_give() {
        let performance: Performance =
            serde_json::from_str(r#"{"fps": 30, "serviceTime": "20ms", "devices": {"gpu": {"slots": 8, "serviceTime": "5ms"}}}"#).unwrap();
        assert_eq!(performance.of("gpu"), Serving { fps: Some(Fps(30)), slots: 8, service: Micros(5_000) });
        assert_eq!(performance.of("cpu"), Serving { fps: Some(Fps(30)), slots: 1, service: Micros(20_000) });
    }
}
