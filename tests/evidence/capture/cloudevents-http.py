import json
import requests
from capture import Recorder, write
from cloudevents.core.bindings.http import to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

event = {"specversion": "1.0", "id": "A234-1234-1234", "source": "https://status.example", "type": "incident.update"}
settings = {"token": "mF_9.B5f-4.1JqM", "origin": "eventemitter.example.com"}
here = Recorder(202, "")
message = to_structured(CloudEvent(dict(event)), JSONFormat())
requests.post(here.url + "/resource?p=q", data=message.body, headers=message.headers)
parcel = {"to": "https://server.example.com/resource?p=q", "text": message.body.decode()}
write("cloudevents-http", "cloudevents", parcel, settings, here.request(), [
    ("/headers/authorization", "the SDK makes the message alone; a bearer token is what the specification of HTTP webhooks asks of its sender"),
    ("/headers/webhook-request-origin", "of the same specification, set if the operator names one"),
])
