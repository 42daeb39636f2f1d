//! An SMS centre for the tests: SMPP 3.4 on one port, what was received as JSON over HTTP on another.
//!
//! Enters: `smsc SMPP-ADDRESS CONTROL-ADDRESS`. Any system id may bind with the password `secret`. What becomes of a
//! message is chosen by the last two digits of its number, see [`behaviour`]; every message is written down, whatever
//! becomes of it. `GET /messages`, or `/messages?to=NUMBER`, lists them in the order of arrival.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rusmpp_core::CommandStatus;
use rusmpp_core::command::borrowed::Command;
use rusmpp_core::decode::borrowed::DecodeWithLength;
use rusmpp_core::encode::{Encode, Length};
use rusmpp_core::pdus::borrowed::{
    BindReceiverResp, BindTransceiverResp, BindTransmitterResp, DeliverSm, Pdu, SubmitSm, SubmitSmResp,
};
use rusmpp_core::types::borrowed::{COctetString, OctetString};
use rusmpp_core::values::EsmClass;
use serde_json::{Value, json};

/// Optional parameters a PDU may carry.
const TLVS: usize = 16;
const LARGEST_PDU: usize = 65_536;
/// A receipt comes a little after the answer, as on a real network.
const RECEIPT_AFTER: Duration = Duration::from_millis(50);

/// What becomes of a message.
enum Behaviour {
    /// Accepted; later a receipt with this state, or none.
    Accept(Option<&'static str>),
    Refuse(CommandStatus),
    Silence,
    Cut,
}

/// By the last two digits of the number.
fn behaviour(number: &str) -> Behaviour {
    use Behaviour::*;
    match number.get(number.len().saturating_sub(2)..).unwrap_or_default() {
        "01" => Accept(Some("UNDELIV")),
        "02" => Accept(Some("EXPIRED")),
        "03" => Accept(Some("REJECTD")),
        "05" => Accept(None),
        "10" => Refuse(CommandStatus::EsmeRthrottled),
        "11" => Refuse(CommandStatus::EsmeRinvdstadr),
        "12" => Refuse(CommandStatus::EsmeRmsgqful),
        "13" => Refuse(CommandStatus::EsmeRsyserr),
        "20" => Silence,
        "21" => Cut,
        _ => Accept(Some("DELIVRD")),
    }
}

type Received = Arc<Mutex<Vec<Value>>>;
/// The writing half, shared by answers and later receipts.
type Out = Arc<Mutex<TcpStream>>;

fn main() -> io::Result<()> {
    let addresses: Vec<String> = std::env::args().skip(1).collect();
    let [smpp, control] = addresses.as_slice() else {
        return Err(io::Error::other("usage: smsc SMPP-ADDRESS CONTROL-ADDRESS"));
    };
    let received = Received::default();
    let smpp = TcpListener::bind(smpp)?;
    let control = TcpListener::bind(control)?;
    let of_control = received.clone();
    thread::spawn(move || serve(control, move |stream| answer_control(stream, &of_control)));
    serve(smpp, move |stream| session(stream, &received));
    Ok(())
}

/// A thread for each connection; what goes wrong in one ends that one.
fn serve(listener: TcpListener, each: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) {
    let each = Arc::new(each);
    for stream in listener.incoming().flatten() {
        let each = each.clone();
        thread::spawn(move || {
            if let Err(error) = each(stream) {
                eprintln!("connection ended: {error}");
            }
        });
    }
}

fn session(mut stream: TcpStream, received: &Received) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let out: Out = Arc::new(Mutex::new(stream.try_clone()?));
    let mut bound = false;
    loop {
        let mut bytes = vec![0; 4];
        stream.read_exact(&mut bytes)?;
        let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if !(16..=LARGEST_PDU).contains(&length) {
            return Err(io::Error::other(format!("a PDU of {length} bytes")));
        }
        bytes.resize(length, 0);
        stream.read_exact(&mut bytes[4..])?;
        // The length itself is not part of what is decoded.
        let (command, _) = Command::<TLVS>::decode(&bytes[4..], length - 4)
            .map_err(|error| io::Error::other(format!("not SMPP: {error:?}")))?;
        let sequence = command.sequence_number();
        let name = COctetString::new(b"SMSC\0").unwrap_or_default();
        match command.pdu() {
            Some(Pdu::BindTransceiver(bind)) => {
                bound = bind.password.as_str() == "secret";
                send(&out, bind_status(bound), sequence, BindTransceiverResp::new(name, None))?;
            }
            Some(Pdu::BindTransmitter(bind)) => {
                bound = bind.password.as_str() == "secret";
                send(&out, bind_status(bound), sequence, BindTransmitterResp::new(name, None))?;
            }
            Some(Pdu::BindReceiver(bind)) => {
                bound = bind.password.as_str() == "secret";
                send(&out, bind_status(bound), sequence, BindReceiverResp::new(name, None))?;
            }
            Some(Pdu::EnquireLink) => send(&out, CommandStatus::EsmeRok, sequence, Pdu::EnquireLinkResp)?,
            Some(Pdu::Unbind) => return send(&out, CommandStatus::EsmeRok, sequence, Pdu::UnbindResp),
            Some(Pdu::SubmitSm(message)) if bound => submitted(message, sequence, &out, received)?,
            Some(Pdu::DeliverSmResp(_) | Pdu::EnquireLinkResp) => {}
            _ => send(&out, CommandStatus::EsmeRinvbndsts, sequence, Pdu::GenericNack)?,
        }
    }
}

