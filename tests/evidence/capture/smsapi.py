from capture import Recorder, write
from smsapi.client import SmsApiComClient

parcel = {"to": "+46700000000", "text": "We are back: åäö & more"}
settings = {"token": "example-token", "from": "ALERT"}
here = Recorder(200, {"count": 1, "list": [{"id": "1", "points": 0.16, "number": "46700000000", "status": "QUEUE"}]}).redirect()
SmsApiComClient(access_token=settings["token"]).sms.send(
    to=parcel["to"].removeprefix("+"), from_=settings["from"], message=parcel["text"], encoding="utf-8")
write("smsapi", "smsapi-client", parcel, settings, here.request())
