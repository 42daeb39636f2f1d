"""What receives, each by the library that others use for it, behind a plain HTTP server: webhooks by `standardwebhooks`, events by
`cloudevents`, and Apprise's POST /notify/KEY by `apprise`, which hands on to this server itself.

    receivers.py PORT SECRET SMTP_PORT KEYS

Mail by SMTP, received by `aiosmtpd` and verified by `dkimpy`, is kept under the recipient's name: {"mail", "signed", "login"}.

POST /webhook/NAME      204, or 401 if the signature is not right
POST /cloudevents/NAME  202, or 415 if it is no event
POST /notify/NAME       as https://appriseit.com/api/endpoints/ says; nothing is kept under `empty`, a service of `broken` is not there
GET /kept/NAME          what came of it, as the library read it, as a list of JSON
"""
import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import apprise
import dkim
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

PORT, SECRET, SMTP_PORT, KEYS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
HERE = f"json://127.0.0.1:{PORT}"
LONGEST = 1 << 20
kept, lock = {}, threading.Lock()


def keep(name, what):
    with lock:
        kept.setdefault(name, []).append(what)


def webhook(name, headers, body):
    try:
        said = Webhook(SECRET).verify(body, {key.lower(): value for key, value in headers.items()})
    except WebhookVerificationError as error:
        return 401, str(error)
    keep(name, {"id": headers["webhook-id"], "said": said})
    return 204, None


def cloudevents(name, headers, body):
    try:
        event = from_http_event(HTTPMessage(dict(headers.items()), body))
    except Exception as error:
        return 415, str(error)
    attributes = {key: str(value) for key, value in event.get_attributes().items()}
    keep(name, {"attributes": attributes, "data": event.get_data()})
    return 202, None


def notify(name, headers, body):
    try:
        asked = json.loads(body)
        kind, text = asked.get("type", "info"), asked["body"]
    except (ValueError, KeyError, AttributeError):
        return 400, {"error": "Bad FORM Payload provided"}
    if kind not in apprise.NOTIFY_TYPES:
        return 400, {"error": "An invalid notification type was specified"}
    services = {"empty": [], "broken": ["json://127.0.0.1:1/"]}.get(name, [f"{HERE}/kept/{name}"])
    if not services:
        return 204, None
    every = apprise.Apprise()
    for service in services:
        every.add(service, tag="devops")
    done = every.notify(
        body=text, title=asked.get("title", ""), notify_type=kind, tag=asked.get("tag"), body_format=asked.get("format", "text"))
    if done is None:
        return 404, {"error": "no service has this tag"}
    return (200, {"error": None, "details": []}) if done else (424, {"error": "One or more notifications could not be sent", "details": []})


def record(name, timeout=5):
    """The DNS: `SELECTOR._domainkey.example.test.`"""
    selector, _, domain = name.decode().partition("._domainkey.")
    if domain.rstrip(".") != "example.test" or not selector.isalnum():
        return None
    try:
        with open(f"{KEYS}/{selector}.txt", "rb") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def signed(mail):
    try:
        return dkim.verify(mail, dnsfunc=record, minkey=1024)
    except dkim.DKIMException as error:
        return str(error)


class Mailbox:
    """What aiosmtpd asks."""

    async def auth_XOAUTH2(self, server, args):
        said = await server.challenge_auth("") if len(args) < 2 else args[1]
        said = base64.b64decode(said) if isinstance(said, str) else said
        if said == b"user=loudhailer@example.test\x01auth=Bearer right\x01\x01":
            return AuthResult(success=True, auth_data="loudhailer@example.test")
        answer = await server.challenge_auth('{"status":"401","schemes":"bearer"}')
        keep("refused", {"said": said.decode(errors="replace"), "answered": answer.decode()})
        return AuthResult(success=False, handled=False)

    async def handle_DATA(self, server, session, envelope):
        mail = envelope.original_content
        for to in envelope.rcpt_tos:
            keep(to.split("@")[0], {"mail": mail.decode(), "signed": signed(mail), "login": session.auth_data})
        return "250 OK"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, what=None):
        body = b"" if what is None else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        with lock:
            self.answer(200, list(kept.get(name, [])))

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length") or 0), LONGEST))
        _, way, name = (self.path.split("/") + ["", ""])[:3]
        if way == "kept":
            keep(name, json.loads(body))
            return self.answer(200, {})
        ways = {"webhook": webhook, "cloudevents": cloudevents, "notify": notify}
        if way not in ways:
            return self.answer(404)
        self.answer(*ways[way](name, self.headers, body))

    def log_message(self, *_):
        pass


Controller(Mailbox(), hostname="127.0.0.1", port=SMTP_PORT, auth_require_tls=False).start()
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
