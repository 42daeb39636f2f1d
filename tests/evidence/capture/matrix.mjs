import { ID, follows, load, record, write } from './capture.mjs';
const { createClient } = await load('matrix-js-sdk');

const parcel = { to: '!636q39766251:example.com', text: 'We are back: åäö & "more"' };
const settings = { url: 'https://matrix.example.org', token: 'example-token' };
const here = await record(200, { event_id: '$YUwRidLecu:example.com' });
const client = () => createClient({ baseUrl: settings.url, accessToken: settings.token, userId: '@status:example.com' });
const said = { msgtype: 'm.text', body: parcel.text };
await client().sendMessage(parcel.to, said, ID);
const request = here.request();
const first = '$143273582443PhrSn:example.org';
await client().sendMessage(parcel.to, first, { ...said }, ID);
const reply = follows({ ...parcel, reply: first }, here.request(), [
  ['/body/m.relates_to/m.in_reply_to', 'for clients without threads, as the specification asks; the SDK has it from a room that it has read'],
]);
const edited = { ...said, body: `* ${said.body}`, 'm.new_content': said, 'm.relates_to': { rel_type: 'm.replace', event_id: first } };
await client().sendMessage(parcel.to, edited, ID);
const edit = follows({ ...parcel, edit: first }, here.request());
write('matrix', 'matrix-js-sdk', parcel, settings, request, [], [reply, edit]);
