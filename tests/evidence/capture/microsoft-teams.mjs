// Microsoft's library makes the body; that it is posted as JSON to the workflow's URL is what its documentation says:
// https://github.com/MicrosoftDocs/msteams-docs msteams-platform/webhooks-and-connectors/how-to/connectors-using.md
import { record, require, write } from './capture.mjs';
const { MessageActivity } = require('@microsoft/teams.api');
const { AdaptiveCard, TextBlock } = require('@microsoft/teams.cards');

const parcel = {
  to: 'https://prod-00.westeurope.logic.azure.com/workflows/00000000000000000000000000000000/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=EXAMPLE-signature',
  text: 'We are back. "All" of it: åäö & more',
};
const here = await record(202, '');
const card = new AdaptiveCard(new TextBlock(parcel.text, { wrap: true })).withVersion('1.2');
await fetch(parcel.to, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(new MessageActivity().addCard('adaptive', card)) });
write('microsoft-teams', '@microsoft/teams.api', parcel, {}, here.request(), [
  ['/body/channelId', 'of messages in a bot\'s conversation'],
  ['/body/text', 'of messages in a bot\'s conversation'],
  ['/body/attachments/0/content/$schema', 'as the documentation\'s example has it'],
  ['/body/attachments/0/content/requires', 'its default'],
  ['/body/attachments/0/content/isSortKey', 'its default'],
  ['/body/attachments/0/content/body/0/height', 'its default'],
  ['/body/attachments/0/content/body/0/isSortKey', 'its default'],
  ['/body/attachments/0/content/body/0/isVisible', 'its default'],
  ['/body/attachments/0/content/body/0/requires', 'its default'],
  ['/body/attachments/0/content/body/0/separator', 'its default'],
  ['/body/attachments/0/content/body/0/spacing', 'its default'],
]);
