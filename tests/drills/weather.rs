//! The relay itself, between two sockets of this process: that it does what it is told, before a drill trusts it.

use super::support::{Relay, Way, Weather};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What a silence is known by. A machine that is slow makes it no shorter.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay, and both ends of a connection through it.
fn connected() -> (Relay, TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let relay = Relay::start(listener.local_addr().unwrap(), None);
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    (relay, client, server)
}

fn hears(stream: &mut TcpStream, within: Duration) -> Result<u8, ErrorKind> {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => Err(ErrorKind::UnexpectedEof),
        Ok(_) => Ok(byte[0]),
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn fair_weather_passes_both_ways_and_the_end_too() {
    let (_relay, mut client, mut server) = connected();
    client.write_all(b"a").unwrap();
    assert_eq!(hears(&mut server, PATIENCE), Ok(b'a'));
    server.write_all(b"b").unwrap();
    assert_eq!(hears(&mut client, PATIENCE), Ok(b'b'));
    drop(server);
    assert_eq!(hears(&mut client, PATIENCE), Err(ErrorKind::UnexpectedEof));
}

#[test]
fn slow_weather_is_late_and_loses_nothing() {
    let (relay, mut client, mut server) = connected();
    relay.set(Weather::Slow(SILENCE));
    let began = Instant::now();
    client.write_all(b"a").unwrap();
    assert_eq!(hears(&mut server, PATIENCE), Ok(b'a'));
    assert!(began.elapsed() >= SILENCE, "{:?}", began.elapsed());
}

#[test]
fn silence_one_way_leaves_the_other_and_keeps_what_was_said() {
    let (relay, mut client, mut server) = connected();
    relay.set(Weather::Silent(Way::ToServer));
    client.write_all(b"a").unwrap();
    server.write_all(b"b").unwrap();
    assert_eq!(hears(&mut client, PATIENCE), Ok(b'b'));
    assert_eq!(hears(&mut server, SILENCE), Err(ErrorKind::WouldBlock));
    relay.set(Weather::Fair);
    assert_eq!(hears(&mut server, PATIENCE), Ok(b'a'));
}

#[test]
fn a_half_open_connection_is_gone_for_the_server_and_silent_for_the_client() {
    let (relay, mut client, mut server) = connected();
    relay.set(Weather::HalfOpen);
    assert!(matches!(hears(&mut server, PATIENCE), Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)));
    client.write_all(b"a").unwrap();
    assert_eq!(hears(&mut client, SILENCE), Err(ErrorKind::WouldBlock));
    relay.set(Weather::Fair);
    assert_eq!(hears(&mut client, SILENCE), Err(ErrorKind::WouldBlock), "it is never whole again");
}

#[test]
fn a_reset_is_felt_at_both_ends_and_by_who_comes_after() {
    let (relay, mut client, mut server) = connected();
    relay.set(Weather::Reset);
    assert_eq!(hears(&mut client, PATIENCE), Err(ErrorKind::ConnectionReset));
    assert_eq!(hears(&mut server, PATIENCE), Err(ErrorKind::ConnectionReset));
    let mut late = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port)).unwrap();
    assert_eq!(hears(&mut late, PATIENCE), Err(ErrorKind::ConnectionReset));
}
