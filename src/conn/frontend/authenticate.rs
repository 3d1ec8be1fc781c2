//! Who a client is. An unknown user takes the course of a wrong password, step by step, against a decoy.

use super::super::backend::{FAST_AUTH_SUCCESS, FULL_AUTH_WANTED, PUBLIC_KEY_WANTED};
use super::super::exchange::Exchange;
use super::super::login_error::{LoginError, Password};
use super::super::nonce;
use super::Frontend;
use crate::config::{Secret, User};
use crate::wire::{
    AuthMoreData, AuthPlugin, AuthSwitchRequest, Capabilities, Malformed, NONCE_LEN, same_password, veil, verify,
};
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

/// What a client claims.
pub(super) struct Attempt<'a> {
    pub(super) user: &'a [u8],
    pub(super) answer: &'a [u8],
    /// The plugin that `answer` is of, by the client's word.
    pub(super) plugin: Option<&'a [u8]>,
    pub(super) capabilities: Capabilities,
    /// What `answer` answers to, if the plugins agree.
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) default_plugin: AuthPlugin,
    /// The nonce is an older one, which the client may have forgotten.
    pub(super) reused_nonce: bool,
    pub(super) host: Option<IpAddr>,
    pub(super) tls: bool,
}

/// A client that is who it says.
pub(super) struct Authenticated {
    pub(super) user: User,
    /// The last nonce sent.
    pub(super) nonce: [u8; NONCE_LEN],
}

/// Whether an answer can be judged as it came.
enum Judge {
    /// It is of this plugin, and answers to the nonce that was sent.
    Now(AuthPlugin),
    /// Ask again, for this plugin.
    AfterSwitch(AuthPlugin),
}

