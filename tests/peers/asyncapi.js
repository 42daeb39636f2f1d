// What is wrong with an AsyncAPI document by the meta-schema that npm's @asyncapi/specs ships, and with records by the document:
//   asyncapi.js DOCUMENT < RECORDS
// Each line of standard input is a record as JSON: { channel, key, headers, payload }. Printed is { document: [what is wrong],
// records: [by record what is wrong with it] }.

const fs = require('node:fs');
const Ajv = require('ajv');
const formats = require('ajv-formats');

const document = JSON.parse(fs.readFileSync(process.argv[2]));
const wrong = (validate) => (validate.errors ?? []).map((error) => `${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);

// The meta-schema brings the one of JSON Schema with it.
const meta = formats(new Ajv({ strict: false, meta: false, allErrors: true }), { mode: 'fast' });
const whole = meta.compile(require(`@asyncapi/specs/schemas/${document.asyncapi}.json`));
whole(document);

const ajv = formats(new Ajv({ strict: false, allErrors: true }));
// The rest of the document is no schema.
ajv.addSchema({ components: document.components }, 'document');
const schemas = {};
const fits = (pointer, value) => {
  schemas[pointer] ??= ajv.compile({ $ref: `document#${pointer}` });
  return schemas[pointer](value) ? [] : wrong(schemas[pointer]).map((error) => `${pointer}: ${error}`);
};

/** What is wrong with a record by one message of its channel. */
function asMessage(name, record) {
  const message = document.components.messages[name];
  const at = `/components/messages/${name}`;
  return [
    ...(message.headers ? fits(`${at}/headers`, record.headers) : []),
    ...fits(`${at}/payload`, record.payload),
    ...(message.bindings?.kafka?.key ? fits(`${at}/bindings/kafka/key`, record.key) : []),
  ];
}

function judged(record) {
  const channel = document.channels[record.channel];
  if (!channel) return [`there is no channel ${record.channel}`];
  const tries = Object.values(channel.messages).map((message) => asMessage(message.$ref.split('/').pop(), record));
  const count = tries.filter((errors) => errors.length === 0).length;
  if (count === 1) return [];
  return count > 1 ? ['it is several of the messages'] : tries.sort((a, b) => a.length - b.length)[0];
}

const lines = fs.readFileSync(0, 'utf8').split('\n').filter((line) => line !== '');
console.log(JSON.stringify({ document: wrong(whole), records: lines.map((line) => judged(JSON.parse(line))) }));
