//! Selectors of devices. The model knows their text, and asks whoever compiled them.

use super::device::{Device, ResourceSlice};
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A compiled selector. The answer depends on the arguments alone.
pub trait DeviceProgram: Send + Sync {
    /// Whether a driver's device is meant.
    ///
    /// # Errors
    /// Why it can't be said: an attribute that the device does not have, for instance.
    fn matches(&self, driver: &str, device: &Device) -> Result<bool, String>;
}

/// An expression that a device must meet.
#[derive(Clone)]
pub struct Selector {
    expression: Arc<str>,
    program: Arc<dyn DeviceProgram>,
}

impl Selector {
    pub fn new(expression: &str, program: Arc<dyn DeviceProgram>) -> Selector {
        Selector { expression: expression.into(), program }
    }
}

/// By what it says.
impl PartialEq for Selector {
    fn eq(&self, other: &Selector) -> bool {
        self.expression == other.expression
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.expression, f)
    }
}

/// What an expression says of each device of a slice, as far as it was asked.
type OfExpression = Vec<Option<Result<bool, String>>>;

/// What expressions say of a slice's devices. Evaluating takes longer than all else about a device, slices change seldom, and the same few expressions
/// are asked by every pod.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<FxHashMap<Arc<str>, OfExpression>>);

/// Expressions that a slice remembers; claims may hold any number of different ones.
const REMEMBERED: usize = 32;

impl Verdicts {
    pub fn of(&self, selector: &Selector, slice: &ResourceSlice, at: usize) -> Result<bool, String> {
        // What another thread left half done is a verdict more or less.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED && !known.contains_key(&selector.expression) {
            known.clear();
        }
        let verdicts = known.entry(Arc::clone(&selector.expression)).or_insert_with(|| vec![None; slice.devices.len()]);
        let Some(verdict) = verdicts.get_mut(at) else { return Ok(false) };
        verdict.get_or_insert_with(|| selector.program.matches(&slice.driver, &slice.devices[at])).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{named, slice};
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counted(AtomicUsize);

    impl DeviceProgram for Counted {
        fn matches(&self, _driver: &str, _device: &Device) -> Result<bool, String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
    }

    #[test]
    fn a_slice_remembers_what_an_expression_says() {
        let (slice, counted) = (slice("s", "n1", &["a", "b"]), Arc::new(Counted(AtomicUsize::new(0))));
        let selectors = [Selector::new("true", counted.clone())];
        for _ in 0..3 {
            assert_eq!((slice.selected(0, &selectors), slice.selected(1, &selectors)), (Ok(true), Ok(true)));
        }
        assert_eq!(counted.0.load(Ordering::Relaxed), 2);
        for name in 0..100 {
            assert_eq!(slice.selected(0, &[named(&name.to_string())]), Ok(false));
        }
        assert!(slice.verdicts.0.lock().unwrap().len() <= REMEMBERED);
    }
}
