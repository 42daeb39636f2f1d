import { ID, load, record, write } from './capture.mjs';
const { createClient } = await load('matrix-js-sdk');

const parcel = { to: '!636q39766251:example.com', text: 'We are back: åäö & "more"' };
const settings = { url: 'https://matrix.example.org', token: 'example-token' };
const here = await record(200, { event_id: '$YUwRidLecu:example.com' });
const client = createClient({ baseUrl: settings.url, accessToken: settings.token, userId: '@status:example.com' });
await client.sendMessage(parcel.to, { msgtype: 'm.text', body: parcel.text }, ID);
write('matrix', 'matrix-js-sdk', parcel, settings, here.request());
