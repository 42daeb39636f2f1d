import { record, require, write } from './capture.mjs';
const { AtpAgent } = require('@atproto/api');

const did = 'did:plc:ewvi7nxzyoun6zhxrhs64oiz';
const parcel = { to: 'public', text: 'We are back: åäö & "more"', at: '1970-01-01T00:00:00Z' };
const settings = { identifier: did, password: 'xxxx-xxxx-xxxx-xxxx' };
// One answer for the session and for the post.
const here = await record(200, { accessJwt: 't', refreshJwt: 'r', handle: 'acme.example.org', did, uri: `at://${did}/app.bsky.feed.post/3k43`, cid: 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a' });
// The recorder reads a request's parts, and it makes whole ones.
const fetch = async (input, init) => {
  const request = new Request(input, init);
  return globalThis.fetch(request.url, { method: request.method, headers: request.headers, body: await request.text() });
};
const agent = new AtpAgent({ service: 'https://bsky.social', fetch });
await agent.login(settings);
await agent.post({ text: parcel.text, createdAt: parcel.at, langs: ['en'] });
write('bluesky', '@atproto/api', parcel, settings, here.request(), [
  ['/headers/authorization', 'ours is put in by the driver, once it has been given a token'],
]);
