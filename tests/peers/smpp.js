// An SMS centre for the tests on npm's smpp, which shares no code with ours. `node smpp.js SMPP-PORT TLS-PORT CONTROL-PORT`, on loopback.
//
// Any system id but `busy` and `nobody` may bind with the password `secret`; its receipts come back to it alone. What becomes of a message
// is chosen by the last two digits of its number (README.md). `/messages?to=NUMBER` lists what came, `/acknowledged?id=ID` how the
// receipts of a message were answered; `/sessions?of=SYSTEM-ID` is who is bound, `/drop?of=…` ends those, and `/hold?of=…` keeps
// receipts back until it binds again.
const { readFileSync } = require('fs');
const http = require('http');
const smpp = require('smpp');

const [plain, secure, control] = process.argv.slice(2).map(Number);
const tls = { cert: readFileSync(process.env.CERTIFICATE), key: readFileSync(process.env.KEY) };
const NUMBER = { ENROUTE: 1, DELIVRD: 2, EXPIRED: 3, DELETED: 4, UNDELIV: 5, ACCEPTD: 6, UNKNOWN: 7, REJECTD: 8 };
const STATES = { '01': 'UNDELIV', '02': 'EXPIRED', '03': 'REJECTD', '04': 'ACCEPTD', '06': 'DELETED', '07': 'UNKNOWN', '08': 'ENROUTE' };
const ERRORS = { 10: 0x58, 11: 0x0b, 12: 0x14, 13: 0x08, 14: 0x45, 15: 0x0a, 16: 0x400 };
const messages = [], acknowledged = {}, sessions = new Set(), holding = new Set();
let held = [], last = 1000;

// The library makes a moment of a span.
const hours = moment => moment ? Math.round((moment - Date.now()) / 3600e3) : null;

function receipt(of, pdu, id, state, tlvs) {
  const report = {
    source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4,
    ...(tlvs ? { receipted_message_id: id, message_state: NUMBER[state] }
      : { short_message: `id:${id} sub:001 dlvrd:${state === 'DELIVRD' ? '001' : '000'} submit date:2601010000 done date:2601010001 `
        + `stat:${state} err:${state === 'DELIVRD' ? '000' : '027'} text:id:9999 stat:DELIVRD` }),
  };
  const to = [...sessions].find(session => session.of === of && session.hears);
  if (holding.has(of) || !to) return held.push([of, pdu, id, state, tlvs]);
  to.deliver_sm(report, answer => {
    (acknowledged[id] ??= []).push(answer.command_status);
    if (answer.command_status === 0x64) setTimeout(receipt, 50, of, pdu, id, state, tlvs);
  });
}

function submitted(session, pdu) {
  const digits = String(pdu.destination_addr).slice(-2);
  // The library takes the header off a short message, and its length off the header; a payload it leaves alone.
  const short = pdu.short_message?.message ?? '';
  const payload = pdu.message_payload?.message ?? pdu.message_payload;
  const header = pdu.short_message?.udh?.[0]?.toString('hex');
  messages.push({
    from: pdu.source_addr, source: [pdu.source_addr_ton, pdu.source_addr_npi], to: pdu.destination_addr,
    destination: [pdu.dest_addr_ton, pdu.dest_addr_npi], coding: pdu.data_coding, class: pdu.esm_class, receipt: pdu.registered_delivery,
    header, text: String(short), payload: payload && String(payload), validity: hours(pdu.validity_period),
  });
  if (digits === '20') return;
  if (digits === '21') return session.destroy();
  if (ERRORS[digits]) return session.send(pdu.response({ command_status: ERRORS[digits] }));
  // The second of three parts, the first time.
  const before = messages.filter(message => message.to === pdu.destination_addr && message.header === header);
  if (digits === '33' && header?.endsWith('0302') && before.length === 1) return session.send(pdu.response({ command_status: 0x58 }));
  const id = ++last, answer = digits === '31' ? id.toString(16).toUpperCase() : String(id);
  const answered = () => session.send(pdu.response({ message_id: answer }));
  const wanted = pdu.registered_delivery & 3;
  const state = digits === '34' && header?.endsWith('01') ? 'UNDELIV' : STATES[digits] ?? 'DELIVRD';
  const report = () => {
    if (digits === '05' || !wanted || (wanted === 2 && state === 'DELIVRD')) return;
    receipt(session.of, pdu, String(id), state, digits === '32');
    if (state === 'ENROUTE') setTimeout(receipt, 50, session.of, pdu, String(id), 'DELIVRD', false);
  };
  if (digits === '30') { report(); return setTimeout(answered, 300); }
  answered();
  setTimeout(report, 50);
}

function serve(session) {
  session.on('error', () => {});
  session.on('close', () => sessions.delete(session));
  for (const [name, hears] of [['bind_transceiver', true], ['bind_transmitter', false]]) {
    session.on(name, pdu => {
      const status = pdu.system_id === 'busy' ? 0x05 : pdu.system_id === 'nobody' ? 0x0f : pdu.password !== 'secret' ? 0x0e : 0;
      session.send(pdu.response({ command_status: status, system_id: 'centre' }));
      if (status !== 0) return session.close();
      Object.assign(session, { hears, of: pdu.system_id, version: pdu.interface_version });
      sessions.add(session);
      if (!hears) return;
      holding.delete(session.of);
      const due = held.filter(([of]) => of === session.of);
      held = held.filter(([of]) => of !== session.of);
      due.forEach(one => receipt(...one));
    });
  }
  session.on('enquire_link', pdu => session.send(pdu.response()));
  session.on('submit_sm', pdu => session.of ? submitted(session, pdu) : session.send(pdu.response({ command_status: 0x04 })));
}

smpp.createServer(serve).listen(plain, '127.0.0.1');
smpp.createServer(tls, serve).listen(secure, '127.0.0.1');
http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const of = url.searchParams.get('of');
  const mine = [...sessions].filter(session => session.of === of);
  const answers = {
    '/messages': () => messages.filter(message => message.to === url.searchParams.get('to')),
    '/acknowledged': () => acknowledged[url.searchParams.get('id')] ?? [],
    '/sessions': () => mine.map(({ hears, version }) => ({ hears, version })),
    '/drop': () => { mine.forEach(session => session.destroy()); return []; },
    '/hold': () => { holding.add(of); return []; },
  };
  const answer = answers[url.pathname];
  response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(answer ? answer() : null));
}).listen(control, '127.0.0.1');
