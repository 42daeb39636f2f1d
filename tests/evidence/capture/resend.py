from capture import ID, Recorder, write
import resend

parcel = {"to": "alex@example.org", "title": "Our apps are coming back", "text": "Wait & try \"again\".", "html": "<p>Wait &amp; try again.</p>", "unsubscribe_url": "https://status.example/u/abc"}
settings = {"token": "re_example", "from": "Acme <status@acme.example>"}
here = Recorder(200, {"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"}).redirect()
resend.api_key = settings["token"]
resend.Emails.send({
    "from": settings["from"], "to": [parcel["to"]], "subject": parcel["title"], "text": parcel["text"], "html": parcel["html"],
    "headers": {"Auto-Submitted": "auto-generated", "List-Unsubscribe": f"<{parcel['unsubscribe_url']}>"},
}, {"idempotency_key": ID})
write("resend", "resend", parcel, settings, here.request())
