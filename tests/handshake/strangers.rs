//! Clients made up here: what they claim, what they send, and what they are told.

use super::front::{Front, LOGIN_TIMEOUT, USER};
use dbproxy::topology::Flavor;
use dbproxy::wire::{
    AuthPlugin, AuthSwitchRequest, Capabilities, ChangeUser, Greeting, HEADER_LEN, HandshakeResponse, Header,
    LoginHead, frame, respond,
};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Stranger {
    stream: TcpStream,
    greeting: Greeting,
}

impl Stranger {
    async fn greeted(front: &Front) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", front.port)).await.expect("connected");
        let (seq, payload) = read(&mut stream).await.expect("a greeting");
        assert_eq!(seq, 0);
        Self { stream, greeting: Greeting::decode(&payload).expect("a greeting") }
    }

    async fn send(&mut self, seq: u8, payload: &[u8]) {
        let mut packet = Vec::new();
        frame(&mut packet, seq, payload);
        self.stream.write_all(&packet).await.expect("sent");
    }

    /// The next packet; `None` when the front closed.
    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        read(&mut self.stream).await
    }

    fn login(&self, capabilities: Capabilities, plugin: AuthPlugin) -> Vec<u8> {
        let answer = respond(plugin, USER.1.as_bytes(), &self.greeting.nonce).unwrap_or_default();
        let head = LoginHead { capabilities, max_packet: 1 << 24, collation: 46, filler: [0; 23] };
        let login = HandshakeResponse {
            head,
            user: USER.0.as_bytes(),
            auth_response: &answer,
            schema: None,
            plugin: Some(plugin.name().as_bytes()),
            attributes: None,
            zstd_level: None,
        };
        let mut payload = Vec::new();
        login.encode(&mut payload);
        payload
    }
}

async fn read(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; HEADER_LEN];
    let heard = tokio::time::timeout(2 * LOGIN_TIMEOUT, stream.read_exact(&mut head)).await;
    heard.expect("an answer or the end").ok()?;
    let header = Header::peek(&head).expect("four bytes");
    let mut payload = vec![0; header.len];
    stream.read_exact(&mut payload).await.ok()?;
    Some((header.seq, payload))
}

const MODERN: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA.0,
);

#[test]
fn what_a_client_was_not_offered_it_does_not_have() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let front = Front::start(flavor, "");
        front.block_on(async {
            let mut client = Stranger::greeted(&front).await;
            let everything = Capabilities(u64::MAX) & !(Capabilities::SSL | Capabilities::LONG_PASSWORD);
            let login = client.login(everything, AuthPlugin::Native);
            client.send(1, &login).await;
            let (_, first) = client.hear().await.expect("an answer");
            assert_eq!(first[0], 0, "OK");
            let seen = front.seen();
            assert_eq!(seen.capabilities & !client.greeting.capabilities, Capabilities::default());
            assert!(!seen.capabilities.has(Capabilities::COMPRESS));
            assert!(!seen.capabilities.has(Capabilities::MARIADB_COM_MULTI));
            let bulk = seen.capabilities.has(Capabilities::MARIADB_STMT_BULK_OPERATIONS);
            assert_eq!(bulk, flavor == Flavor::MariaDb);
            assert_eq!(seen.collation, 46);
        });
    }
}

/// The words of MySQL 9.7 and MariaDB 10.11 for the same bytes.
#[test]
fn a_bad_handshake_is_refused_in_the_servers_words() {
    let front = Front::start(Flavor::MySql, "");
    let head = |flags: u32| [flags.to_le_bytes().as_slice(), &[0; 28]].concat();
    let cases: [(&str, u8, Vec<u8>, &[u8]); 6] = [
        ("before 4.1", 1, b"\x01\x80\0\0\0app\0xxxxxxxx\0".to_vec(), b"\xff\x13\x04Bad handshake"),
        ("nothing", 1, vec![], b"\xff\x13\x04#08S01Bad handshake"),
        ("a short head", 1, head(0x8200)[..14].to_vec(), b"\xff\x13\x04#08S01Bad handshake"),
        ("a user without end", 1, [head(0x8200), b"app".to_vec()].concat(), b"\xff\x13\x04#08S01Bad handshake"),
        ("an old password", 1, [head(0x200), b"app\0xxxxxxxx\0".to_vec()].concat(), b"\xff\x13\x04#08S01Bad handshake"),
        ("out of order", 7, head(0x8200), b"\xff\x84\x04#08S01Got packets out of order"),
    ];
    front.block_on(async {
        for (case, seq, payload, expected) in cases {
            let mut client = Stranger::greeted(&front).await;
            client.send(seq, &payload).await;
            let (_, told) = client.hear().await.unwrap_or_else(|| panic!("{case}: told nothing"));
            assert_eq!(told, expected, "{case}: {}", String::from_utf8_lossy(&told));
            assert!(client.hear().await.is_none(), "{case}: closed");
            assert!(front.seen().outcome.is_err(), "{case}");
        }
    });
}

