//! Fate sharing: a panic anywhere ends the process, with a code that says whose move it is.

use std::any::Any;

use crate::error::Exit;

/// What timely's communication threads say when a peer is gone; its text is kept stable for this use.
const PEER_LOST: &str = "timely communication error:";

/// After the usual message a panic ends the process: 75 if a peer process went away (start again), 70 otherwise (a bug).
pub fn install_panic_hook() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = text(panic.payload());
        if said.starts_with(PEER_LOST) {
            eprintln!("error: another process of this cluster is gone: {said}\nhelp: nothing committed is lost; start all processes again");
            std::process::exit(Exit::Restart as i32);
        }
        usual(panic);
        eprintln!(
            "help: this is a bug in Tidemill: please report it with the pipeline file and the lines above; nothing committed is lost"
        );
        std::process::exit(Exit::Internal as i32);
    }));
}

/// What the panic said.
fn text(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
