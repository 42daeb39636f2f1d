import { ID, record, require, write } from './capture.mjs';
const { VoiceService } = require('@sinch/voice');

const parcel = { to: '+46700000000', text: 'This is Acme. "All" is back & well.' };
const settings = { app_key: '11111111-aaaa-4bbb-8ccc-000000000001', app_secret: 'ZXhhbXBsZS1zZWNyZXQ=', from: '+15551234567', locale: 'en-US' };
const here = await record(200, { callId: '1d94e1c8-2da8-4c3a-8a3b-000000000001' });
await new VoiceService({ applicationKey: settings.app_key, applicationSecret: settings.app_secret }).callouts.tts({
  ttsCalloutRequestBody: {
    method: 'ttsCallout',
    ttsCallout: { cli: settings.from, destination: { type: 'number', endpoint: parcel.to }, domain: 'pstn', custom: ID, locale: settings.locale, text: parcel.text, enableDice: true },
  },
});
write('sinch-voice', '@sinch/voice', parcel, settings, here.request(['x-timestamp']), [
  ['/headers/authorization', 'Sinch takes basic authentication, too, and recommends signed requests in production: https://developers.sinch.com/docs/voice/api-reference/authentication/'],
  ['/headers/x-timestamp', 'belongs to the signature'],
]);
