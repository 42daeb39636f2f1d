from capture import Recorder, callback, write
from sinch import SinchClient

parcel = {"to": "+46700000000", "text": "We are back: åäö & \"more\""}
settings = {"service_plan_id": "jd63jf88477ll", "token": "example-token", "from": "ALERT"}
here = Recorder(201, {"id": "01FC66621XXXXX119Z8PMV1QPQ", "to": [parcel["to"]], "body": "x", "type": "mt_text"}).redirect()
client = SinchClient(service_plan_id=settings["service_plan_id"], sms_api_token=settings["token"], sms_region="us")
client.sms.batches.send_sms(to=[parcel["to"]], from_=settings["from"], body=parcel["text"], delivery_report="per_recipient", callback_url=callback("sinch"))
write("sinch", "sinch", parcel, settings, here.request())
