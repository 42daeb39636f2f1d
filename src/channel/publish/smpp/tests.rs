//! What is said on a connection, byte by byte, where no centre is needed to see it.

use rusmpp_core::pdus::borrowed::{DeliverSm, SubmitSmResp};
use rusmpp_core::tlvs::borrowed::MessageDeliveryRequestTlvValue as Extra;
use rusmpp_core::types::borrowed::{COctetString, OctetString};
use rusmpp_core::values::{EsmClass, MessageState};

use super::receipt::{Delivered, Receipt, read};
use super::settings::Ids;
use std::collections::BTreeMap;

use super::*;
use crate::channel::Fault;
use crate::channel::publish::{Kept, Letter, Session};
use crate::config::Secret;

fn letter(id: &str, text: &str) -> Letter {
    Letter { id: id.into(), broadcast: None, to: "+46700000000".into(), body: text.to_string().into() }
}

fn frames(out: &mut BytesMut) -> Vec<Frame> {
    std::iter::from_fn(|| Frame::take(out).expect("SMPP")).collect()
}

fn numbers(out: &mut BytesMut) -> Vec<u32> {
    frames(out).iter().map(|frame| frame.number).collect()
}

/// With a window of so many.
fn bound(window: usize, reports: Option<mpsc::Sender<Report>>) -> Bound {
    Bound::new(Arc::new(Own::default()), Arc::default(), window, reports)
}

fn answer(incoming: &mut BytesMut, number: u32, status: CommandStatus, id: &[u8]) {
    let id = COctetString::new(id).expect("an id");
    pdu::write(incoming, status, number, SubmitSmResp::<0>::builder().message_id(id).build());
}

