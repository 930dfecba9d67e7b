//! Options of the connections between processes: no delay, and a limit on how long an end that is gone without a word stays unnoticed.

use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

/// An idle connection is tried after this long, then every second.
const IDLE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);

/// Unanswered for so long, a connection is broken: both ends know it within 10 s.
const BROKEN_AFTER: Duration = Duration::from_secs(8);

/// Sets the options.
pub fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, AGAIN)?;
    sockopt::set_tcp_keepcnt(stream, (BROKEN_AFTER - IDLE).as_secs() as u32)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, BROKEN_AFTER.as_millis() as u32)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_system_has_the_options() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(&stream).unwrap();
        assert!(stream.nodelay().unwrap() && sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!((sockopt::tcp_keepidle(&stream).unwrap(), sockopt::tcp_keepintvl(&stream).unwrap()), (IDLE, AGAIN));
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 8000);
    }
}
