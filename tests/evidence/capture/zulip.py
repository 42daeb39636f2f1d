from capture import Recorder, write
from zulip import Client

parcel = {"to": "status", "text": "We are back: åäö & more"}
settings = {"url": "https://acme.zulipchat.com", "email": "status-bot@acme.zulipchat.com", "api_key": "example-api_key", "topic": "Incidents"}
here = Recorder(200, {"result": "success", "msg": "", "id": 42, "zulip_version": "10.0", "zulip_feature_level": 1}).redirect()
client = Client(email=settings["email"], api_key=settings["api_key"], site=settings["url"])
client.send_message({"type": "stream", "to": parcel["to"], "topic": settings["topic"], "content": parcel["text"]})
write("zulip", "zulip", parcel, settings, here.request())
