//! Who destroys what the library allocates.

use std::ptr::NonNull;

use super::CallError;

/// Something the library allocated for us; destroyed once, when dropped.
pub(super) struct Owned<T> {
    ptr: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes ownership of `ptr`; an error when the library returned null.
    ///
    /// # Safety
    /// `ptr` is null or was returned by the library for the caller to destroy with `destroy`, and nobody else will.
    pub(super) unsafe fn new(
        ptr: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
        what: &'static str,
    ) -> Result<Self, CallError> {
        NonNull::new(ptr)
            .map(|ptr| Self { ptr, destroy })
            .ok_or_else(|| CallError::new(format!("librdkafka could not make {what}")))
    }

    /// The pointer, for a call while `self` lives.
    pub(super) fn ptr(&self) -> *mut T {
        self.ptr.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new` the pointer is ours and this is the only call that destroys it.
        unsafe { (self.destroy)(self.ptr.as_ptr()) }
    }
}
