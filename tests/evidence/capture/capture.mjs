// Records on 127.0.0.1 what an SDK sends, and writes it down as evidence. Nothing leaves the machine. As capture.py.
import http from 'node:http';
import { createRequire } from 'node:module';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.env.EVIDENCE_OUT ?? join(here, '..');
const packages = (process.env.EVIDENCE_NPM ?? ['npm', 'npm-rc', 'npm-wa', 'npm-webex', 'npm-teams'].map((name) => join(here, name)).join(':')).split(':');
export const ID = 'dlv_1_2_3_example000';
const meaning = ['authorization', 'content-type', 'idempotency-key'];

const folder = (name) => packages.find((at) => existsSync(join(at, 'node_modules', name, 'package.json')));
export const require = (name) => createRequire(join(folder(name), 'x.js'))(name);
export const load = (name) => import(pathToFileURL(join(folder(name), 'node_modules', name, entry(name))));
const manifest = (name) => JSON.parse(readFileSync(join(folder(name), 'node_modules', name, 'package.json')));
function entry(name) {
  const { exports, main } = manifest(name);
  const root = exports?.['.'] ?? exports;
  const pick = (at) => (typeof at === 'string' ? at : at && pick(at.node ?? at.import ?? at.default));
  return pick(root) ?? main;
}

/** A server that answers every request alike. */
export async function record(status, answer, kind = 'application/json') {
  const recorder = { origin: undefined, requests: [] };
  const server = http.createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    recorder.requests.push({ method: request.method, url: request.url, headers: request.headers, body: body.toString() });
    response.writeHead(status, { 'content-type': kind, connection: 'close' });
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  server.unref();
  recorder.url = `http://127.0.0.1:${server.address().port}`;
  recorder.request = (keep = []) => shape(recorder, [...meaning, ...keep]);
  redirect(recorder);
  return recorder;
}

/** Sends to the recorder what fetch, node:http and node:https would send elsewhere. */
function redirect(recorder) {
  const real = globalThis.fetch;
  globalThis.fetch = (input, init) => {
    const url = new URL(typeof input === 'object' && 'url' in input ? input.url : input);
    if (url.hostname === '127.0.0.1') return real(input, init);
    recorder.origin = url.origin;
    return real(recorder.url + url.pathname + url.search, init);
  };
  const { request } = http;
  const to_here = (scheme) => (input, options, done) => {
    if (typeof input === 'string' || input instanceof URL) {
      const url = new URL(input);
      input = { hostname: url.hostname, port: url.port, path: url.pathname + url.search, ...options };
    } else done = options;
    const host = input.hostname ?? input.host;
    if (host !== '127.0.0.1') recorder.origin = `${scheme}://${host}`;
    const { port } = new URL(recorder.url);
    const { method, path, headers } = input;
    const sent = request({ host: '127.0.0.1', port, method, path, headers }, done);
    sent.on('socket', (socket) => socket.once('connect', () => socket.emit('secureConnect')));
    return sent;
  };
  const node = createRequire(import.meta.url);
  node('http').request = to_here('http');
  node('https').request = to_here('https');
}

function shape({ requests, origin }, keep) {
  const { method, url, headers: head, body } = requests.at(-1);
  const at = new URL(url, 'http://x');
  const headers = Object.fromEntries(Object.entries(head).filter(([name]) => keep.includes(name)));
  const form = head['content-type']?.startsWith('application/x-www-form-urlencoded');
  const read = () => { try { return JSON.parse(body); } catch { return body; } };
  return {
    method, ...(origin && { origin }), path: at.pathname, query: Object.fromEntries(at.searchParams), headers,
    ...(form ? { body: Object.fromEntries(new URLSearchParams(body)), form: true } : { body: read() }),
  };
}

/** For `following` of `write`: the request of a parcel that follows an earlier message, by `reply` or `edit`. */
export function follows(parcel, request, differs = []) {
  return { parcel: { id: ID, urgent: false, ...parcel }, request, ours_differs: differs.map(([at, why]) => ({ at, why })) };
}

/** `differs`: pairs of a place in the request and why ours is another there. */
export function write(platform, name, parcel, settings, request, differs = [], following = []) {
  const evidence = {
    platform, level: 'B', source: `npm ${name} ${manifest(name).version}`, parcel: { id: ID, urgent: false, ...parcel }, settings, request,
    ours_differs: differs.map(([at, why]) => ({ at, why })), ...(following.length && { following }),
  };
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `${platform}.json`), JSON.stringify(evidence, null, 1) + '\n');
  console.log(platform, request.method, request.origin ?? '', request.path, JSON.stringify(request.query), JSON.stringify(request.headers), JSON.stringify(request.body));
  process.exit(0);
}