#[test]
fn random_bytes_end_their_own_connection_and_nothing_else() {
    let front = Front::start(Flavor::MySql, "");
    front.block_on(async {
        let mut honest = Stranger::greeted(&front).await;
        for seed in 0..200u64 {
            let mut client = Stranger::greeted(&front).await;
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut noise = Vec::new();
            for _ in 0..seed {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                noise.extend_from_slice(&state.to_le_bytes());
            }
            // Half of it framed, so that it reaches the decoder.
            if seed % 2 == 0 {
                let mut login = client.login(MODERN, AuthPlugin::Native);
                let keep = noise.len().min(login.len());
                login.truncate(login.len() - keep / 8);
                login.extend_from_slice(&noise);
                client.send(1, &login).await;
            } else {
                let _ = client.stream.write_all(&noise).await;
            }
            let _ = client.stream.shutdown().await;
        }
        let login = honest.login(MODERN, AuthPlugin::Native);
        honest.send(1, &login).await;
        assert_eq!(honest.hear().await.expect("an answer").1[0], 0, "OK");
    });
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let front = Front::start(Flavor::MySql, "");
    front.block_on(async {
        let began = Instant::now();
        let mut client = Stranger::greeted(&front).await;
        assert!(client.hear().await.is_none(), "closed without a word");
        assert!(began.elapsed() + Duration::from_millis(100) > LOGIN_TIMEOUT);
    });
    assert!(front.seen().outcome.is_err_and(|error| error.contains("in time")));
}

async fn change_user(client: &mut Stranger, user: &str, password: &str, answer: &[u8]) -> Vec<u8> {
    let change = ChangeUser {
        user: user.as_bytes(),
        auth_response: answer,
        schema: b"elsewhere",
        collation: Some(303),
        plugin: Some(AuthPlugin::Native.name().as_bytes()),
        attributes: None,
    };
    let mut payload = Vec::new();
    change.encode(MODERN, &mut payload);
    client.send(0, &payload).await;
    let (seq, payload) = client.hear().await.expect("an answer");
    assert_eq!(seq, 1);
    let Ok(switch) = AuthSwitchRequest::decode(&payload) else { return payload };
    assert_eq!(switch.plugin, AuthPlugin::Native.name().as_bytes());
    let answer = respond(AuthPlugin::Native, password.as_bytes(), switch.data).expect("a good nonce");
    client.send(2, &answer).await;
    let (seq, payload) = client.hear().await.expect("an answer");
    assert_eq!(seq, 3);
    payload
}

#[test]
fn a_change_of_user_is_authenticated_like_a_login() {
    let front = Front::start(Flavor::MariaDb, "");
    front.block_on(async {
        let mut client = Stranger::greeted(&front).await;
        let login = client.login(MODERN, AuthPlugin::Native);
        client.send(1, &login).await;
        assert_eq!(client.hear().await.expect("an answer").1[0], 0);
        assert!(front.seen().outcome.is_ok());

        // An answer to the nonce of the greeting, as most connectors send it; one to a nonce that is not known here; none, as the
        // C libraries do.
        let nonce = client.greeting.nonce;
        let remembered = respond(AuthPlugin::Native, USER.1.as_bytes(), &nonce).expect("a good nonce");
        let strange = respond(AuthPlugin::Native, USER.1.as_bytes(), &[7; 20]).expect("a good nonce");
        for answer in [remembered.as_slice(), &strange, b""] {
            assert_eq!(change_user(&mut client, USER.0, USER.1, answer).await[0], 0);
            let seen = front.seen();
            assert_eq!((seen.outcome, seen.collation), (Ok(()), 303));
            assert_eq!(seen.schema.as_deref(), Some(&b"elsewhere"[..]));
        }
        let told = change_user(&mut client, USER.0, "wrong", b"").await;
        let text = "\u{15}\u{4}#28000Access denied for user 'app'@'127.0.0.1' (using password: YES)";
        assert_eq!(&told[1..], text.as_bytes());
        assert!(client.hear().await.is_none(), "closed, as servers do");
        assert!(front.seen().outcome.is_err());
    });
}

/// Nothing that an unknown user sees differs from what a wrong password sees, packet for packet.
#[test]
fn an_unknown_user_takes_the_course_of_a_wrong_password() {
    let front = Front::start(Flavor::MySql, "");
    front.block_on(async {
        for plugin in [AuthPlugin::Native, AuthPlugin::CachingSha2, AuthPlugin::Ed25519] {
            let mut courses = Vec::new();
            for user in [USER.0, "who"] {
                let mut client = Stranger::greeted(&front).await;
                let mut login = client.login(MODERN, plugin);
                let at = login.windows(4).position(|part| part == b"app\0").expect("the user");
                login[at..at + 3].copy_from_slice(user.as_bytes());
                // The answer follows the user and its own length.
                if plugin != AuthPlugin::Ed25519 {
                    login[at + 5] ^= 1;
                }
                client.send(1, &login).await;
                let mut course = Vec::new();
                let mut next = 3;
                while let Some((seq, payload)) = client.hear().await {
                    course.push((seq, payload[0], payload.len()));
                    if payload[0] == 0xff {
                        break;
                    }
                    client.send(next, &[7; 64]).await;
                    next += 2;
                }
                courses.push(course);
            }
            assert_eq!(courses[0], courses[1], "{plugin:?}");
        }
    });
}
