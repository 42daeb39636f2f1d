import datetime
import json
import requests
from capture import Recorder, write
from standardwebhooks import Webhook

# The specification's own id, time and secret, as our file's example has them.
id, at = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", datetime.datetime.fromtimestamp(1633363740, datetime.timezone.utc)
parcel = {"id": id, "to": "https://hooks.example.com/incidents?team=a", "text": '{"type":"incident.update"}', "secrets": ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"], "at": at.isoformat()}
here = Recorder(204, "")
signature = Webhook(parcel["secrets"][0]).sign(id, at, parcel["text"])
requests.post(here.url + "/incidents?team=a", data=parcel["text"], headers={
    "content-type": "application/json", "webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature})
write("webhook", "standardwebhooks", parcel, {}, here.request(keep=["webhook-id", "webhook-timestamp", "webhook-signature"]))
