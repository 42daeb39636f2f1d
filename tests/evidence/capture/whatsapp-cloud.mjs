import { record, require, write } from './capture.mjs';

const parcel = { to: '+46700000000', text: 'We are back: åäö & "more"' };
const settings = { phone_number_id: '106540352242922', token: 'EAAexample', url: 'https://graph.facebook.com/v23.0' };
Object.assign(process.env, { WA_PHONE_NUMBER_ID: settings.phone_number_id, CLOUD_API_ACCESS_TOKEN: settings.token, CLOUD_API_VERSION: 'v23.0', WA_BASE_URL: 'graph.facebook.com', NODE_ENV: 'production' });
const here = await record(200, { messaging_product: 'whatsapp', messages: [{ id: 'wamid.EXAMPLE' }] });
const WhatsApp = require('whatsapp');
const client = new (WhatsApp.default ?? WhatsApp)();
await client.messages.text({ preview_url: false, body: parcel.text }, parcel.to);
write('whatsapp-cloud', 'whatsapp', parcel, settings, here.request());
