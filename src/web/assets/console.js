// Keeps a page as it would be now: when the stream says that something happened, the page is asked for again and what differs is
// put in its place. Without scripts every page still shows all there is, as of when it was loaded.
"use strict";

const ASK_AT_MOST = 700; // milliseconds between two readings of the page
const WHILE_RUNNING = 5000; // rates and times left change even when nothing happens
const TRY_AGAIN = 5000;
const SPEAK_AT_MOST = 10000; // a screen reader is not interrupted by every count

const follow = document.body.dataset.follow;
const open = document.querySelector("[data-public]") !== null;
const reload = new URL(location.href);

function localise(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const options = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
    const local = at.toLocaleString(undefined, options);
    // The public reads its own time; who works on an incident with others, the one that all share.
    if (open) [time.title, time.textContent] = [time.textContent, local];
    else time.title = local;
  }
}

// Makes `old` like `fresh` and touches only what differs, so that focus, selection and scrolling stay where they are.
function become(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(document.importNode(fresh, true));
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const olds = [...old.childNodes];
  const freshes = [...fresh.childNodes];
  freshes.forEach((child, at) => (at < olds.length ? become(olds[at], child) : old.append(document.importNode(child, true))));
  for (const child of olds.slice(freshes.length)) child.remove();
}

let asking = false;
let wanted = false;

async function refresh() {
  if (asking || document.hidden) {
    wanted = true;
    return;
  }
  asking = true;
  wanted = false;
  try {
    const answer = await fetch(reload, { headers: { accept: "text/html" }, redirect: "follow" });
    if (answer.redirected && new URL(answer.url).pathname !== location.pathname) location.assign(answer.url);
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      localise(page);
      for (const part of document.querySelectorAll("[data-live][id]")) {
        const fresh = page.getElementById(part.id);
        if (fresh) become(part, fresh);
      }
      speak();
    }
  } catch {
    // The server is away; the stream says when it is back.
  }
  setTimeout(() => {
    asking = false;
    if (wanted) refresh();
  }, ASK_AT_MOST);
}

let spoken = 0;

function speak() {
  const to = document.querySelector("[data-speak]");
  const from = to && document.querySelector(to.dataset.speak);
  if (!from || Date.now() - spoken < SPEAK_AT_MOST) return;
  spoken = Date.now();
  const text = from.querySelector(".huge").textContent.replace(/\s+/g, " ").trim();
  if (to.textContent !== text) to.textContent = text;
}

function say(state, words) {
  const sign = document.getElementById("following");
  if (!sign || sign.dataset.state === state) return;
  sign.dataset.state = state;
  sign.querySelector(".said").textContent = words;
}

function listen() {
  const stream = new EventSource(follow);
  let was = false;
  stream.onopen = () => {
    say("on", "Live");
    if (was) refresh();
    was = true;
  };
  stream.onerror = () => {
    say("lost", "Reconnecting");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, TRY_AGAIN);
  };
  for (const kind of KINDS) stream.addEventListener(kind, refresh);
}

// What the stream tells of.
const KINDS = ["progress", "update", "released", "broadcast", "replayed", "receipt"];

localise(document);
if (follow) {
  listen();
  setInterval(() => document.querySelector("[data-running]") && refresh(), WHILE_RUNNING);
} else if (open) {
  setInterval(refresh, 30000);
}
document.addEventListener("visibilitychange", () => wanted && refresh());
