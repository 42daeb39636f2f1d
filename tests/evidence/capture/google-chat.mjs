import { ID, record, require, write } from './capture.mjs';
const { chat } = require('@googleapis/chat');

const parcel = { to: 'https://chat.googleapis.com/v1/spaces/AAAAexample/messages?key=EXAMPLE-key&token=EXAMPLE-token%3D', text: 'We are back: åäö & "more"' };
const here = await record(200, { name: 'spaces/AAAAexample/messages/abc.def' });
// A webhook's key and token stand in its URL; the library has no words for them, so that they go beside its own parameters.
await chat({ version: 'v1', auth: 'EXAMPLE-key' }).spaces.messages.create(
  { parent: 'spaces/AAAAexample', requestId: ID, requestBody: { text: parcel.text } }, { params: { token: 'EXAMPLE-token=' } });
write('google-chat', '@googleapis/chat', parcel, {}, here.request());
