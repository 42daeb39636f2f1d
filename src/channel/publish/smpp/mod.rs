//! SMPP 3.4 (<https://smpp.org/SMPP_v3_4_Issue1_2.pdf>). The codec of PDUs is rusmpp's; the conversation is ours, since no client may
//! send by itself again what a lost connection left open. A text becomes one `submit_sm` or several (`submit`); it is accepted once
//! all of them are, by the id that the centre gave the last. Receipts come over the same connection (`receipt`) and are
//! acknowledged once they are kept. Whoever does not listen for them binds as a transmitter, so that they go elsewhere.

mod pdu;
mod receipt;
mod session;
mod settings;
mod status;
mod submit;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock};

use bytes::BytesMut;
use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::borrowed::{BindTransceiver, BindTransmitter, Pdu};
use rusmpp_core::values::InterfaceVersion;
use tokio::sync::mpsc;

use self::pdu::{Frame, ID};
use self::session::{Bound, Memory};
use self::settings::Own;
use super::target::{Line, Schemes, Target};
use super::{Protocol, Publisher, Settings, deferred, patience, setting};
use crate::channel::{Driver, Outcome, Report};

/// As registered with IANA: smpp and ssmpp.
const SCHEMES: Schemes = Schemes { plain: ("smpp", 2775), secure: ("smpps", 3550) };

/// `concurrency` is the window: the number of `submit_sm` that wait for their answer at one time.
pub fn driver(settings: &Settings, concurrency: usize) -> Result<Arc<dyn Driver>, String> {
    let own = Own::read(settings)?;
    let password = setting(settings, "password").ok_or("password: missing")?;
    let target = Target::read(settings, &SCHEMES, true)?;
    let smpp = Smpp {
        target,
        own: Arc::new(own),
        memory: Arc::default(),
        window: concurrency.max(1),
        reports: OnceLock::new(),
    };
    Ok(Arc::new(Publisher::new(smpp, patience(settings)?, concurrency, vec![password.into()])))
}

struct Smpp {
    target: Target,
    own: Arc<Own>,
    /// What outlives a connection.
    memory: Arc<Mutex<Memory>>,
    window: usize,
    reports: OnceLock<mpsc::Sender<Report>>,
}

impl Protocol for Smpp {
    type Session = Bound;

    async fn open(&self) -> Result<(Line, Bound), Outcome> {
        let stream = self.target.connect().await?;
        let mut line = match self.target.secure {
            true => self.target.encrypt(stream).await?,
            false => Line::over(stream),
        };
        let mut session = Bound::new(self.own.clone(), self.memory.clone(), self.window, self.reports.get().cloned());
        let number = session.number();
        let mut hello = BytesMut::new();
        pdu::write(&mut hello, CommandStatus::EsmeRok, number, self.bind());
        line.write(&hello).await?;
        loop {
            match Frame::take(&mut line.incoming) {
                Ok(Some(frame))
                    if matches!(frame.id, ID::BIND_TRANSCEIVER_RESP | ID::BIND_TRANSMITTER_RESP | ID::NACK) =>
                {
                    status::bound(frame.status)?;
                    return Ok((line, session));
                }
                Ok(None) => line.read().await?,
                // Nothing else belongs before it.
                Ok(Some(_)) | Err(_) => return Err(deferred("the answer to bind is not SMPP")),
            }
        }
    }

    fn listen(&self, reports: mpsc::Sender<Report>) {
        // Whoever came first is heard.
        let _ = self.reports.set(reports);
    }

    fn listens(&self) -> bool {
        self.reports.get().is_some()
    }
}

impl Smpp {
    fn bind(&self) -> Pdu<'_, 0> {
        let own = &self.own;
        let (system_id, password, system_type) = (own.system_id.get(), own.password.get(), own.system_type.get());
        match self.listens() {
            true => BindTransceiver::builder()
                .system_id(system_id)
                .password(password)
                .system_type(system_type)
                .interface_version(InterfaceVersion::Smpp3_4)
                .build()
                .into(),
            false => BindTransmitter::builder()
                .system_id(system_id)
                .password(password)
                .system_type(system_type)
                .interface_version(InterfaceVersion::Smpp3_4)
                .build()
                .into(),
        }
    }
}

/// As it is when a connection begins, with the first numbers given to nobody.
pub(super) fn session() -> Bound {
    let own = Own { system_id: settings::Text::of("loudhailer").unwrap_or_default(), ..Own::default() };
    Bound::new(Arc::new(own), Arc::default(), 8, None)
}
