//! What a command status of an answer means (section 5.1.3). The message was refused, whatever the status is, so nothing here is
//! unknown.

use rusmpp_core::CommandStatus as Status;

use super::super::{deferred, rejected};
use crate::channel::{Fault, Holds, Outcome};

fn named(status: Status) -> String {
    match status {
        Status::Other(code) => format!("status 0x{code:08X}"),
        status => {
            // As the specification writes it: ESME_RTHROTTLED.
            let name = format!("{status:?}").to_uppercase();
            format!("{} (0x{:X})", name.replacen("ESME", "ESME_", 1), u32::from(status))
        }
    }
}

/// Of `submit_sm_resp`; `Ok` where it was accepted.
pub fn submitted(status: Status) -> Result<(), Outcome> {
    let detail = named(status);
    Err(match status {
        Status::EsmeRok => return Ok(()),
        Status::EsmeRthrottled | Status::EsmeRmsgqful => {
            Outcome::Deferred { after: None, holds: Holds::Channel, throttled: true, detail }
        }
        Status::EsmeRsyserr | Status::EsmeRxTAppn | Status::EsmeRinvbndsts => deferred(detail),
        Status::EsmeRinvdstadr | Status::EsmeRinvnumdests => Outcome::Rejected { fault: Fault::Address, detail },
        // What we say of every message alike: the next one would be refused, too.
        Status::EsmeRinvsrcadr
        | Status::EsmeRinvsrcton
        | Status::EsmeRinvsrcnpi
        | Status::EsmeRinvdstton
        | Status::EsmeRinvdstnpi
        | Status::EsmeRinvsertyp
        | Status::EsmeRinvsystyp
        | Status::EsmeRinvesmclass
        | Status::EsmeRinvregdlvflg
        | Status::EsmeRinvexpiry
        | Status::EsmeRinvcmdid
        | Status::EsmeRbindfail => rejected(detail),
        _ => Outcome::Rejected { fault: Fault::Message, detail },
    })
}

/// Of the answer to bind.
pub fn bound(status: Status) -> Result<(), Outcome> {
    let detail = || format!("bind: {}", named(status));
    match status {
        Status::EsmeRok => Ok(()),
        Status::EsmeRbindfail
        | Status::EsmeRinvpaswd
        | Status::EsmeRinvsysid
        | Status::EsmeRinvsystyp
        | Status::EsmeRinvcmdid => Err(rejected(detail())),
        // Another connection of ours may still have to end.
        _ => Err(deferred(detail())),
    }
}
