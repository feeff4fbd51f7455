//! Is there a Vulkan adapter? Asked of the loader itself, without any GPU crate.
//!
//! A manifest in a folder proves little: it may name a driver for a card that isn't there. So the
//! loader is opened and asked to list its devices, in a child process, because a broken driver may
//! take its process down, and because a library installed a moment ago is only seen by a new one.

use std::process::{Command, ExitCode, Stdio};

/// The hidden command under which this program probes in a child process.
pub const PROBE: &str = "probe-vulkan";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vulkan {
    /// Adapters, as the loader names them.
    Adapters(Vec<String>),
    /// None; why, in one clause.
    Missing(String),
    /// This system brings its own graphics interface (Metal, Direct3D 12): nothing to look for.
    NotNeeded,
}

/// Looks for adapters in a child process.
pub fn find() -> Vulkan {
    if cfg!(not(target_os = "linux")) {
        return Vulkan::NotNeeded;
    }
    let child = std::env::current_exe()
        .and_then(|exe| Command::new(exe).arg(PROBE).stdin(Stdio::null()).stderr(Stdio::null()).output());
    match child {
        Err(e) => Vulkan::Missing(format!("the Vulkan loader could not be asked ({e})")),
        Ok(out) => verdict(out.status.code(), &String::from_utf8_lossy(&out.stdout)),
    }
}

/// Reads the child's answer: one `adapter NAME` or `missing WHY` a line.
fn verdict(code: Option<i32>, stdout: &str) -> Vulkan {
    let all = |prefix: &str| -> Vec<String> {
        stdout.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
    };
    if code != Some(0) {
        return Vulkan::Missing("a Vulkan driver crashed while it was asked for its devices".into());
    }
    let adapters = all("adapter ");
    if adapters.is_empty() {
        let why = all("missing ").join(", ");
        return Vulkan::Missing(if why.is_empty() { "no Vulkan adapter answers".into() } else { why });
    }
    Vulkan::Adapters(adapters)
}

/// The child's side of [`find`].
pub fn probe_here() -> ExitCode {
    match enumerate() {
        Ok(names) if names.is_empty() => println!("missing no Vulkan driver is installed"),
        Ok(names) => names.iter().for_each(|name| println!("adapter {name}")),
        Err(why) => println!("missing {why}"),
    }
    ExitCode::SUCCESS
}

