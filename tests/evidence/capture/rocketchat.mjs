import { record, require, write } from './capture.mjs';
const { RestClient } = require('@rocket.chat/api-client');

const parcel = { to: '#status', text: 'We are back: åäö & "more"' };
const settings = { url: 'https://chat.example.com', user_id: 'rbAXPnMktTFbNpwtJ', token: 'example-token' };
const here = await record(200, { success: true, message: { _id: 'jC9chsFddTvsbFQG7' } });
const client = new RestClient({ baseUrl: settings.url, credentials: { 'X-User-Id': settings.user_id, 'X-Auth-Token': settings.token } });
await client.post('/v1/chat.postMessage', { channel: parcel.to, text: parcel.text });
write('rocketchat', '@rocket.chat/api-client', parcel, settings, here.request(['x-auth-token', 'x-user-id']));
