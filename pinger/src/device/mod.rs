//! Devices of this node. Every provider may be absent; that is normal and said in the report.

mod nvml;

use api::protocol::DeviceReport;

/// Asks every provider.
pub fn discover() -> DeviceReport {
    let mut report = DeviceReport::default();
    match nvml::devices() {
        Ok(devices) => report.devices.extend(devices),
        Err(why) => report.absent.push(format!("nvml: {why}")),
    }
    report
}
