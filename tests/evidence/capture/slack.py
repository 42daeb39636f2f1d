from capture import Recorder, write
from slack_sdk import WebClient

parcel = {"to": "C0123456789", "text": "We are *back*: åäö & \"more\""}
settings = {"token": "xoxb-example-token"}
here = Recorder(200, {"ok": True, "channel": parcel["to"], "ts": "1633363740.000100"})
WebClient(settings["token"], base_url=here.url + "/api/").chat_postMessage(channel=parcel["to"], text=parcel["text"], unfurl_links=False)
write("slack", "slack_sdk", parcel, settings, here.request())
