from capture import Recorder, callback, write
from twilio.rest import Client

parcel = {"to": "+46700000000", "text": "We are back: åäö & more"}
settings = {"account_sid": "AC00000000000000000000000000000000", "auth_token": "12345example", "from": "+15551234567"}
here = Recorder(201, {"sid": "SM00000000000000000000000000000001"}).redirect()
Client(settings["account_sid"], settings["auth_token"]).messages.create(
    to=parcel["to"], from_=settings["from"], body=parcel["text"], status_callback=callback("twilio-sms"))
write("twilio-sms", "twilio", parcel, settings, here.request())
