//! Stack for what recurses: sqlparser over its input, DataFusion over its trees.

/// Stack for the deepest expressions that are admitted, in bytes; untouched pages cost nothing.
const DEEP: usize = 64 << 20;

/// Runs `work`; with `deep`, on a thread of its own whose stack is large enough for any expression. `None` if there is no such thread, or if it panicked.
pub fn with_stack<T: Send>(deep: bool, work: impl FnOnce() -> T + Send) -> Option<T> {
    if !deep {
        return Some(work());
    }
    std::thread::scope(|scope| std::thread::Builder::new().stack_size(DEEP).spawn_scoped(scope, work).ok()?.join().ok())
}
