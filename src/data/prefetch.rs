//! Asking the caches for a word that will soon be read, so that the misses of many keys overlap.

/// Changes nothing but how soon `word` can be read. Does nothing where the processor has no such instruction.
#[inline(always)]
pub fn prefetch(word: &u64) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(word);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}
