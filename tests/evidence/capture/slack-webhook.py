from capture import Recorder, write
from slack_sdk.webhook import WebhookClient

path = "/services/T00000000/B00000000/EXAMPLEexample0000000000"
parcel = {"to": "https://hooks.slack.com" + path, "text": "We are *back*: åäö & \"more\""}
here = Recorder(200, "ok")
WebhookClient(here.url + path).send(text=parcel["text"])
write("slack-webhook", "slack_sdk", parcel, {}, here.request())
