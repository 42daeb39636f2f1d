import { load, record, write } from './capture.mjs';
const { Octokit } = await load('@octokit/rest');

const parcel = { to: 'status', title: 'Our apps are down', text: 'We *know* of it: åäö & "more"' };
const settings = { token: 'github_pat_example', owner: 'acme' };
const here = await record(201, { number: 1347 });
await new Octokit({ auth: settings.token }).rest.issues.create({ owner: settings.owner, repo: parcel.to, title: parcel.title, body: parcel.text });
write('github-issue', '@octokit/rest', parcel, settings, here.request(['accept', 'x-github-api-version']), [
  ['/headers/accept', 'both are documented; the newer media type'],
  ['/headers/authorization', 'GitHub takes both schemes'],
  ['/headers/x-github-api-version', 'pins the version, which is otherwise the default one'],
]);