impl Attempt<'_> {
    pub(super) async fn run<S>(
        self,
        exchange: &mut Exchange<S>,
        frontend: &Frontend,
    ) -> Result<Authenticated, LoginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let account = frontend.account(self.user);
        let password = account.as_ref().map_or(&frontend.decoy, |account| &account.password);
        let (plugin, nonce, proven) = match self.judge(password) {
            Judge::Now(plugin) => {
                let proven = self.prove(exchange, frontend, plugin, password, &self.nonce, self.answer).await?;
                (plugin, self.nonce.to_vec(), proven)
            }
            Judge::AfterSwitch(plugin) => {
                let nonce = fresh_nonce(plugin);
                let answer = ask_again(exchange, plugin, &nonce).await?;
                let proven = self.prove(exchange, frontend, plugin, password, &nonce, &answer).await?;
                (plugin, nonce, proven)
            }
        };
        let kept = match nonce.first_chunk() {
            Some(nonce) if plugin != AuthPlugin::Ed25519 => *nonce,
            _ => self.nonce,
        };
        match (account, proven) {
            (Some(user), Proof::Right) => Ok(Authenticated { user, nonce: kept }),
            (_, Proof::Wrong(password)) => Err(self.denied(password)),
            (None, Proof::Right) => Err(self.denied(Password::Used)),
        }
    }

    /// A client whose own plugin is not the greeted one may have sent an answer to the greeting's nonce all the same, or
    /// nothing, waiting to be asked (as the C libraries do): the length tells.
    fn judge(&self, password: &Secret) -> Judge {
        if !self.capabilities.has(Capabilities::PLUGIN_AUTH) {
            return Judge::Now(AuthPlugin::Native);
        }
        let Some(plugin) = AuthPlugin::from_name(self.plugin.unwrap_or_default()) else {
            return Judge::AfterSwitch(self.default_plugin);
        };
        if self.reused_nonce {
            // Which nonce the client remembers is its own affair: only a right answer counts before it is asked again.
            let remembered = plugin != AuthPlugin::Ed25519 && !self.answer.is_empty();
            let right = remembered && verify(plugin, password.expose(), &self.nonce, self.answer);
            return if right { Judge::Now(plugin) } else { Judge::AfterSwitch(plugin) };
        }
        let answered = plugin == self.default_plugin || self.answer.len() == plugin.answer_len();
        if answered && plugin != AuthPlugin::Ed25519 { Judge::Now(plugin) } else { Judge::AfterSwitch(plugin) }
    }

    async fn prove<S>(
        &self,
        exchange: &mut Exchange<S>,
        frontend: &Frontend,
        plugin: AuthPlugin,
        password: &Secret,
        nonce: &[u8],
        answer: &[u8],
    ) -> Result<Proof, LoginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if plugin == AuthPlugin::Native && ![0, plugin.answer_len()].contains(&answer.len()) {
            return Err(Malformed::Invalid("auth response").into());
        }
        let right = verify(plugin, password.expose(), nonce, answer);
        let sent = if matches!(answer, [] | [0]) { Password::Absent } else { Password::Used };
        match (plugin, right, sent) {
            (AuthPlugin::Native | AuthPlugin::Ed25519, true, _) | (AuthPlugin::CachingSha2, true, Password::Absent) => {
                Ok(Proof::Right)
            }
            (AuthPlugin::Native | AuthPlugin::Ed25519, false, _)
            | (AuthPlugin::CachingSha2, false, Password::Absent) => Ok(Proof::Wrong(sent)),
            (AuthPlugin::CachingSha2, true, Password::Used) => {
                more_data(exchange, &[FAST_AUTH_SUCCESS]).await?;
                Ok(Proof::Right)
            }
            (AuthPlugin::CachingSha2, false, Password::Used) => {
                // The course of a real server: the hash in its cache could be an old one.
                more_data(exchange, &[FULL_AUTH_WANTED]).await?;
                let plain = self.receive_password(exchange, frontend, nonce).await?;
                let right = plain.is_some_and(|plain| same_password(password.expose(), &plain));
                Ok(if right { Proof::Right } else { Proof::Wrong(Password::Used) })
            }
        }
    }

    /// The password itself: over TLS as it is, else encrypted with our RSA key. `None` when it cannot be read.
    async fn receive_password<S>(
        &self,
        exchange: &mut Exchange<S>,
        frontend: &Frontend,
        nonce: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, LoginError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut sent = Zeroizing::new(exchange.read().await?);
        if self.tls {
            return Ok(unended(sent));
        }
        let key = frontend.rsa_key().await?;
        if sent.as_slice() == [PUBLIC_KEY_WANTED] {
            more_data(exchange, &key.public_pem).await?;
            sent = Zeroizing::new(exchange.read().await?);
        }
        let Some(mut plain) = key.decrypt(&sent) else { return Ok(None) };
        veil(&mut plain, &nonce[..nonce.len().min(NONCE_LEN)]);
        Ok(unended(plain))
    }

    fn denied(&self, password: Password) -> LoginError {
        LoginError::Denied { user: self.user.to_vec(), host: self.host, password }
    }
}

/// What came of an answer.
enum Proof {
    Right,
    Wrong(Password),
}

/// As it goes over the wire: behind the nonce of a scramble stands a zero byte.
fn fresh_nonce(plugin: AuthPlugin) -> Vec<u8> {
    match plugin {
        AuthPlugin::Ed25519 => nonce::ed25519().to_vec(),
        AuthPlugin::Native | AuthPlugin::CachingSha2 => nonce::scramble().into_iter().chain([0]).collect(),
    }
}

async fn ask_again<S>(exchange: &mut Exchange<S>, plugin: AuthPlugin, nonce: &[u8]) -> Result<Vec<u8>, LoginError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut payload = Vec::new();
    AuthSwitchRequest { plugin: plugin.name().as_bytes(), data: nonce }.encode(&mut payload);
    exchange.write(&payload).await?;
    Ok(exchange.read().await?)
}

async fn more_data<S>(exchange: &mut Exchange<S>, data: &[u8]) -> Result<(), LoginError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut payload = Vec::new();
    AuthMoreData(data).encode(&mut payload);
    Ok(exchange.write(&payload).await?)
}

/// A password comes with a zero byte behind it.
fn unended(mut text: Zeroizing<Vec<u8>>) -> Option<Zeroizing<Vec<u8>>> {
    (text.pop() == Some(0)).then_some(text)
}