fn receipt(text: &[u8], class: u8, extras: &[Extra<'_>]) -> Frame {
    let mut pdu = DeliverSm::<4>::builder()
        .esm_class(EsmClass::from(class))
        .short_message(OctetString::new(text).expect("short"));
    for extra in extras {
        pdu = pdu.push_tlv(extra.clone()).expect("room");
    }
    let mut out = BytesMut::new();
    pdu::write(&mut out, CommandStatus::EsmeRok, 7, pdu.build());
    frames(&mut out).pop().expect("one")
}

#[test]
fn a_receipt_is_read_from_text_or_from_tlvs_and_from_nothing_else() {
    let is = |id: &str, stat: &str, err: &str| {
        Delivered::Receipt(Receipt { id: id.into(), stat: stat.into(), err: err.into() })
    };
    let whole =
        b"id:0123456789 sub:001 dlvrd:001 submit date:2601010000 done date:2601010001 stat:DELIVRD err:000 text:We are";
    let id = Extra::ReceiptedMessageId(COctetString::new(b"AB12\0").expect("an id"));
    let state = |state| Extra::MessageState(state);
    for (text, class, extras, ids, expected) in [
        (&whole[..], 4, vec![], Ids::Same, is("0123456789", "DELIVRD", "000")),
        (whole, 0x20, vec![], Ids::HexDecimal, is("123456789", "DELIVRD", "000")),
        (b"id:1A2b stat:UNDELIV err:27", 4, vec![], Ids::DecimalHex, is("6699", "UNDELIV", "27")),
        (b"ID:7 STAT:expired", 4, vec![], Ids::Same, is("7", "EXPIRED", "")),
        // What the message itself says is not what is said of it.
        (b"id:7 stat:REJECTD text:id:9 stat:DELIVRD err:1", 4, vec![], Ids::Same, is("7", "REJECTD", "")),
        (b"sub:001 text:id:9 stat:DELIVRD", 4, vec![], Ids::Same, Delivered::Unreadable),
        (b"", 4, vec![id.clone(), state(MessageState::Deleted)], Ids::HexDecimal, is("43794", "DELETED", "")),
        (
            b"id:9 stat:ENROUTE",
            0,
            vec![id.clone(), state(MessageState::Undeliverable)],
            Ids::Same,
            is("AB12", "UNDELIV", ""),
        ),
        (b"id:9 stat:DELIVRD", 4, vec![state(MessageState::Other(99))], Ids::Same, is("9", "DELIVRD", "")),
        (b"STOP", 0, vec![], Ids::Same, Delivered::Other),
        (b"id:1 stat:DELIVRD", 0, vec![], Ids::Same, Delivered::Other),
        (b"nothing of the kind", 4, vec![], Ids::Same, Delivered::Unreadable),
    ] {
        assert_eq!(read(&receipt(text, class, &extras), ids), expected, "{}", String::from_utf8_lossy(text));
    }
    let mut torn = receipt(whole, 4, &[]);
    torn.bytes.truncate(30);
    assert_eq!(read(&torn, Ids::Same), Delivered::Unreadable);
}

#[test]
fn parts_wait_for_the_window_and_are_left_out_once_one_is_refused() {
    let (mut session, mut out, mut incoming, mut answers) =
        (bound(2, None), BytesMut::new(), BytesMut::new(), Vec::new());
    session.publish(1, &letter("dlv_1", &"x".repeat(500)), &mut out).expect("published");
    assert_eq!((numbers(&mut out), session.full()), (vec![1, 2], true));
    answer(&mut incoming, 1, CommandStatus::EsmeRok, b"a\0");
    session.read(&mut incoming, &mut out, &mut answers).expect("read");
    assert_eq!((numbers(&mut out), session.full()), (vec![3], true));
    answer(&mut incoming, 2, CommandStatus::EsmeRinvdstadr, b"\0");
    answer(&mut incoming, 3, CommandStatus::EsmeRthrottled, b"\0");
    session.read(&mut incoming, &mut out, &mut answers).expect("read");
    let [(1, Outcome::Rejected { fault: Fault::Address, .. })] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((numbers(&mut out), session.full()), (vec![], false));
}

#[test]
fn who_is_not_waited_for_any_more_makes_room() {
    let (mut session, mut out, mut incoming, mut answers) =
        (bound(1, None), BytesMut::new(), BytesMut::new(), Vec::new());
    session.publish(1, &letter("dlv_1", "x"), &mut out).expect("published");
    assert!(session.full());
    session.forget(1, &mut out);
    assert!(!session.full());
    session.publish(2, &letter("dlv_2", "x"), &mut out).expect("published");
    // The late answer of the first is not that of the second.
    answer(&mut incoming, 1, CommandStatus::EsmeRok, b"a\0");
    session.read(&mut incoming, &mut out, &mut answers).expect("read");
    assert_eq!(answers, []);
    answer(&mut incoming, 2, CommandStatus::EsmeRok, b"b\0");
    session.read(&mut incoming, &mut out, &mut answers).expect("read");
    assert_eq!(answers, [(2, Outcome::Accepted { reference: Some("b".into()) })]);
}

#[tokio::test]
async fn a_receipt_that_nobody_takes_is_to_come_again_and_more_than_can_wait_are_not_read() {
    let text = b"id:1 stat:DELIVRD err:000 text:";
    let mut answers = Vec::new();
    let came = |times: usize| {
        let mut incoming = BytesMut::new();
        for _ in 0..times {
            let frame = receipt(text, 4, &[]);
            incoming.extend_from_slice(&(frame.bytes.len() as u32 + 4).to_be_bytes());
            incoming.extend_from_slice(&frame.bytes);
        }
        incoming
    };
    let statuses = |out: &mut BytesMut| frames(out).iter().map(|frame| (frame.id, frame.status)).collect::<Vec<_>>();
    const ANSWER: u32 = ID::DELIVER_SM | ID::ANSWER;

    let mut out = BytesMut::new();
    bound(1, None).read(&mut came(1), &mut out, &mut answers).expect("read");
    assert_eq!(statuses(&mut out), [(ANSWER, CommandStatus::EsmeRxTAppn)]);

    let (reports, mut heard) = mpsc::channel(1000);
    let (mut session, mut incoming) = (bound(1, Some(reports)), came(300));
    session.read(&mut incoming, &mut out, &mut answers).expect("read");
    assert!(out.is_empty() && !session.hears() && !incoming.is_empty());
    for kept in [true, false] {
        let report = heard.recv().await.expect("a report");
        // The second is dropped unanswered: whoever was to keep it is gone.
        if kept {
            report.kept.send(true).expect("waited for");
        } else {
            drop(report);
        }
        let Kept { number, kept } = session.kept().await;
        session.acknowledge(Kept { number, kept }, &mut out);
    }
    assert_eq!(statuses(&mut out), [(ANSWER, CommandStatus::EsmeRok), (ANSWER, CommandStatus::EsmeRxTAppn)]);
    session.read(&mut incoming, &mut out, &mut answers).expect("read");
    assert!(!session.hears());
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let error = |name: &str, value: &str| {
        let mut settings: Settings = BTreeMap::new();
        for (name, value) in [
            ("url", "smpps://smsc.example"),
            ("system_id", "us"),
            ("password", "secret"),
            ("from", "ALERT"),
            (name, value),
        ] {
            settings.insert(name.into(), Secret::new(value));
        }
        driver(&settings, 8).err()
    };
    assert_eq!(error("validity", "29d"), None);
    for (name, value, expected) in [
        ("password", "hunter2222", "password: has more than 8 characters"),
        ("password", "", "password: missing"),
        ("from", "Ürgent", "from: has more than 20"),
        ("url", "smpp://smsc.example", "url: the password would travel in clear text; write smpps://"),
        ("long", "sar", "long: expected udh, udh16 or payload"),
        ("ids", "hex", "ids: expected same"),
        ("validity", "30d", "validity: expected 1m to 29d"),
        ("source_ton", "999", "source_ton: expected a number"),
    ] {
        let shown = error(name, value).expect(value);
        assert!(shown.starts_with(expected) && !shown.contains("hunter"), "{shown}");
    }
}
