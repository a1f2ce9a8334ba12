//! NVIDIA GPUs through NVML, loaded at run time.

use api::protocol::Device;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

/// One entry a GPU; a field that the driver does not give is left out. An error means no library or no driver.
pub fn devices() -> Result<Vec<Device>, NvmlError> {
    let nvml = Nvml::init()?;
    let count = nvml.device_count()?;
    Ok((0..count).filter_map(|index| nvml.device_by_index(index).ok()).map(|gpu| describe(&gpu)).collect())
}

fn describe(gpu: &nvml_wrapper::Device<'_>) -> Device {
    let memory = gpu.memory_info().ok();
    Device {
        class: "gpu".into(),
        model: gpu.name().ok(),
        id: gpu.uuid().ok(),
        memory_bytes: memory.as_ref().map(|m| m.total),
        memory_used_bytes: memory.as_ref().map(|m| m.used),
        utilization: gpu.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_absent_library_is_a_reason_and_no_crash() {
        match super::devices() {
            Ok(devices) => assert!(devices.iter().all(|d| d.class == "gpu")),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
