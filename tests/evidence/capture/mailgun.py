from capture import ID, Recorder, write
from mailgun.client import Client

parcel = {"to": "alex@example.org", "title": "Our apps are coming back", "text": "Wait & try again.", "html": "<p>Wait &amp; try again.</p>", "unsubscribe_url": "https://status.example/u/abc"}
settings = {"domain": "mail.acme.example", "api_key": "example-key", "from": "Acme <status@mail.acme.example>"}
here = Recorder(200, {"id": "<1@mail.acme.example>", "message": "Queued. Thank you."}).redirect()
Client(auth=("api", settings["api_key"])).messages.create(domain=settings["domain"], data={
    "from": settings["from"], "to": parcel["to"], "subject": parcel["title"], "text": parcel["text"], "html": parcel["html"],
    "h:List-Unsubscribe": f"<{parcel['unsubscribe_url']}>", "h:Auto-Submitted": "auto-generated", "o:tracking": "no", "v:delivery": ID})
write("mailgun", "mailgun", parcel, settings, here.request())
