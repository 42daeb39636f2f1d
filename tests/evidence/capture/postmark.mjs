import { ID, record, require, write } from './capture.mjs';
const { ServerClient } = require('postmark');

const parcel = { to: 'alex@example.org', title: 'Our apps are coming back', text: 'Wait & try "again".', html: '<p>Wait &amp; try again.</p>' };
const settings = { token: 'example-token', from: 'Acme <status@acme.example>', stream: 'outbound' };
const here = await record(200, { ErrorCode: 0, Message: 'OK', MessageID: '883953f4-6105-42a2-a16a-77a8eac79483' });
await new ServerClient(settings.token).sendEmail({
  From: settings.from, To: parcel.to, Subject: parcel.title, TextBody: parcel.text, HtmlBody: parcel.html, MessageStream: settings.stream,
  Headers: [{ Name: 'Auto-Submitted', Value: 'auto-generated' }], Metadata: { delivery: ID }, TrackOpens: false, TrackLinks: 'None',
});
write('postmark', 'postmark', parcel, settings, here.request(['accept', 'x-postmark-server-token']));
