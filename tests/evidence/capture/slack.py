from capture import Recorder, follows, write
from slack_sdk import WebClient

parcel = {"to": "C0123456789", "text": "We are *back*: åäö & \"more\""}
settings = {"token": "xoxb-example-token"}
ts = "1633363740.000100"
here = Recorder(200, {"ok": True, "channel": parcel["to"], "ts": ts})
client = WebClient(settings["token"], base_url=here.url + "/api/")
client.chat_postMessage(channel=parcel["to"], text=parcel["text"], unfurl_links=False)
request = here.request()
client.chat_postMessage(channel=parcel["to"], text=parcel["text"], thread_ts=ts, unfurl_links=False)
reply = follows(parcel | {"reply": f"{parcel['to']}/{ts}"}, here.request())
client.chat_update(channel=parcel["to"], text=parcel["text"], ts=ts)
edit = follows(parcel | {"edit": f"{parcel['to']}/{ts}"}, here.request())
write("slack", "slack_sdk", parcel, settings, request, following=[reply, edit])
