//! Which device runs a network, and what its kind is called: bits are promised per device kind and instruction set (S11.3).

use candle_core::Device;

use crate::error::{Error, Exit, Result};

/// A device and its kind.
pub(super) struct Place {
    /// Where tensors live.
    pub(super) device: Device,
    /// E.g. `cpu x86-64 avx512` or `cuda sm_90 132 multiprocessors`: what the bits of an answer depend on beside the network.
    pub(super) kind: String,
}

/// The device called `name`: `cpu`, `cuda:N`, or `auto`: the first GPU if this build can use one and there is one, else the CPU.
pub(super) fn choose(name: &str) -> Result<Place> {
    match name {
        "cpu" => Ok(cpu()),
        "auto" => Ok(cuda(0).unwrap_or_else(|_| cpu())),
        _ => match name.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
            Some(number) => cuda(number),
            None => Err(Error::new(Exit::Config, format!("`{name}` is not a device"), "write device = \"auto\", \"cpu\" or \"cuda:0\"")),
        },
    }
}

fn cpu() -> Place {
    Place { device: Device::Cpu, kind: format!("cpu {}", instruction_set()) }
}

/// What matrix kernels choose their code by.
#[cfg(target_arch = "x86_64")]
fn instruction_set() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "x86-64 avx512"
    } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        "x86-64 avx2"
    } else {
        "x86-64"
    }
}

/// What matrix kernels choose their code by.
#[cfg(not(target_arch = "x86_64"))]
fn instruction_set() -> &'static str {
    std::env::consts::ARCH
}

/// cuBLAS promises the same bits for the same version of itself on the same architecture with as many multiprocessors.
#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Place> {
    use candle_core::cuda_backend::cudarc::driver::{DriverError, sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT};
    let lost = |error: candle_core::Error| {
        let help = "check that nvidia-smi lists it, or write device = \"cpu\" (or \"auto\")";
        Error::new(Exit::Unreachable, format!("cannot use the GPU cuda:{number}: {error}"), help)
    };
    let device = Device::new_cuda(number).map_err(lost)?;
    let stream = device.as_cuda_device().map_err(lost)?.cuda_stream();
    let kind = || -> std::result::Result<String, DriverError> {
        let (major, minor) = stream.context().compute_capability()?;
        let multiprocessors = stream.context().attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(format!("cuda sm_{major}{minor} {multiprocessors} multiprocessors"))
    };
    let kind = kind().map_err(|error| lost(candle_core::Error::msg(error)))?;
    Ok(Place { device, kind })
}

#[cfg(not(feature = "cuda"))]
fn cuda(number: usize) -> Result<Place> {
    let help = "build with `cargo build --release --features cuda` (see README.md, \"GPU\"), or write device = \"cpu\" (or \"auto\")";
    Err(Error::new(Exit::Config, format!("this build cannot use the GPU cuda:{number}: it was made without the feature `cuda`"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_and_cpu_always_work_and_other_names_are_refused() {
        assert!(choose("cpu").is_ok_and(|place| place.device.is_cpu() && place.kind.starts_with("cpu ")));
        assert!(choose("auto").is_ok());
        for name in ["tpu", "cuda", "cuda:", "cuda:x", ""] {
            assert_eq!(choose(name).err().map(|error| error.exit), Some(Exit::Config), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_without_the_feature_is_a_fault_of_the_file_that_says_what_to_do() {
        let error = choose("cuda:0").err().expect("no GPU in this build");
        assert_eq!(error.exit, Exit::Config);
        assert!(error.cause.contains("without the feature `cuda`") && error.help.contains("--features cuda"), "{error}");
    }
}