#[cfg(not(target_os = "linux"))]
fn enumerate() -> Result<Vec<String>, String> {
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
fn enumerate() -> Result<Vec<String>, String> {
    loader::enumerate()
}

/// The five calls of the Vulkan loader that it takes to list devices (Vulkan 1.0, chapters 4 and 5).
#[cfg(target_os = "linux")]
mod loader {
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::ptr::{null, null_mut};

    unsafe extern "C" {
        fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    const RTLD_NOW: c_int = 2;

    /// `VkInstanceCreateInfo`, with nothing asked for.
    #[repr(C)]
    struct InstanceInfo {
        kind: u32,
        next: *const c_void,
        flags: u32,
        application: *const c_void,
        layers: u32,
        layer_names: *const c_void,
        extensions: u32,
        extension_names: *const c_void,
    }

    /// `VkPhysicalDeviceProperties` up to the name; the rest (limits, under 1 KiB) is room to write.
    #[repr(C, align(8))]
    struct Properties {
        versions_and_ids: [u32; 4],
        kind: u32,
        name: [u8; 256],
        rest: [u8; 2048],
    }

    type CreateInstance = unsafe extern "C" fn(*const InstanceInfo, *const c_void, *mut *mut c_void) -> c_int;
    type Enumerate = unsafe extern "C" fn(*mut c_void, *mut u32, *mut *mut c_void) -> c_int;
    type GetProperties = unsafe extern "C" fn(*mut c_void, *mut Properties);
    type DestroyInstance = unsafe extern "C" fn(*mut c_void, *const c_void);

    pub fn enumerate() -> Result<Vec<String>, String> {
        // SAFETY: the name is a C string; the library's initialiser is the loader's, made to be
        // loaded like this.
        let library = unsafe { dlopen(c"libvulkan.so.1".as_ptr(), RTLD_NOW) };
        if library.is_null() {
            return Err("the Vulkan loader (libvulkan.so.1) is not installed".into());
        }
        let symbol = |name: &CStr| {
            // SAFETY: `library` is a live handle and `name` a C string.
            let address = unsafe { dlsym(library, name.as_ptr()) };
            if address.is_null() {
                return Err(format!("the Vulkan loader lacks {}", name.to_string_lossy()));
            }
            Ok(address)
        };
        // SAFETY: each of these is exported by every Vulkan loader with exactly this signature.
        let (create, list, properties_of, destroy) = unsafe {
            (
                std::mem::transmute::<*mut c_void, CreateInstance>(symbol(c"vkCreateInstance")?),
                std::mem::transmute::<*mut c_void, Enumerate>(symbol(c"vkEnumeratePhysicalDevices")?),
                std::mem::transmute::<*mut c_void, GetProperties>(symbol(c"vkGetPhysicalDeviceProperties")?),
                std::mem::transmute::<*mut c_void, DestroyInstance>(symbol(c"vkDestroyInstance")?),
            )
        };
        let info = InstanceInfo {
            kind: 1, // VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
            next: null(),
            flags: 0,
            application: null(),
            layers: 0,
            layer_names: null(),
            extensions: 0,
            extension_names: null(),
        };
        let mut instance = null_mut();
        // SAFETY: `info` is a valid create info and `instance` a valid place for the handle.
        if unsafe { create(&info, null(), &mut instance) } != 0 {
            return Ok(Vec::new()); // VK_ERROR_INCOMPATIBLE_DRIVER: a loader without a driver
        }
        let mut devices = [null_mut(); 16];
        let mut count = devices.len() as u32;
        // SAFETY: `count` says how many handles there is room for; more are left out by the loader.
        let code = unsafe { list(instance, &mut count, devices.as_mut_ptr()) };
        let found = if code < 0 { 0 } else { count as usize };
        let names = devices[..found]
            .iter()
            .map(|&device| {
                let mut properties = Properties { versions_and_ids: [0; 4], kind: 0, name: [0; 256], rest: [0; 2048] };
                // SAFETY: a handle that was just listed, and more room than the structure takes.
                unsafe { properties_of(device, &mut properties) };
                describe(properties.kind, &properties.name)
            })
            .collect();
        // SAFETY: the instance was created above and nothing of it is used after.
        unsafe { destroy(instance, null()) };
        Ok(names)
    }

    /// A device's name and kind (`VkPhysicalDeviceType`).
    pub fn describe(kind: u32, name: &[u8]) -> String {
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        let kind = match kind {
            1 => "integrated GPU",
            2 => "discrete GPU",
            3 => "virtual GPU",
            4 => "software",
            _ => "other",
        };
        format!("{} ({kind})", String::from_utf8_lossy(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_read_from_the_childs_lines() {
        assert_eq!(
            verdict(Some(0), "adapter llvmpipe (software)\nadapter B (discrete GPU)\n"),
            Vulkan::Adapters(vec!["llvmpipe (software)".into(), "B (discrete GPU)".into()])
        );
    }

    #[test]
    fn a_reason_a_crash_and_silence_are_told_apart() {
        let missing = |code, text| match verdict(code, text) {
            Vulkan::Missing(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(missing(Some(0), "missing no loader\n").contains("no loader"));
        assert!(missing(None, "adapter X (other)\n").contains("crashed"));
        assert!(missing(Some(0), "").contains("no Vulkan adapter"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_named_up_to_the_first_zero_byte() {
        assert_eq!(loader::describe(4, b"llvmpipe\0junk"), "llvmpipe (software)");
        assert_eq!(loader::describe(9, b"new"), "new (other)");
    }
}