fn bind_status(bound: bool) -> CommandStatus {
    if bound { CommandStatus::EsmeRok } else { CommandStatus::EsmeRinvpaswd }
}

fn submitted(message: &SubmitSm<TLVS>, sequence: u32, out: &Out, received: &Received) -> io::Result<()> {
    let number = message.destination_addr.as_str();
    let id = note(message, received);
    let state = match behaviour(number) {
        Behaviour::Silence => return Ok(()),
        Behaviour::Cut => return lock(out).shutdown(Shutdown::Both),
        Behaviour::Refuse(status) => return send(out, status, sequence, SubmitSmResp::default()),
        Behaviour::Accept(state) => state,
    };
    let terminated = format!("{id}\0");
    let id_field = COctetString::new(terminated.as_bytes()).unwrap_or_default();
    send(out, CommandStatus::EsmeRok, sequence, SubmitSmResp::builder().message_id(id_field).build())?;
    if let Some(state) = state.filter(|_| u8::from(message.registered_delivery) & 0b11 != 0) {
        let (out, from, to) =
            (out.clone(), message.destination_addr.bytes().to_vec(), message.source_addr.bytes().to_vec());
        thread::spawn(move || {
            thread::sleep(RECEIPT_AFTER);
            receipt(&out, id, state, &from, &to)
        });
    }
    Ok(())
}

/// Writes the message down and gives it its id, a number from 1.
fn note(message: &SubmitSm<TLVS>, received: &Received) -> usize {
    let text = message.short_message().bytes();
    let mut received = lock(received);
    let id = received.len() + 1;
    received.push(json!({
        "id": id,
        "from": message.source_addr.as_str(),
        "to": message.destination_addr.as_str(),
        "coding": u8::from(message.data_coding),
        "class": u8::from(message.esm_class),
        "receipt": u8::from(message.registered_delivery),
        "octets": text.iter().map(|octet| format!("{octet:02x}")).collect::<String>(),
    }));
    id
}

/// A delivery receipt in the text form of SMPP 3.4, appendix B.
fn receipt(out: &Out, id: usize, state: &str, from: &[u8], to: &[u8]) -> io::Result<()> {
    let (delivered, fault) = if state == "DELIVRD" { ("001", "000") } else { ("000", "001") };
    let text = format!(
        "id:{id} sub:001 dlvrd:{delivered} submit date:2601010000 done date:2601010000 stat:{state} err:{fault} text:"
    );
    let pdu = DeliverSm::<TLVS>::builder()
        .source_addr(COctetString::new(from).unwrap_or_default())
        .destination_addr(COctetString::new(to).unwrap_or_default())
        .esm_class(EsmClass::from(0b100))
        .short_message(OctetString::new(text.as_bytes()).unwrap_or_default())
        .build();
    // Sequence numbers of the two directions are independent of each other.
    send(out, CommandStatus::EsmeRok, id as u32, pdu)
}

fn send<'a>(out: &Out, status: CommandStatus, sequence: u32, pdu: impl Into<Pdu<'a, TLVS>>) -> io::Result<()> {
    let command = Command::new(status, sequence, pdu);
    let length = command.length() + 4;
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    command.encode(&mut bytes[4..]);
    lock(out).write_all(&bytes)
}

fn answer_control(mut stream: TcpStream, received: &Received) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?).take(8192);
    reader.read_line(&mut line)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (path, to) = target.split_once("?to=").map_or((target, None), |(path, to)| (path, Some(to)));
    let (status, body) = if path == "/messages" {
        let received = lock(received);
        let wanted: Vec<&Value> = received.iter().filter(|message| to.is_none_or(|to| message["to"] == to)).collect();
        ("200 OK", json!(wanted))
    } else {
        ("404 Not Found", json!({"error": "only /messages is here"}))
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A panic elsewhere does not make what was written down less true.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
