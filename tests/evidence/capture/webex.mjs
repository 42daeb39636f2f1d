import { record, require, write } from './capture.mjs';

const parcel = { to: 'Y2lzY29zcGFyazovL3VzL1JPT00vYmJjZWIxYWQtNDNmMS0zYjU4LTkxNDctZjE0YmIwYzRkMTU0', text: 'We are back: åäö & "more"' };
const settings = { token: 'example-token' };
const here = await record(200, { id: '1' });
Object.assign(process.env, { HYDRA_SERVICE_URL: `${here.url}/v1`, U2C_SERVICE_URL: `${here.url}/u2c` });
console.log = console.info = console.debug = () => {}; // the SDK tells all that it does
require('@webex/plugin-authorization');
require('@webex/plugin-messages');
const Webex = require('@webex/webex-core').default;
const webex = new Webex({ credentials: { supertoken: { access_token: settings.token, token_type: 'Bearer' } }, config: { logger: { level: 'error' }, services: { discovery: { hydra: `${here.url}/v1` } } } });
await webex.messages.create({ roomId: parcel.to, text: parcel.text });
write('webex', 'webex', parcel, settings, here.request());
